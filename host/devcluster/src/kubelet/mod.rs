//! The kubelet's part for one pod: its volumes on disk, its containers' env and mounts, its status.
//!
//! No container is started. A program in a container's place asks the [`RunningPod`] for the container's env and
//! mounts, and reports the end. The API server is reached by HTTPS alone, so any server will do, not only a
//! [`DevCluster`](crate::DevCluster).
//!
//! ```no_run
//! use attache_devcluster::kubelet::{Kubelet, Termination};
//!
//! # use attache_devcluster::kubelet::KubeletError;
//! # async fn example(url: &str, ca_pem: String, token: &str) -> Result<(), KubeletError> {
//! let pod = Kubelet::builder(url, token).authority(ca_pem).root("/tmp/attache").start("default", "web").await?;
//! let main = pod.container("main");
//! println!("{:?}", main.map(|main| &main.env));
//! pod.stop(&Termination::exit(0)).await
//! # }
//! ```
//!
//! | file | content |
//! | --- | --- |
//! | `client.rs` | requests to the API server, and the credentials for them |
//! | `env.rs`, `services.rs` | variables of a container |
//! | `error.rs` | [`KubeletError`] |
//! | `follow.rs` | the watch on the pod |
//! | `mounts.rs` | mounts of a container |
//! | `objects.rs`, `pod.rs` | config maps, secrets and fields that the pod refers to |
//! | `ownership.rs` | permission bits of files |
//! | `running.rs` | [`RunningPod`] |
//! | `status.rs` | patches of the pod's status |
//! | `sync.rs`, `token.rs` | keeping volumes and tokens fresh |
//! | `volumes.rs` | content of volumes |

mod client;
mod env;
mod error;
mod follow;
mod mounts;
mod objects;
mod ownership;
mod pod;
mod running;
mod services;
mod status;
mod sync;
mod token;
mod volumes;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::client::{Call, Client, IdentitySource};
pub use self::client::{ClientError, ClientIdentity};
pub use self::env::Environment;
pub use self::error::KubeletError;
use self::error::chain;
use self::follow::{Paths, uid};
use self::mounts::Disk;
pub use self::mounts::{AbsentMount, MountPoint};
use self::pod::Pod;
pub use self::pod::{Allocatable, ContentError};
pub use self::running::{Container, RunningPod};
use self::running::{Held, Tasks};
use self::services::Services;
pub use self::status::Termination;
use self::sync::{Directory, Synced, Volumes};
use self::token::Tokens;
pub use self::volumes::{FileSource, VolumeFile};

/// The name of the node if [`Kubelet::node_name`] sets none.
pub const NODE_NAME: &str = "attache";

/// The period of the sync of volumes when nothing else causes one; the real kubelet's period.
const SYNC_PERIOD: Duration = Duration::from_mins(1);

/// Settings of the kubelet for one pod, made by [`Kubelet::builder`].
pub struct Kubelet {
    url: String,
    identity: IdentitySource,
    observing: bool,
    root: PathBuf,
    node_name: String,
    node: Allocatable,
    pod_ips: Vec<IpAddr>,
    host_ips: Vec<IpAddr>,
    token_period: Option<Duration>,
    sync_period: Duration,
}

impl std::fmt::Debug for Kubelet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Kubelet").field("url", &self.url).field("root", &self.root).finish_non_exhaustive()
    }
}

impl Kubelet {
    /// Makes a kubelet for the API server at the URL. The token's account may read, bind and delete pods, patch their
    /// status, read their config maps, secrets and services, and make tokens of their service accounts.
    pub fn builder(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            identity: Arc::new({
                let token = token.into();
                move || ClientIdentity { token: token.clone(), ..ClientIdentity::default() }
            }),
            observing: false,
            root: std::env::temp_dir().join("attache-kubelet"),
            node_name: NODE_NAME.into(),
            node: Allocatable::default(),
            pod_ips: vec![Ipv4Addr::new(10, 244, 0, 2).into()],
            host_ips: vec![Ipv4Addr::LOCALHOST.into()],
            token_period: None,
            sync_period: SYNC_PERIOD,
        }
    }

    /// Sets the CA certificate of the API server, as PEM.
    #[must_use]
    pub fn authority(self, ca_pem: impl Into<String>) -> Self {
        let ca_pem = ca_pem.into();
        self.authority_from(move || ca_pem.clone())
    }

    /// Sets the source of the CA certificate, for a server that changes it. It is called for each connection.
    #[must_use]
    pub fn authority_from(mut self, ca_pem: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let identity = self.identity;
        self.identity = Arc::new(move || ClientIdentity { ca_pem: ca_pem(), ..identity() });
        self
    }

    /// Sets the source of credentials and CA, in place of the token and the CA certificate. It is called for each
    /// connection.
    #[must_use]
    pub fn identity_from(mut self, identity: impl Fn() -> ClientIdentity + Send + Sync + 'static) -> Self {
        self.identity = Arc::new(identity);
        self
    }

    /// Leaves the pod as the API server has it: it is not bound to the node, and its status is not reported. This is
    /// for a cluster with its own kubelets and scheduler.
    #[must_use]
    pub fn observing(mut self) -> Self {
        self.observing = true;
        self
    }

    /// Sets the directory for pods: `pods/UID/volumes/PLUGIN/NAME`. If not set, a directory in the system's temporary
    /// one.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Sets the name of the node; [`NODE_NAME`] if not set. A pod that is bound to a node already stays there.
    #[must_use]
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.node_name = name.into();
        self
    }

    /// Sets the allocatable resources of the node, which are the limits of containers that set none.
    #[must_use]
    pub fn allocatable(mut self, node: Allocatable) -> Self {
        self.node = node;
        self
    }

    /// Sets the addresses of the pod and of its host, the primary one first; `10.244.0.2` and `127.0.0.1` if not set.
    /// Addresses in the pod's status take precedence.
    #[must_use]
    pub fn addresses(mut self, pod: impl Into<Vec<IpAddr>>, host: impl Into<Vec<IpAddr>>) -> Self {
        (self.pod_ips, self.host_ips) = (pod.into(), host.into());
        self
    }

    /// Sets the period of token renewal. If not set, within the last fifth of a token's life, and after a day at most.
    #[must_use]
    pub fn token_period(mut self, period: Duration) -> Self {
        self.token_period = Some(period);
        self
    }

    /// Sets the period in which config maps and secrets are read again; a minute if not set. The pod itself is watched.
    #[must_use]
    pub fn sync_period(mut self, period: Duration) -> Self {
        self.sync_period = period;
        self
    }

    /// Starts the pod: binds it to the node, writes its volumes, makes the env of its containers and reports it as
    /// running. From then on its volumes are kept fresh. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// [`KubeletError`] names the step; the pod's directory is removed again.
    pub async fn start(self, namespace: &str, name: &str) -> Result<RunningPod, KubeletError> {
        let failed = KubeletError::api("reach the API server");
        let client = Client::new(&self.url, Arc::clone(&self.identity)).map_err(failed)?;
        let path = pod_path(namespace, name)?;
        let mut object = self.claim(&client, &path, namespace, name).await?;
        status::address(&mut object, &self.pod_ips, &self.host_ips);
        let directory = Held(Directory::make(self.root.join("pods").join(uid(&object)))?);
        let mut volumes = Volumes {
            client: client.clone(),
            directory: directory.0.clone(),
            node: self.node.clone(),
            tokens: Tokens::default(),
            token_period: self.token_period,
            sync_period: self.sync_period,
            path: path.clone(),
            observing: self.observing,
        };
        let mut synced = volumes.sync(&object).await?;
        synced.failed.take().map_or(Ok(()), Err)?;
        let services = Services::read(&client, &Pod { object: &object, node: &volumes.node }).await;
        let services = services.map_err(KubeletError::api("read the services"))?;
        let containers = containers(&object, &volumes, &synced, &services)?;
        let started = Timestamp::now();
        let object = if self.observing {
            object
        } else {
            patch_status(&client, &path, &status::running(&object, started)).await?
        };
        let paths = Paths {
            watch: format!("/api/v1/namespaces/{namespace}/pods?fieldSelector=metadata.name%3D{name}"),
            pod: path.clone(),
            uid: uid(&object).into(),
        };
        let (latest, pod) = watch::channel(Some(object));
        let (written, versions) = watch::channel(0);
        let follow = tokio::spawn(follow::follow(client.clone(), paths, latest));
        let keep = tokio::spawn(volumes.keep(pod.clone(), written));
        let tasks = [follow.abort_handle(), keep.abort_handle()];
        let observing = self.observing;
        Ok(RunningPod { client, path, started, containers, pod, versions, observing, _tasks: Tasks(tasks), directory })
    }

    /// Reads the pod, and binds it if it is on no node.
    async fn claim(&self, client: &Client, path: &str, namespace: &str, name: &str) -> Result<Value, KubeletError> {
        let found = client.find(path).await.map_err(KubeletError::api("read the pod"))?;
        let pod = found.ok_or_else(|| KubeletError::NoPod { namespace: namespace.into(), name: name.into() })?;
        let text = |pointer| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let phase = text("/status/phase");
        if matches!(phase, "Succeeded" | "Failed") {
            return Err(KubeletError::Ended { name: name.into(), phase: phase.into() });
        }
        if self.observing || !text("/spec/nodeName").is_empty() {
            return Ok(pod);
        }
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.node_name},
        });
        let bound = client.object(&format!("{path}/binding"), Call::Post(&binding)).await;
        bound.map_err(KubeletError::api("bind the pod to its node"))?;
        client.object(path, Call::Get).await.map_err(KubeletError::api("read the pod"))
    }
}

fn pod_path(namespace: &str, name: &str) -> Result<String, KubeletError> {
    for part in [namespace, name] {
        let sound =
            part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
        if !sound || part.is_empty() || part.starts_with('.') {
            return Err(KubeletError::Name(part.into()));
        }
    }
    Ok(format!("/api/v1/namespaces/{namespace}/pods/{name}"))
}

async fn patch_status(client: &Client, path: &str, patch: &Value) -> Result<Value, KubeletError> {
    let answer = client.object(&format!("{path}/status"), Call::MergePatch(patch)).await;
    answer.map_err(KubeletError::api("tell the pod's status"))
}

/// Returns the env and mounts of each container of the pod.
fn containers(
    object: &Value,
    volumes: &Volumes,
    synced: &Synced,
    services: &Services,
) -> Result<BTreeMap<String, Container>, KubeletError> {
    let pod = Pod { object, node: &volumes.node };
    let disk = Disk { pod: volumes.directory.path(), volumes: pod.list("/spec/volumes"), files: &synced.files };
    let mut containers = BTreeMap::new();
    for spec in pod.containers() {
        let name = pod::text(spec, "name").to_owned();
        let env = env::variables(spec, &pod, &synced.objects, &services.variables);
        let env = env.map_err(|source| KubeletError::Env { container: name.clone(), source })?;
        let mounts = disk.mounts(spec, &env)?;
        let is_link = |name: &&String| env.get(*name) == services.variables.get(*name);
        let links = services.links.iter().filter(is_link).cloned().collect();
        let downward_env = env::downward_entries(spec);
        let (mounts, absent) = (mounts.present, mounts.absent);
        containers.insert(name, Container { env, links, mounts, absent, downward_env });
    }
    Ok(containers)
}
