//! [`DevCluster`]: starting, addresses, credentials, faults, and stopping.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::access::bootstrap;
use crate::access::pki::{ClientCertificate, Pki, PkiError};
use crate::access::rbac::Authorizer;
use crate::access::token::Reference;
use crate::model::catalogue::Catalogue;
use crate::model::identity::Identity;
use crate::model::object;
use crate::model::status::ApiError;
use crate::model::store::Store;
use crate::server::api::{Api, Behaviour};
use crate::server::authentication::{Authentication, Order};
use crate::server::faults::Faults;
use crate::server::http::{self, Phase};
use crate::switches::FaultSwitches;

/// The longest wait for a task of the server, such as closing the port.
const STOP: Duration = Duration::from_secs(2);

/// Settings of a [`DevCluster`]. The defaults suit a laptop and a test.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DevClusterSettings {
    /// The address to listen on. The default is loopback and a free port; any other address opens the cluster to the
    /// network.
    pub listen: SocketAddr,
    /// The largest total size of stored objects, in bytes; 512 MiB if not set. A write beyond it fails with status 500,
    /// as with etcd's quota.
    pub storage_bytes: usize,
    /// The number of changes of each type that a watch can go back to; 10,000 if not set. An older position is `410
    /// Expired`.
    pub history: usize,
    /// The period of bookmarks on a watch that allows them; a minute if not set, as with a real server.
    pub bookmarks: Duration,
    /// The time that a deleted pod on a node takes to stop, at most its grace period; a second if not set.
    pub pod_stop: Duration,
    /// The number of threads that serve; two if not set.
    pub threads: usize,
}

impl Default for DevClusterSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            storage_bytes: 512 << 20,
            history: 10_000,
            bookmarks: Duration::from_mins(1),
            pod_stop: Duration::from_secs(1),
            threads: 2,
        }
    }
}

/// An error of starting or using a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevClusterError {
    /// The threads could not be started.
    #[error("cannot start the cluster's threads")]
    Threads(#[source] std::io::Error),
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was tried.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The keys or certificates could not be made.
    #[error("cannot make the cluster's certificates")]
    Certificates(#[from] PkiError),
    /// The system has no randomness for the admin's token.
    #[error("the system gives no randomness")]
    Randomness,
    /// The API server refused an object or a request, as it would have refused a client's.
    #[error("{kind} {name:?}: the API server answers {code} {reason}: {message}")]
    Refused {
        /// The kind of the object.
        kind: String,
        /// The name of the object, or its `generateName`.
        name: String,
        /// The HTTP status.
        code: u16,
        /// The machine-readable reason, such as `Invalid`.
        reason: String,
        /// The server's message for people.
        message: String,
    },
}

/// An API server inside the process: HTTPS on loopback with its own CA, tokens and RBAC.
///
/// The server runs on its own threads, so that tests with and without an async runtime can use it. Dropping the value
/// stops the server. All objects are lost then; nothing is written to disk.
///
/// ```
/// use attache_devcluster::{DevCluster, DevClusterSettings};
/// use serde_json::json;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = DevCluster::start(DevClusterSettings::default())?;
/// let colours = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "colours"}});
/// cluster.load([colours])?;
/// assert!(cluster.url().starts_with("https://127.0.0.1:"));
/// cluster.shutdown();
/// # Ok(())
/// # }
/// ```
pub struct DevCluster {
    pub(crate) api: Arc<Api>,
    pub(crate) address: SocketAddr,
    admin_token: String,
    pub(crate) running: Mutex<Option<Running>>,
}

impl std::fmt::Debug for DevCluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DevCluster").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The running server.
pub(crate) struct Running {
    pub(crate) runtime: Runtime,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) served: tokio::task::JoinHandle<()>,
}

impl DevCluster {
    /// Starts a cluster with the namespaces, roles and service accounts of every cluster.
    ///
    /// # Errors
    /// Fails when the address is taken, or when the system has no threads, keys or randomness to give.
    pub fn start(settings: DevClusterSettings) -> Result<Self, DevClusterError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads.max(1))
            .thread_name("devcluster")
            .enable_all()
            .build()
            .map_err(DevClusterError::Threads)?;
        let listener = runtime
            .block_on_listen(settings.listen)
            .map_err(|source| DevClusterError::Listen { address: settings.listen, source })?;
        let address =
            listener.local_addr().map_err(|source| DevClusterError::Listen { address: settings.listen, source })?;
        let admin_token = crate::model::fresh::new_secret().map_err(|_| DevClusterError::Randomness)?;
        let fixed = HashMap::from([(admin_token.clone(), Arc::new(Identity::admin()))]);
        let (phase, followed) = watch::channel(Phase::Serving);
        let api = Arc::new(Api {
            store: Store::new(settings.storage_bytes, settings.history.max(1)),
            catalogue: Catalogue::new(),
            authorizer: Authorizer::default(),
            authentication: Authentication::new(fixed).map_err(PkiError::from)?,
            pki: RwLock::new(Pki::new(address.ip())?),
            faults: Faults::new(),
            discovery: Mutex::default(),
            behaviour: Behaviour { bookmarks: settings.bookmarks, pod_stop: settings.pod_stop },
            address: address.to_string(),
            phase: RwLock::new(followed),
        });
        furnish(&api)?;
        let served = runtime.spawn(http::serve(Arc::clone(&api), listener, phase.clone()));
        let running = Mutex::new(Some(Running { runtime, phase, served }));
        Ok(Self { api, address, admin_token, running })
    }

    /// Returns the URL of the API server, such as `https://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate of the CA that signed the server's certificate, as PEM. While another CA is
    /// [announced](FaultSwitches::announce_ca), its certificate follows.
    pub fn ca_pem(&self) -> String {
        self.api.pki.read().unwrap_or_else(PoisonError::into_inner).published()
    }

    /// Returns a bearer token with all rights. It is valid for the life of the cluster.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Makes a client certificate for `user` in `groups`. The group `system:masters` has all rights.
    ///
    /// # Errors
    /// Fails when the key or the certificate cannot be made.
    pub fn client_certificate(&self, user: &str, groups: &[&str]) -> Result<ClientCertificate, DevClusterError> {
        let groups = groups.iter().copied().chain(["system:authenticated"]);
        let identity = Identity::user(user, groups);
        let mut pki = self.api.pki.write().unwrap_or_else(PoisonError::into_inner);
        Ok(pki.client(&identity)?)
    }

    /// Returns a kubeconfig (YAML) with the admin's credentials, for `kubectl` and client libraries.
    pub fn kubeconfig(&self) -> String {
        let ca = base64::engine::general_purpose::STANDARD.encode(self.ca_pem());
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: devcluster\n  cluster:\n    server: {}\n    \
             certificate-authority-data: {ca}\nusers:\n- name: admin\n  user:\n    token: {}\ncontexts:\n- name: \
             devcluster\n  context:\n    cluster: devcluster\n    user: admin\n    namespace: default\n\
             current-context: devcluster\n",
            self.url(),
            self.admin_token
        )
    }

    /// Issues a token of a service account for the API server, which expires after `lifetime`. Any lifetime is
    /// accepted; the API itself issues none below ten minutes.
    ///
    /// # Errors
    /// [`DevClusterError::Refused`] when there is no such service account.
    pub fn token_for(
        &self,
        namespace: &str,
        service_account: &str,
        lifetime: Duration,
    ) -> Result<String, DevClusterError> {
        self.token(namespace, service_account, lifetime, None)
    }

    /// Issues a token as [`token_for`](Self::token_for) does. The token is revoked when the pod is deleted.
    ///
    /// # Errors
    /// [`DevClusterError::Refused`] when there is no such pod or service account.
    pub fn token_for_pod(
        &self,
        namespace: &str,
        service_account: &str,
        pod: &str,
        lifetime: Duration,
    ) -> Result<String, DevClusterError> {
        self.token(namespace, service_account, lifetime, Some(pod))
    }

    fn token(
        &self,
        namespace: &str,
        account: &str,
        lifetime: Duration,
        pod: Option<&str>,
    ) -> Result<String, DevClusterError> {
        let find = |plural: &str, kind: &str, name: &str| {
            let of = self.api.catalogue.find("", "v1", plural).ok_or_else(ApiError::no_such_resource);
            let found = of.and_then(|of| {
                let found = self.api.store.collection(&of).get(&object::key(namespace, name));
                found.ok_or_else(|| ApiError::not_found(&of, name))
            });
            found.map_err(|error| refused(kind, name, error))
        };
        let found = find("serviceaccounts", "ServiceAccount", account)?;
        let bound = match pod {
            Some(pod) => {
                let object = find("pods", "Pod", pod)?;
                Some(("Pod".to_owned(), Reference { name: pod.to_owned(), uid: object.uid.to_string() }))
            }
            None => None,
        };
        let node = bound.as_ref().and_then(|(_, pod)| self.api.node_of(namespace, pod));
        let order = Order { audiences: Vec::new(), lifetime, bound, node };
        let issued = self.api.authentication.issue(&found, order);
        issued.map(|(token, _)| token).map_err(|error| refused("ServiceAccount", account, error))
    }

    /// Stops the server and starts it again without a pause, as [`FaultSwitches::restart`] does.
    ///
    /// # Errors
    /// Fails when the port has been taken meanwhile.
    pub fn restart(&self) -> Result<(), DevClusterError> {
        self.faults().restart(Duration::ZERO)
    }

    /// Restarts the server as [`restart`](Self::restart) does, with the CA and certificate of
    /// [`FaultSwitches::rotate_ca`].
    ///
    /// # Errors
    /// Fails when the port has been taken meanwhile, or when no new certificate can be made.
    pub fn restart_with_new_ca(&self) -> Result<(), DevClusterError> {
        self.faults().rotate_ca()?;
        self.restart()
    }

    /// Returns the switches that inject faults.
    pub fn faults(&self) -> FaultSwitches<'_> {
        FaultSwitches::of(self)
    }

    /// Stops the server after all open answers have been delivered. For two seconds at most, connected clients may send
    /// further requests. Then open requests are answered, and each watch ends after its last event. Blocks until no
    /// client is connected, for three seconds at most. Dropping the cluster breaks all connections instead.
    pub fn shutdown(self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { runtime, phase, served }) = running else { return };
        phase.send_replace(Phase::Leaving);
        let (done, all) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move { _ = done.send(served.await) });
        // A server that is not done in time is aborted.
        _ = all.recv_timeout(http::LEAVE.saturating_add(STOP));
        runtime.shutdown_background();
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { runtime, phase, .. }) = running else { return };
        phase.send_replace(Phase::Broken);
        runtime.shutdown_background();
    }
}

/// Creates the objects of a new cluster.
fn furnish(api: &Arc<Api>) -> Result<(), DevClusterError> {
    let namespace = |name: &&str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let objects = bootstrap::NAMESPACES.iter().map(namespace).chain(bootstrap::roles());
    for value in objects {
        let (kind, name) = (
            value["kind"].as_str().unwrap_or_default().to_owned(),
            value["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        );
        api.install("", value).map_err(|error| refused(&kind, &name, error))?;
    }
    Ok(())
}

pub(crate) fn refused(kind: &str, name: &str, error: ApiError) -> DevClusterError {
    DevClusterError::Refused {
        kind: kind.to_owned(),
        name: name.to_owned(),
        code: error.code,
        reason: error.reason.to_owned(),
        message: error.message,
    }
}

/// Blocking waits on a runtime, from any thread, including one of another runtime.
pub(crate) trait Waiting {
    /// Runs `future` on the runtime's threads and waits for it, at most [`STOP`].
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<T>;

    /// Listens on `address`.
    fn block_on_listen(&self, address: SocketAddr) -> std::io::Result<TcpListener>;
}

impl Waiting for Runtime {
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, result) = std::sync::mpsc::sync_channel(1);
        self.spawn(async move { _ = done.send(future.await) });
        result.recv_timeout(STOP).ok()
    }

    fn block_on_listen(&self, address: SocketAddr) -> std::io::Result<TcpListener> {
        let _entered = self.enter();
        let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
        // A restarted server takes its port again while old connections linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    }
}

impl From<rcgen::Error> for DevClusterError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificates(error.into())
    }
}
