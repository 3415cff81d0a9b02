//! An API server and a kubelet's volumes inside the process, for laptops and tests.
//!
//! [`DevCluster`] gives clients the answers, errors, watches and rights of a real API server, in the words of
//! kube-apiserver 1.36, without a container, a node or an installation. It has namespaces with service accounts, bound
//! tokens, RBAC, garbage collection by owner references, finalizers, and custom resources.
//!
//! [`kubelet`] writes the volumes of one pod to disk, and makes the env of its containers. [`controllers`] computes the
//! objects that controllers would make. [`manifest`] reads YAML with the location of each field, and [`validation`]
//! judges pods in it.
//!
//! # What it is not
//! It has no scheduler and runs no controllers: a Deployment makes no pods, and a status is as loaded or written. These
//! parts of an API server are missing too:
//! - Quotas, limit ranges, priority classes, pod security, autoscalers, disruption budgets and network policies are
//!   stored and have no effect. A volume claim is not bound. It has no finalizer, since nothing would remove one.
//! - There are no admission webhooks or policies, no conversion webhooks, no aggregated API servers, no priority and
//!   fairness, and no audit log.
//! - CEL rules (`x-kubernetes-validations`) are not evaluated. A client that defines a type with such rules gets a
//!   warning.
//! - A service's addresses and ports only look real. Nothing is routed, nothing listens, and no range is configured.
//! - Pods, objects that make pods, services, leases, CRDs, names and labels are validated. Other built-in types are
//!   checked for unknown fields and for values of the wrong type.
//! - Answers are JSON or YAML, never protobuf. Nodes have no addresses. `exec`, `attach` and `port-forward` do not
//!   work.
//! - Where a real server prints a Go struct in an error, the message here is shorter.
//!
//! # Files
//! | file or room | content |
//! | --- | --- |
//! | `access` | certificates, tokens, RBAC, and the roles of a new cluster |
//! | `model` | objects, types, names, selectors, and the store |
//! | `rules` | schemas, defaults, validation, merging, field managers |
//! | `server` | requests: routing, authentication, admission, reads, writes, watches |
//! | `wire` | paths, notations, tables, pages |
//! | `cluster.rs`, `loading.rs`, `switches.rs` | [`DevCluster`]: its life, its objects, its faults |
//! | `controllers`, `kubelet`, `manifest` | parts that also work with other clusters |
//!
//! The rooms import each other downwards only: `server` uses all, `model` uses none. This crate imports nothing of the
//! host but `attache-base`. All else reaches it by HTTPS and files, as it would reach a cluster.

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
