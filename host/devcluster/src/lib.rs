//! An API server and a kubelet's volumes inside the process.
//!
//! [`DevCluster`] is for laptops and tests: what runs against it meets the same answers, errors, watches and rights
//! as with a real API server (the wording follows kube-apiserver 1.36), without a container, a node or an
//! installation. There is no scheduler and there are no controllers: a Deployment makes no pods, and a status is what
//! was loaded or written. ([`controllers`] says what they would make.) What a cluster does to make its API behave is
//! there: namespaces with their service accounts, bound tokens, RBAC, garbage collection by owners, finalizers,
//! custom resources.
//!
//! # What it is not
//! The rest of a cluster is missing, and these parts of an API server:
//! - Quotas, limit ranges, priority classes, pod security, autoscalers, disruption budgets and network policies are
//!   stored, and have no effect. A volume claim is not bound, and has no finalizer, since nobody would take it away.
//! - There are no admission webhooks or policies, no conversion webhooks, no aggregated API servers, no priority and
//!   fairness, no audit log.
//! - Rules in CEL (`x-kubernetes-validations`) are not evaluated; who defines a type that has some is warned.
//! - A service's addresses and ports look like some. Nothing is routed, nothing listens, none is a range's.
//! - Pods, what makes them, services, leases, CRDs, names and labels are validated. Of other built-in types only the
//!   fields are checked.
//! - Answers are JSON or YAML, never protobuf. Nodes have no addresses. `exec`, `attach` and `port-forward` do not
//!   work.
//! - Where a real server quotes its own program in an error, such as a Go struct, the words here are shorter.
//!
//! This module imports nothing of the host but the leaves that it shares with it, and speaks to the rest only by HTTPS
//! and files, as a cluster does.

mod access;
mod cluster;
pub mod controllers;
pub mod kubelet;
mod loading;
pub mod manifest;
mod model;
mod rules;
mod server;
mod switches;
mod wire;

pub use access::pki::{ClientCertificate, PkiError};
pub use cluster::{DevCluster, DevClusterError, DevClusterSettings};
pub use loading::RefusedDocument;
pub use rules::validation;
pub use server::faults::Fault;
pub use switches::FaultSwitches;
