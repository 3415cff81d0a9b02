//! An API server and a kubelet's volumes inside the process.
