//! The real `kubectl` against the devcluster. Where there is none, the tests say so and pass.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use attache_devcluster::{DevCluster, DevClusterSettings};
use serde_json::json;
use tempfile::TempDir;

/// The longest time of one command, which usually takes some hundred milliseconds.
const PATIENCE: Duration = Duration::from_mins(1);

const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: colours, labels: {app: web}}
data: {sky: blue}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "registry.invalid/web:1"}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: talker
  annotations: {devcluster.attache.dev/log: "first\nsecond\n"}
spec: {containers: [{name: main, image: "registry.invalid/talker:1"}]}
"#;

struct Kubectl {
    program: PathBuf,
    /// Dropped last, after the commands are done.
    _cluster: DevCluster,
    home: TempDir,
    config: PathBuf,
}

impl Kubectl {
    /// Returns a cluster and a `kubectl` for it. If no kubectl is installed, reports it and returns `None`.
    fn new() -> Result<Option<Self>> {
        let Some(program) = attache_built::kubectl::program()? else { return Ok(None) };
        let mut settings = DevClusterSettings::default();
        settings.pod_stop = Duration::ZERO;
        let cluster = DevCluster::start(settings)?;
        let home = tempfile::tempdir()?;
        let config = home.path().join("config");
        std::fs::write(&config, cluster.kubeconfig())?;
        Ok(Some(Self { program, _cluster: cluster, home, config }))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("KUBECONFIG", &self.config).env("HOME", self.home.path());
        command
    }

    fn output(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
        within_patience(&mut child)?;
        Ok(child.wait_with_output()?)
    }

    /// Returns the output of a command. Fails if the command fails.
    fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input)?;
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kubectl {arguments:?}: {out}{error}");
        Ok(out.into_owned())
    }

    /// Returns the error output of a command. Fails if the command succeeds.
    fn refused(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input)?;
        ensure!(!output.status.success(), "kubectl {arguments:?} succeeded");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn within_patience(child: &mut Child) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            child.kill()?;
            bail!("kubectl took longer than {PATIENCE:?}");
        }
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn objects_are_applied_looked_at_changed_and_deleted() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    let applied = kubectl.run(&["apply", "-f", "-"], OBJECTS)?;
    ensure!(applied.contains("deployment.apps/web created"), "{applied}");
    let again = kubectl.run(&["apply", "-f", "-"], OBJECTS)?;
    ensure!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    let changed = kubectl.run(&["apply", "-f", "-"], &OBJECTS.replace("web:1", "web:2"))?;
    ensure!(changed.contains("deployment.apps/web configured"), "{changed}");
    let wide = kubectl.run(&["get", "deployments", "-o", "wide"], "")?;
    ensure!(wide.contains("registry.invalid/web:2") && wide.contains("app=web"), "{wide}");
    let all = kubectl.run(&["get", "all,cm,sa", "-o", "name"], "")?;
    ensure!(all.contains("pod/talker") && all.contains("serviceaccount/default"), "{all}");
    let described = kubectl.run(&["describe", "pod", "talker"], "")?;
    ensure!(described.contains("kube-api-access-") && described.contains("QoS Class"), "{described}");
    ensure!(kubectl.run(&["describe", "deploy", "web"], "")?.contains("RollingUpdate"));
    ensure!(kubectl.run(&["logs", "talker"], "")? == "first\nsecond\n");
    ensure!(kubectl.run(&["logs", "talker", "--tail=1"], "")? == "second\n");
    kubectl.run(&["label", "cm", "colours", "mood=good"], "")?;
    kubectl.run(&["annotate", "cm", "colours", "note=x"], "")?;
    kubectl.run(&["scale", "deploy", "web", "--replicas=3"], "")?;
    kubectl.run(&["set", "image", "deploy/web", "main=registry.invalid/web:3"], "")?;
    let replicas = kubectl.run(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"], "")?;
    ensure!(replicas == "3", "{replicas}");
    let deleted = kubectl.run(&["delete", "-f", "-"], OBJECTS)?;
    ensure!(deleted.lines().count() == 3, "{deleted}");
    ensure!(kubectl.refused(&["get", "cm", "colours"], "")?.contains("(NotFound)"));
    Ok(())
}

#[test]
fn an_object_is_edited() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    kubectl.run(&["apply", "-f", "-"], OBJECTS)?;
    let mut command = kubectl.command(&["edit", "cm", "colours"]);
    let mut child = command.env("EDITOR", "sed -i s/blue/red/").stdout(Stdio::null()).spawn()?;
    within_patience(&mut child)?;
    let sky = kubectl.run(&["get", "cm", "colours", "-o", "jsonpath={.data.sky}"], "")?;
    ensure!(sky == "red", "{sky}");
    Ok(())
}

#[test]
fn server_side_apply_tells_conflicts_and_takes_over_by_force() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    let map = |colour: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"sky": colour}}).to_string()
    };
    let apply = |manager: &str, rest: &[&str], colour: &str| {
        let manager = format!("--field-manager={manager}");
        let arguments = [&["apply", "--server-side", manager.as_str(), "-f", "-"], rest].concat();
        kubectl.output(&arguments, &map(colour))
    };
    ensure!(apply("one", &[], "blue")?.status.success());
    ensure!(apply("one", &[], "grey")?.status.success());
    let refused = apply("two", &[], "red")?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(told.contains("conflict with \"one\": .data.sky"), "{told}");
    ensure!(apply("two", &["--force-conflicts"], "red")?.status.success());
    let managers = kubectl
        .run(&["get", "cm", "c", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"], "")?;
    ensure!(managers == "two", "{managers}");
    Ok(())
}

#[test]
fn rights_are_asked_for() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    ensure!(kubectl.run(&["auth", "can-i", "list", "pods"], "")?.trim() == "yes");
    let account = "--as=system:serviceaccount:default:default";
    let no = kubectl.output(&["auth", "can-i", "list", "pods", account], "")?;
    ensure!(!no.status.success() && String::from_utf8_lossy(&no.stdout).trim() == "no");
    kubectl.run(&["create", "rolebinding", "see", "--clusterrole=view", "--serviceaccount=default:default"], "")?;
    ensure!(kubectl.run(&["auth", "can-i", "list", "pods", account], "")?.trim() == "yes");
    ensure!(kubectl.run(&["auth", "can-i", "--list", account], "")?.contains("configmaps"));
    ensure!(kubectl.run(&["auth", "whoami"], "")?.contains("kubernetes-admin"));
    let token = kubectl.run(&["create", "token", "default"], "")?;
    ensure!(token.split('.').count() == 3, "{token}");
    Ok(())
}

#[test]
fn objects_are_created_from_flags() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    kubectl.run(&["create", "namespace", "team"], "")?;
    kubectl.run(&["create", "configmap", "c", "--from-literal=a=1", "-n", "team"], "")?;
    kubectl.run(&["create", "secret", "generic", "s", "--from-literal=a=1", "-n", "team"], "")?;
    kubectl.run(&["create", "deployment", "d", "--image=registry.invalid/d:1", "--replicas=0", "-n", "team"], "")?;
    kubectl.run(&["create", "job", "j", "--image=registry.invalid/j:1", "-n", "team"], "")?;
    kubectl.run(&["create", "role", "r", "--verb=get", "--resource=pods", "-n", "team"], "")?;
    kubectl
        .run(&["create", "cronjob", "c", "--image=registry.invalid/c:1", "--schedule=1 * * * *", "-n", "team"], "")?;
    kubectl.run(&["create", "job", "now", "--from=cronjob/c", "-n", "team"], "")?;
    kubectl.run(&["create", "pdb", "p", "--min-available=50%", "--selector=app=d", "-n", "team"], "")?;
    kubectl.run(&["create", "priorityclass", "high", "--value=3"], "")?;
    let secret = kubectl.run(&["get", "secret", "s", "-n", "team", "-o", "jsonpath={.data.a}"], "")?;
    ensure!(secret == "MQ==", "{secret}");
    kubectl.run(&["delete", "namespace", "team"], "")?;
    ensure!(kubectl.refused(&["get", "cm", "c", "-n", "team"], "")?.contains("(NotFound)"));
    Ok(())
}

#[test]
fn changes_are_watched() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    let mut watching = kubectl
        .command(&["get", "configmaps", "--watch", "-o", "name", "--request-timeout=5s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    kubectl.run(&["create", "configmap", "news", "--from-literal=a=1"], "")?;
    within_patience(&mut watching)?;
    let seen = String::from_utf8_lossy(&watching.wait_with_output()?.stdout).into_owned();
    ensure!(seen.contains("configmap/news"), "{seen}");
    Ok(())
}

#[test]
fn a_definition_is_served_at_once_and_its_objects_are_checked() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    let definition = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ships.harbour.example}
spec:
  group: harbour.example
  scope: Namespaced
  names: {plural: ships, kind: Ship, shortNames: [sh]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Masts, type: integer, jsonPath: .spec.masts}]
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            properties: {masts: {type: integer, minimum: 1}, flag: {type: string, default: white}}
";
    kubectl.run(&["apply", "-f", "-"], definition)?;
    kubectl.run(&["wait", "--for=condition=Established", "crd/ships.harbour.example", "--timeout=10s"], "")?;
    let ship = |masts: &str| {
        format!("apiVersion: harbour.example/v1\nkind: Ship\nmetadata: {{name: anna}}\nspec: {{masts: {masts}}}\n")
    };
    let refused = kubectl.refused(&["apply", "-f", "-"], &ship("0"))?;
    ensure!(refused.contains("spec.masts in body should be greater than or equal to 1"), "{refused}");
    kubectl.run(&["apply", "-f", "-"], &ship("3"))?;
    let seen = kubectl.run(&["get", "sh"], "")?;
    ensure!(seen.contains("MASTS") && seen.contains('3'), "{seen}");
    ensure!(kubectl.run(&["get", "ship", "anna", "-o", "jsonpath={.spec.flag}"], "")? == "white");
    kubectl.run(&["delete", "crd", "ships.harbour.example"], "")?;
    kubectl.refused(&["get", "ships.harbour.example"], "")?;
    Ok(())
}

#[test]
fn an_object_is_printed_in_every_form() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    kubectl.run(&["apply", "-f", "-"], OBJECTS)?;
    let table = [
        ("yaml", "data:\n  sky: blue\n"),
        ("json", "\"sky\": \"blue\""),
        ("wide", "NAME      DATA   AGE\ncolours   1"),
        ("name", "configmap/colours\n"),
        ("jsonpath={.data.sky}", "blue"),
        ("go-template={{.data.sky}}", "blue"),
        ("custom-columns=N:.metadata.name", "N\ncolours\n"),
    ];
    for (form, expected) in table {
        let shown = kubectl.run(&["get", "cm", "colours", "-o", form], "")?;
        ensure!(shown.contains(expected), "{form}: {shown}");
    }
    let labelled = kubectl.run(&["get", "cm", "-l", "app in (web)", "-L", "app", "--no-headers"], "")?;
    ensure!(labelled.starts_with("colours") && labelled.trim_end().ends_with("web"), "{labelled}");
    ensure!(kubectl.run(&["get", "pods", "-A", "--field-selector=status.phase=Pending"], "")?.contains("talker"));
    ensure!(kubectl.run(&["get", "pods", "--sort-by=.metadata.name", "--chunk-size=1"], "")?.contains("Pending"));
    Ok(())
}

#[test]
fn types_are_listed_and_explained() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    let types = kubectl.run(&["api-resources", "--namespaced", "-o", "name"], "")?;
    ensure!(types.contains("deployments.apps\n") && types.contains("pods\n") && !types.contains("nodes\n"), "{types}");
    ensure!(kubectl.run(&["api-versions"], "")?.contains("rbac.authorization.k8s.io/v1\n"));
    let image = kubectl.run(&["explain", "pod.spec.containers.image"], "")?;
    ensure!(image.contains("FIELD: image <string>"), "{image}");
    let spec = kubectl.run(&["explain", "deploy.spec"], "")?;
    ensure!(spec.contains("replicas\t<integer>") && spec.contains("template\t<PodTemplateSpec>"), "{spec}");
    let all = kubectl.run(&["explain", "deploy", "--recursive"], "")?;
    ensure!(all.contains("terminationGracePeriodSeconds"), "{all}");
    kubectl.refused(&["explain", "pod.spec.nothing"], "")?;
    Ok(())
}

#[test]
fn objects_are_patched_and_waited_for() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    kubectl.run(&["apply", "-f", "-"], OBJECTS)?;
    let containers = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"x"}]}}}}"#;
    kubectl.run(&["patch", "deploy", "web", "-p", containers], "")?;
    let names = "jsonpath={.spec.template.spec.containers[*].name}";
    let names = kubectl.run(&["get", "deploy", "web", "-o", names], "")?;
    ensure!(names == "side main" || names == "main side", "{names}");
    kubectl.run(&["patch", "cm", "colours", "--type=merge", "-p", r#"{"data":{"sea":"green"}}"#], "")?;
    kubectl.run(&["patch", "cm", "colours", "--type=json", "-p", r#"[{"op":"remove","path":"/data/sea"}]"#], "")?;
    kubectl.run(&["wait", "--for=jsonpath={.status.phase}=Pending", "pod/talker", "--timeout=10s"], "")?;
    let status = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    kubectl.run(&["patch", "pod", "talker", "--subresource=status", "-p", status], "")?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/talker", "--timeout=10s"], "")?;
    let told = r#"{"status":{"observedGeneration":2,"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1}}"#;
    kubectl.run(&["patch", "deploy", "web", "--subresource=status", "-p", told], "")?;
    ensure!(
        kubectl.run(&["rollout", "status", "deploy/web", "--timeout=10s"], "")?.contains("successfully rolled out")
    );
    kubectl.run(&["rollout", "restart", "deploy/web"], "")?;
    kubectl.run(&["diff", "-f", "-"], OBJECTS)?;
    kubectl.refused(&["diff", "-f", "-"], &OBJECTS.replace("web:1", "web:9"))?;
    kubectl.run(&["replace", "-f", "-"], OBJECTS)?;
    kubectl.run(&["delete", "pod", "talker", "--wait=true"], "")?;
    kubectl.run(&["wait", "--for=delete", "pod/talker", "--timeout=10s"], "")?;
    Ok(())
}

#[test]
fn logs_are_chosen_and_followed() -> Result<()> {
    let Some(kubectl) = Kubectl::new()? else { return Ok(()) };
    kubectl.run(&["apply", "-f", "-"], OBJECTS)?;
    kubectl.run(&["patch", "pod", "talker", "--subresource=status", "-p", r#"{"status":{"phase":"Running"}}"#], "")?;
    let mut following = kubectl.command(&["logs", "-f", "talker", "--tail=1"]);
    let mut following = following.stdout(Stdio::piped()).spawn()?;
    kubectl
        .run(&["annotate", "--overwrite", "pod", "talker", "devcluster.attache.dev/log=first\nsecond\nthird\n"], "")?;
    kubectl
        .run(&["patch", "pod", "talker", "--subresource=status", "-p", r#"{"status":{"phase":"Succeeded"}}"#], "")?;
    within_patience(&mut following)?;
    let followed = String::from_utf8_lossy(&following.wait_with_output()?.stdout).into_owned();
    ensure!(followed.ends_with("third\n") && !followed.contains("first"), "{followed}");
    let stamped = kubectl.run(&["logs", "talker", "-c", "main", "--timestamps", "--tail=1"], "")?;
    ensure!(stamped.starts_with("20") && stamped.ends_with("Z third\n"), "{stamped}");
    ensure!(kubectl.refused(&["logs", "talker", "--previous"], "")?.contains("previous terminated container"));
    ensure!(kubectl.refused(&["logs", "talker", "-c", "none"], "")?.contains("not valid for pod"));
    Ok(())
}
