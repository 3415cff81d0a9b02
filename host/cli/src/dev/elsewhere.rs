//! `attache dev --kubeconfig`: the pod in an existing cluster.
//!
//! The pod belongs to the cluster: its labels, config maps and secrets come from the cluster's objects, and its token
//! from a TokenRequest. An existing pod is only read, unless an earlier run left it behind. A missing pod is created
//! for the run and deleted at the end. It has a scheduling gate and the name of a scheduler that does not exist, so
//! that no node takes it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use attache::cluster::{ApiClient, ClusterError, KubeconfigContext, Payload};
use attache::gate::{Channel, Gate};
use attache::policy::{ApiRequest, Grant, Rule};
use attache::telemetry::{NoAudit, chain};
use attache_devcluster::kubelet::{ClientIdentity, Kubelet};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::manifests::{PodName, alone};
use super::{Played, outcome, stay};
use crate::api_server;
use crate::args;
use crate::exit::Exit;
use crate::record::Record;
use crate::signals::Signals;
use crate::stderr::say;

/// The gate of a pod that was created for a run, and the name of its scheduler.
const GATE: &str = "attache.dev/played-elsewhere";
const SCHEDULER: &str = "attache.dev";

/// The name under which requests for the pod itself are sent.
const NAME: &str = "attache-dev";

/// The time that each request at the end of a run has: the user waits for it.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// The namespace of a manifest or context that has none.
const DEFAULT_NAMESPACE: &str = "default";

pub(super) async fn dev(
    arguments: &args::Dev,
    grant: Option<Grant>,
    record: Option<&Record>,
    context: KubeconfigContext,
    folder: &Path,
    signals: &mut Signals,
) -> anyhow::Result<Exit> {
    let Some(file) = &arguments.pod else {
        bail!("--kubeconfig plays a pod in a cluster that is there: say --pod FILE")
    };
    let manifest = alone(file)?;
    let begin = async {
        let there = Elsewhere::connect(context).await?;
        let pod = there.find_or_make(manifest).await?;
        anyhow::Ok((there, pod))
    };
    let (there, pod) = tokio::select! {
        begun = begin => begun?,
        exit = signals.arrive() => return Ok(exit),
    };
    let played = async {
        let kubelet = there.kubelet().root(folder).observing();
        let started = tokio::select! {
            started = kubelet.start(&pod.name.namespace, &pod.name.name) => started,
            exit = signals.arrive() => return Ok(exit),
        };
        let running = started.with_context(|| format!("cannot play pod {}/{}", pod.name.namespace, pod.name.name))?;
        let played = Played { name: &pod.name, pod: &running, elsewhere: Some(&there.context) };
        let ended = tokio::select! {
            ended = stay(arguments, grant, record, Some(played)) => ended,
            exit = signals.arrive() => Ok(exit),
        };
        let outcome = outcome(ended.as_ref());
        if let Ok(stopped) = timeout(LAST_REQUEST, running.stop(&outcome)).await {
            stopped?;
        } else {
            tracing::warn!("the cluster does not answer: it is not told how the run ended");
        }
        ended
    };
    let played = played.await;
    there.remove(&pod).await;
    played
}

/// An existing cluster.
struct Elsewhere {
    context: KubeconfigContext,
    cluster: ApiClient,
}

/// The played pod.
struct Pod {
    name: PodName,
    /// The UID of a pod that this run created or an earlier run left behind.
    made: Option<String>,
}

impl Elsewhere {
    async fn connect(context: KubeconfigContext) -> anyhow::Result<Self> {
        if context.credentials.trusts_system() {
            bail!("the cluster of the kubeconfig names no `certificate-authority`, which the pod's volume needs");
        }
        let cluster = api_server::reach(context.settings(Arc::new(NoAudit)), Duration::ZERO).await?;
        Ok(Self { context, cluster })
    }

    /// Returns the pod of the cluster. Creates it if the cluster has none.
    async fn find_or_make(&self, mut manifest: Value) -> anyhow::Result<Pod> {
        let namespace = match text(&manifest, "/metadata/namespace") {
            "" => self.context.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            namespace => namespace.to_owned(),
        };
        let name = text(&manifest, "/metadata/name").to_owned();
        let server = self.cluster.endpoint();
        if !name.is_empty()
            && let Some(found) = self
                .ask(Method::GET, &namespace, &name, None)
                .await
                .with_context(|| format!("cannot read pod {namespace}/{name}"))?
        {
            let left_behind = is_gated(&found);
            say!("Pod {namespace}/{name} is there at {server}, and is played as it is stored there.");
            if left_behind {
                say!("It was made by an earlier `attache dev`, and is deleted at the end.");
            }
            let made = left_behind.then(|| text(&found, "/metadata/uid").to_owned());
            return Ok(Pod { name: PodName::of(&found), made });
        }
        prepare(&mut manifest, &namespace)?;
        let made = self.ask(Method::POST, &namespace, "", Some(&manifest)).await;
        let made = made.with_context(|| format!("cannot make the pod in namespace {namespace}"))?.unwrap_or_default();
        let name = PodName::of(&made);
        say!(
            "Pod {}/{} is made at {server} for this run, behind a scheduling gate, so that no node runs it; it is deleted at the \
             end.",
            name.namespace,
            name.name
        );
        Ok(Pod { name, made: Some(text(&made, "/metadata/uid").to_owned()) })
    }

    /// Deletes the pod, if it was created for a run. A failure is only reported, because the run is over.
    async fn remove(&self, pod: &Pod) {
        let Some(uid) = &pod.made else { return };
        let PodName { namespace, name, .. } = &pod.name;
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid},
        });
        let asked = timeout(LAST_REQUEST, self.ask(Method::DELETE, namespace, name, Some(&options))).await;
        let failed = match asked {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(chain(&error).to_string()),
            Err(_) => Some("the cluster does not answer".to_owned()),
        };
        if let Some(error) = failed {
            tracing::warn!(%error, "the pod is left behind: kubectl delete pod --namespace {namespace} {name}");
        }
    }

    /// Requests one pod, or the pods of a namespace. Returns `None` if it does not exist.
    async fn ask(
        &self,
        method: Method,
        namespace: &str,
        name: &str,
        body: Option<&Value>,
    ) -> Result<Option<Value>, ClusterError> {
        let mut path = format!("/api/v1/namespaces/{namespace}/pods");
        if !name.is_empty() {
            path = format!("{path}/{name}");
        }
        let refused = |why: String| ClusterError::from(attache::cluster::Unavailable::Busy(why));
        let request = ApiRequest::parse(&method, &path).map_err(|why| refused(why.to_string()))?;
        let permit = gate(namespace).admit(Channel::Host, request).map_err(|why| refused(why.to_string()))?;
        let payload = match body {
            Some(body) => Payload::of(HeaderValue::from_static("application/json"), body.to_string()),
            None => Payload::none(),
        };
        match self.cluster.fetch(permit, payload).await {
            Ok(answer) => serde_json::from_slice(&answer.bytes).map(Some).map_err(ClusterError::Review),
            Err(ClusterError::Refused(status)) if status.code == 404 && !name.is_empty() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a kubelet with the identity of the kubeconfig.
    fn kubelet(&self) -> Kubelet {
        let (credentials, server_name) = (self.context.credentials.clone(), self.context.server_name.clone());
        let pem = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let identity = move || {
            let mut identity = ClientIdentity::default();
            identity.ca_pem = credentials.ca_pem().ok().flatten().map(|ca| pem(ca.bytes())).unwrap_or_default();
            identity.token =
                credentials.token().ok().flatten().map(|token| token.expose().to_owned()).unwrap_or_default();
            let certificate = credentials.certificate().ok().flatten();
            identity.certificate = certificate.map(|client| (pem(client.certificate()), pem(client.key())));
            identity.server_name.clone_from(&server_name);
            identity
        };
        Kubelet::builder(self.context.server.to_string(), "").identity_from(identity)
    }
}

/// Allows only the requests for the pod.
fn gate(namespace: &str) -> Gate {
    let mut grant = Grant::nothing(NAME);
    let pods = Rule::default().api_groups([""]).resources(["pods"]);
    grant.api.push(pods.verbs(["get", "create", "delete"]).namespaces([namespace]));
    Gate::new(NAME, Arc::new(grant), Arc::new(NoAudit))
}

/// Keeps nodes from taking the pod. An old server ignores the gate; then the scheduler's name keeps the pod
/// unscheduled.
fn prepare(manifest: &mut Value, namespace: &str) -> anyhow::Result<()> {
    if !text(manifest, "/spec/nodeName").is_empty() {
        bail!("the pod's manifest names a node, whose kubelet would run its containers: leave `spec.nodeName` out");
    }
    manifest["metadata"]["namespace"] = json!(namespace);
    let spec = &mut manifest["spec"];
    spec["schedulerName"] = json!(SCHEDULER);
    match spec["schedulingGates"].as_array_mut() {
        Some(gates) => gates.push(json!({"name": GATE})),
        None => spec["schedulingGates"] = json!([{"name": GATE}]),
    }
    Ok(())
}

fn is_gated(pod: &Value) -> bool {
    let gates = pod.pointer("/spec/schedulingGates").and_then(Value::as_array);
    gates.is_some_and(|gates| gates.iter().any(|gate| gate["name"] == GATE))
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
