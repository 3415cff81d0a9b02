//! The client of the API server.
//!
//! [`ApiClient::send`] takes a [`Permit`](crate::gate::Permit) by value, which only the gate makes, so a request that
//! was never judged does not compile. [`ApiClient::send`] streams the answer, and [`ApiClient::fetch`] reads it whole.
//! [`ApiClient::discovery`] and [`ApiClient::resolve`] return the types that the server has.
//!
//! | file | holds |
//! | --- | --- |
//! | `endpoint` | the address of the server |
//! | `kubeconfig` | address and credentials from the files of kubectl |
//! | `connect`, `settings` | the client and its settings |
//! | `transport`, `roots` | TLS, connections, the CA's rotation |
//! | `client` | one request and its answer |
//! | `informational` | bounds on informational answers (1xx) |
//! | `unavailable`, `status`, `error` | failures |
//! | `discovery`, `resolve` | types, and the lookup of a type by name |
//! | `documents`, `groups`, `catalogue` | discovery: its documents, its groups that may be down, its cache |
//! | `page` | lists, cut into their objects |
//! | [`watch`] | watches that many share |
//! | `admission`, `reviews` | requests on the host's own account, and those about its rights |

mod admission;
mod catalogue;
mod client;
mod connect;
mod discovery;
mod documents;
mod endpoint;
mod error;
mod groups;
mod informational;
mod kubeconfig;
mod page;
mod resolve;
mod reviews;
mod roots;
mod settings;
mod status;
mod transport;
mod unavailable;
pub mod watch;

pub(crate) use client::Sent;
pub use client::{Answer, AnswerBody, ForwardedHeaders, Payload, StreamBody, Upgrade};
pub use connect::ApiClient;
pub use discovery::{Discovery, MissingGroup, ObjectKind, ResourceInfo, Subresource};
pub use endpoint::{DEFAULT_URL, Endpoint, EndpointError, EndpointSource, HOST_VARIABLE, PORT_VARIABLE};
pub use error::ClusterError;
pub(crate) use informational::{Cut, Cuttable};
pub use kubeconfig::{KUBECONFIG_VARIABLE, Kubeconfig, KubeconfigChoice, KubeconfigContext, KubeconfigError};
pub(crate) use page::{ListPage, list_page};
pub use resolve::ResolveError;
pub use settings::{ApiClientSettings, ConnectError, DEFAULT_DEADLINE};
pub use status::ServerStatus;
pub use transport::TlsError;
pub use unavailable::Unavailable;
