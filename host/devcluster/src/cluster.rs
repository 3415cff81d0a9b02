//! The cluster as its user holds it: start it, ask where it is, load it, make trouble for it, stop it.

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
use crate::server::server::{self, Phase};
use crate::switches::FaultSwitches;

/// The longest wait for the server's own tasks, such as the one that closes the port.
const STOP: Duration = Duration::from_secs(2);

/// How a [`DevCluster`] is to be. The defaults suit a laptop and a test.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DevClusterSettings {
    /// Where to listen. The default is loopback and a free port; anything but loopback opens the cluster to the
    /// network.
    pub listen: SocketAddr,
    /// Bytes of objects that the store holds at most, 512 MiB if not set; a write beyond that is a 500, as etcd's quota
    /// makes it.
    pub storage_bytes: usize,
    /// Changes of each type that watches can go back to, 10,000 if not set; what is older is `410 Expired`.
    pub history: usize,
    /// How often a watch that allows bookmarks gets one; a minute if not set, as with a real server.
    pub bookmarks: Duration,
    /// How long a deleted pod that is bound to a node takes to stop, at most its grace period; a second if not set.
    pub pod_stop: Duration,
    /// Threads that serve; two if not set.
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

/// Why a cluster would not start or do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevClusterError {
    /// The threads could not be started.
    #[error("cannot start the cluster's threads")]
    Threads(#[source] std::io::Error),
    /// The address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was tried.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The keys or certificates could not be made.
    #[error("cannot make the cluster's certificates")]
    Certificates(#[from] PkiError),
    /// The system has no randomness for the admin's token.
    #[error("the system gives no randomness")]
    Randomness,
    /// The API server refused an object or an order, as it would have refused a client.
    #[error("{kind} {name:?}: the API server answers {code} {reason}: {message}")]
    Refused {
        /// The kind of the object.
        kind: String,
        /// Its name, or its generated name's stem.
        name: String,
        /// The HTTP status.
        code: u16,
        /// The machine-readable reason, such as `Invalid`.
        reason: String,
        /// What the server says to a person.
        message: String,
    },
}

/// An API server inside the process: HTTPS on loopback with a CA, tokens and RBAC of its own.
///
/// It runs on threads of its own, so that it can be started and used from tests with and without an async runtime, and
/// stops when it is dropped. Everything in it is gone then; nothing is written to disk.
///
/// ```
/// use attache_devcluster::{DevCluster, DevClusterSettings};
/// use serde_json::json;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = DevCluster::start(DevClusterSettings::default())?;
/// cluster.load([json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "colours"}, "data": {"sky": "blue"}})])?;
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

/// What serves, while the cluster does.
pub(crate) struct Running {
    pub(crate) runtime: Runtime,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) served: tokio::task::JoinHandle<()>,
}

impl DevCluster {
    /// Starts a cluster with the namespaces, roles and service accounts that every cluster has.
    ///
    /// # Errors
    /// When the address is taken or the system has no threads, keys or randomness to give.
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
        let served = runtime.spawn(server::serve(Arc::clone(&api), listener, phase.clone()));
        let running = Mutex::new(Some(Running { runtime, phase, served }));
        Ok(Self { api, address, admin_token, running })
    }

    /// Where the API server is, such as `https://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the CA that signed the server's certificate, as PEM; followed by the next one's while one is
    /// [announced](FaultSwitches::announce_ca).
    pub fn ca_pem(&self) -> String {
        self.api.pki.read().unwrap_or_else(PoisonError::into_inner).published()
    }

    /// A bearer token that may do everything. It lives as long as the cluster.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A client certificate for `user` in `groups`; `system:masters` among them may do everything.
    ///
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn client_certificate(&self, user: &str, groups: &[&str]) -> Result<ClientCertificate, DevClusterError> {
        let groups = groups.iter().copied().chain(["system:authenticated"]);
        let identity = Identity::user(user, groups);
        let mut pki = self.api.pki.write().unwrap_or_else(PoisonError::into_inner);
        Ok(pki.client(&identity)?)
    }

    /// A kubeconfig (YAML) with which `kubectl` and client libraries are the cluster's admin.
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

    /// A token of a service account for the API server, which dies after `lifetime`. Any lifetime will do, however
    /// short; the API itself issues none below ten minutes.
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

    /// A token as [`token_for`](Self::token_for) makes it that dies with the pod too.
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
                let found = self.api.store.table(&of).get(&object::key(namespace, name));
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

    /// Stops the server, breaking off all connections, and starts it again on the same port with the same objects, keys
    /// and certificates: [`FaultSwitches::restart`] without a pause.
    ///
    /// # Errors
    /// When the port has been taken meanwhile.
    pub fn restart(&self) -> Result<(), DevClusterError> {
        self.faults().restart(Duration::ZERO)
    }

    /// The same with a new CA and a new certificate, as [`FaultSwitches::rotate_ca`] makes them.
    ///
    /// # Errors
    /// When the port has been taken meanwhile, or no new certificate can be made.
    pub fn restart_with_new_ca(&self) -> Result<(), DevClusterError> {
        self.faults().rotate_ca()?;
        self.restart()
    }

    /// The switches for trouble.
    pub fn faults(&self) -> FaultSwitches<'_> {
        FaultSwitches::of(self)
    }

    /// Stops serving after everything that is owed has been delivered. For two seconds at most, connected clients may
    /// send further requests; then open requests are answered, and each watch ends after its last event. Blocks until
    /// no client is connected, for three seconds at most. Dropping the cluster breaks all connections off instead.
    pub fn shutdown(self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { runtime, phase, served }) = running else { return };
        phase.send_replace(Phase::Leaving);
        let (done, all) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move { _ = done.send(served.await) });
        // A server that cannot leave in time is broken off.
        _ = all.recv_timeout(server::LEAVE.saturating_add(STOP));
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

/// What a cluster has from the start.
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

/// Waiting for a runtime from a thread that may or may not belong to another one.
pub(crate) trait Waiting {
    /// Runs `future` on the runtime's own threads and waits for it, at most [`STOP`].
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
