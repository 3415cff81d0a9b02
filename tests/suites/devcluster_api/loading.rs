//! Loaded manifests: a refusal has the reason and the place in the file.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use attache_devcluster::{DevCluster, DevClusterError, DevClusterSettings, manifest};
use serde_json::{Value, json};

fn cluster() -> Result<DevCluster> {
    Ok(DevCluster::start(DevClusterSettings::default())?)
}

/// Returns the messages of loading a file, which are empty if all objects are loaded.
fn loaded(file: &Path) -> Result<String> {
    let documents = match manifest::load([file]) {
        Ok(documents) => documents,
        Err(error) => return Ok(error.to_string()),
    };
    Ok(cluster()?.load_documents(&documents).err().map(|error| error.to_string()).unwrap_or_default())
}

#[test]
fn the_seeds_manifests_are_judged_as_a_real_server_judges_them() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/seed");
    let table: [(&str, &[&str]); 8] = [
        ("dapi-volume", &[]),
        ("dapi-volume-resources", &[]),
        ("curl-with-ambassador", &[]),
        ("downward-env", &["downward-env.yaml:34:5: not YAML: ", "could not find expected ':'"]),
        ("downward-volume", &["downward-volume.yaml:41:7: not YAML: ", "could not find expected ':'"]),
        (
            "downward-env-cut",
            &[
                "downward-env-cut.yaml:13:17: Pod in version \"v1\" cannot be handled as a Pod: unable to parse quantity's suffix",
            ],
        ),
        (
            "downward-volume-cut",
            &[
                "downward-volume-cut.yaml:40:22: spec.volumes[0].downwardAPI.fieldRef.fieldPath: Invalid value: \
                 \"matadata.labels\": error converting fieldPath: field label not supported: matadata.labels",
                "downward-volume-cut.yaml:26:13: spec.containers[0].volumeMounts[0].name: Not found: \"downward\"",
            ],
        ),
        ("downward-volume-container-resource", &[".yaml:1:1: apiVersion not set, kind not set"]),
    ];
    let files = std::fs::read_dir(&folder)?.count();
    ensure!(files == table.len(), "{files} manifests");
    for (name, expected) in table {
        let said = loaded(&folder.join(format!("{name}.yaml")))?;
        ensure!(said.is_empty() == expected.is_empty(), "{name}: {said}");
        ensure!(expected.iter().all(|words| said.contains(words)), "{name}: {said}");
    }
    Ok(())
}

#[test]
fn whatever_the_server_refuses_has_its_place() -> Result<()> {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: main\n    image: x\n";
    let table = [
        (format!("{pod}    imag: y\n"), "f.yaml:8:11: ", "unknown field \"spec.containers[0].imag\""),
        (format!("{pod}    tty: very\n"), "f.yaml:8:10: ", "cannot unmarshal string into Go struct field Pod.spec.containers.tty of type bool"),
        (format!("{pod}    resources:\n      limits:\n        memory: 1 GiB\n"), "f.yaml:10:17: ", "quantities must match the regular expression"),
        (pod.replace("name: p", "name: Not_A_Name"), "f.yaml:3:18: ", "metadata.name: Invalid value: \"Not_A_Name\""),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: c}}\n    spec: {containers: [{name: m, image: x}]}\n".into(),
            "f.yaml:7:",
            "`selector` does not match template `labels`",
        ),
        ("apiVersion: v1\nkind: Nothing\nmetadata: {name: x}\n".into(), "f.yaml:1:1: ", "no matches for kind"),
        (format!("{pod}---\n{}", pod.replace("name: main", "name: MAIN")), "f.yaml:14:11: ", "spec.containers[0].name: Invalid value: \"MAIN\""),
    ];
    for (text, place, words) in table {
        let documents = manifest::parse(&text, "f.yaml")?;
        let refused = cluster()?.load_documents(&documents).err().with_context(|| format!("taken: {text}"))?;
        let said = refused.to_string();
        ensure!(said.starts_with(place) && said.contains(words), "{said}, not {place}{words}");
    }
    Ok(())
}

#[test]
fn objects_without_a_file_are_refused_with_the_servers_words() -> Result<()> {
    let pod = |container: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}});
    let cases = [
        (pod(json!({"name": "main", "image": "x", "imag": "y"})), 400, "unknown field \"spec.containers[0].imag\""),
        (
            pod(json!({"name": "main", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
            422,
            "Not found: \"v\"",
        ),
        (json!({"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "x"}}), 400, "no matches for kind"),
    ];
    for (object, expected, words) in cases {
        let Err(DevClusterError::Refused { code, message, .. }) = cluster()?.load([object]) else {
            anyhow::bail!("taken, not refused for {words}");
        };
        ensure!(code == expected && message.contains(words), "{code}: {message}");
    }
    Ok(())
}
