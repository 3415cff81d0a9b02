//! The on-disk layout of a kubelet volume: the atomic writer.
