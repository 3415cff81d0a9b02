//! The client of the API server.
//!
//! [`ApiClient::send`] takes a [`Permit`](crate::gate::Permit) by value, which only the gate makes, so a request that was
//! never judged does not compile. It streams the answer; [`ApiClient::fetch`] reads it whole. [`ApiClient::discovery`] and
//! [`ApiClient::resolve`] say what types there are.
//!
//! | file | holds |
//! | --- | --- |
//! | `endpoint` | where the server is |
//! | `kubeconfig` | the same, and credentials, from the files of kubectl |
//! | `connect` | the client and what it is made of |
//! | `transport` | TLS, connections, the CA's rotation |
//! | `client` | one request and its answer |
//! | `informational` | bounds on what comes before an answer |
//! | `unavailable`, `status`, `error` | what went wrong |
//! | `discovery`, `resolve` | types, and finding them by name |
//! | `documents`, `groups`, `catalogue` | discovery: read, in parts of which some may be missing, and kept |
//! | `page` | lists, cut into their objects |
//! | [`watch`] | watches that many share |
//! | `host`, `access` | what the host asks on its own account |

mod access;
mod catalogue;
mod client;
mod connect;
mod discovery;
mod documents;
mod endpoint;
mod error;
mod groups;
mod host;
mod informational;
mod kubeconfig;
mod page;
mod resolve;
mod status;
mod transport;
mod unavailable;
pub mod watch;

pub(crate) use client::Sent;
pub use client::{Answer, AnswerBody, ForwardedHeaders, Payload, StreamBody, Upgrade};
pub use connect::{ApiClient, ApiClientSettings, ConnectError, DEFAULT_DEADLINE};
pub use discovery::{Discovery, MissingGroup, ObjectKind, ResourceInfo, Subresource};
pub use endpoint::{DEFAULT_URL, Endpoint, EndpointError, Found, HOST_VARIABLE, PORT_VARIABLE};
pub use error::ClusterError;
pub(crate) use informational::{Cut, Cuttable};
pub use kubeconfig::{KUBECONFIG_VARIABLE, Kubeconfig, KubeconfigChoice, KubeconfigContext, KubeconfigError};
pub(crate) use page::{ListPage, list_page};
pub use resolve::ResolveError;
pub use status::ServerStatus;
pub use transport::TlsError;
pub use unavailable::Unavailable;
