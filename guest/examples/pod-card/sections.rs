//! The sections of the card.

use std::{env, fs};

use attache_guest::api::{self, Collection, ResourceType};
use attache_guest::pod::{self, Identity, ResourceField};
use attache_guest::serde_json::Value;

use crate::card::{Card, Section};

/// The maximum number of rows in a table, so that a person can read the card.
const MOST_ROWS: usize = 20;

/// Adds the pod's name, namespace, node and addresses.
pub(crate) fn identity(card: &mut Card, identity: &Result<Identity, pod::Error>) {
    let section = card.section("POD");
    let identity = match identity {
        Ok(identity) => identity,
        Err(error) => return section.note(error),
    };
    let facts = [
        ("name", &identity.name),
        ("namespace", &identity.namespace),
        ("uid", &identity.uid),
        ("service account", &identity.service_account),
        ("node", &identity.node_name),
    ];
    for (name, value) in facts {
        section.row([name, value.as_deref().unwrap_or("-")]);
    }
    section.row(["pod IPs", &joined(&identity.pod_ips)]);
    section.row(["host IPs", &joined(&identity.host_ips)]);
}

fn joined(addresses: &[String]) -> String {
    match addresses {
        [] => "-".into(),
        some => some.join(", "),
    }
}

/// Adds the newest labels and annotations, from one snapshot.
pub(crate) fn labels_and_annotations(card: &mut Card) {
    match pod::snapshot() {
        Ok(snapshot) => {
            let heading = format!("LABELS (revision {})", snapshot.revision);
            pairs(card.section(heading), &snapshot.labels);
            pairs(card.section("ANNOTATIONS"), &snapshot.annotations);
        }
        Err(error) => card.section("LABELS AND ANNOTATIONS").note(error),
    }
}

fn pairs(section: &mut Section, pairs: &[(String, String)]) {
    for (key, value) in pairs {
        section.row([key, value]);
    }
    if pairs.is_empty() {
        section.note("none");
    }
}

/// Adds the requests and limits of each container.
pub(crate) fn bounds(card: &mut Card, identity: Option<Identity>, named: &[String]) {
    let containers = match named {
        [] => containers(identity),
        named => Ok(named.to_vec()),
    };
    match containers {
        Ok(all) => all.iter().for_each(|name| bounds_of(card, name)),
        Err(reason) => card.section("BOUNDS").note(reason),
    }
}

/// Returns the names of the pod's containers, from its own object.
fn containers(identity: Option<Identity>) -> Result<Vec<String>, String> {
    let unknown = "name and namespace are not projected: try --container NAME";
    let own = identity.and_then(|identity| identity.name.zip(identity.namespace));
    let (name, namespace) = own.ok_or(unknown)?;
    let pod = own_object(&name, &namespace).map_err(|error| error.to_string())?;
    let containers = pod["spec"]["containers"].as_array();
    let names = containers.into_iter().flatten().map(|c| text(&c["name"]));
    Ok(names.collect())
}

fn own_object(name: &str, namespace: &str) -> Result<Value, api::Error> {
    Collection::namespaced(&ResourceType::core("v1", "pods"), namespace)?.get(name)
}

fn bounds_of(card: &mut Card, container: &str) {
    let section = card.section(format!("BOUNDS of {container}"));
    let fields = [
        ("cpu request", ResourceField::CpuRequest, "m"),
        ("cpu limit", ResourceField::CpuLimit, "m"),
        ("memory request", ResourceField::MemoryRequest, " bytes"),
        ("memory limit", ResourceField::MemoryLimit, " bytes"),
    ];
    for (name, field, unit) in fields {
        let value = match pod::resource_bound(container, field) {
            Ok(Some(bound)) => format!("{bound}{unit}"),
            Ok(None) => "-".into(),
            Err(error) => format!("({error})"),
        };
        section.row([name, &value]);
    }
}

/// Adds the projected files, with modes from the host and content from `std::fs`.
pub(crate) fn files(card: &mut Card, directory: &str) {
    let section = card.section(format!("FILES in {directory}"));
    let files = match pod::files() {
        Ok(files) => files,
        Err(error) => return section.note(error),
    };
    for pod::File { path, mode } in &files {
        let size = match fs::read(format!("{directory}/{path}")) {
            Ok(content) => format!("{} bytes", content.len()),
            Err(error) => format!("({error})"),
        };
        section.row([path, &format!("{mode:04o}"), &size]);
    }
    if files.is_empty() {
        section.note("none");
    }
}

/// Adds the environment variables that the grant names.
pub(crate) fn environment(card: &mut Card) {
    let mut variables: Vec<_> = env::vars().collect();
    variables.sort();
    pairs(card.section("ENVIRONMENT"), &variables);
}

/// Adds the jobs of the namespace.
pub(crate) fn jobs(card: &mut Card, namespace: &str) {
    let of = ResourceType::new("batch", "v1", "jobs");
    let columns = ["NAME", "SUCCEEDED", "ACTIVE", "FAILED"];
    table(card, "JOBS", (&of, namespace), columns, |job| {
        let status = &job["status"];
        [
            text(&job["metadata"]["name"]),
            format!("{}/{}", count(&status["succeeded"], 0), count(&job["spec"]["completions"], 1)),
            count(&status["active"], 0),
            count(&status["failed"], 0),
        ]
    });
}

/// Adds the deployments of the namespace.
pub(crate) fn deployments(card: &mut Card, namespace: &str) {
    let of = ResourceType::new("apps", "v1", "deployments");
    let columns = ["NAME", "READY", "UPDATED", "AVAILABLE"];
    table(card, "DEPLOYMENTS", (&of, namespace), columns, |deployment| {
        let status = &deployment["status"];
        [
            text(&deployment["metadata"]["name"]),
            format!("{}/{}", count(&status["readyReplicas"], 0), count(&deployment["spec"]["replicas"], 1)),
            count(&status["updatedReplicas"], 0),
            count(&status["availableReplicas"], 0),
        ]
    });
}

/// Adds the pods of the namespace.
pub(crate) fn pods(card: &mut Card, namespace: &str) {
    let of = ResourceType::core("v1", "pods");
    let columns = ["NAME", "PHASE", "NODE", "IP"];
    table(card, "PODS", (&of, namespace), columns, |pod| {
        [
            text(&pod["metadata"]["name"]),
            text(&pod["status"]["phase"]),
            text(&pod["spec"]["nodeName"]),
            text(&pod["status"]["podIP"]),
        ]
    });
}

/// Adds a table of the objects of one type, or the reason why there is none.
fn table(
    card: &mut Card,
    title: &str,
    (of, namespace): (&ResourceType, &str),
    columns: [&str; 4],
    row: impl Fn(&Value) -> [String; 4],
) {
    let section = card.section(format!("{title} in {namespace}"));
    let rows = match rows(of, namespace, row) {
        Ok(rows) => rows,
        Err(error) => return section.note(error),
    };
    if rows.is_empty() {
        return section.note("none");
    }
    section.row(columns);
    for row in rows.iter().take(MOST_ROWS) {
        section.row(row.each_ref().map(String::as_str));
    }
    if rows.len() > MOST_ROWS {
        section.note("and more");
    }
}

/// Returns the rows of a table, and one more row if the table is longer.
fn rows(
    of: &ResourceType,
    namespace: &str,
    row: impl Fn(&Value) -> [String; 4],
) -> Result<Vec<[String; 4]>, api::Error> {
    let collection = Collection::namespaced(of, namespace)?;
    let objects = collection.list().items::<Value>().take(MOST_ROWS + 1);
    objects.map(|object| Ok(row(&object?))).collect()
}

/// Returns a text of an object, or `-` if there is none.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// Returns a number of an object. Kubernetes omits a number that has the default.
fn count(value: &Value, default: u64) -> String {
    value.as_u64().unwrap_or(default).to_string()
}
