//! The service account of a pod: its name, and the volume with its token.

use serde_json::{Value, json};

use crate::model::fresh::suffix;
use crate::model::object;
use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::server::api::Api;

/// The path of the credentials in every container.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The life of a token in a pod's volume, in seconds.
const TOKEN_SECONDS: u64 = 3607;

/// Sets a pod's service account and adds the token's volume, unless the pod or the account declines it.
pub(crate) fn admit(api: &Api, pod: &mut Value) -> Result<(), ApiError> {
    let given = ["serviceAccountName", "serviceAccount"].iter().find_map(|name| pod["spec"][*name].as_str());
    let name = given.filter(|name| !name.is_empty()).unwrap_or("default").to_owned();
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let (Some(accounts), Some(pods)) =
        (api.catalogue.find("", "v1", "serviceaccounts"), api.catalogue.find("", "v1", "pods"))
    else {
        return Ok(());
    };
    let Some(account) = api.store.collection(&accounts).get(&object::key(&namespace, &name)) else {
        return Err(no_account(&pods, pod, &namespace, &name));
    };
    pod["spec"]["serviceAccountName"] = name.as_str().into();
    pod["spec"]["serviceAccount"] = name.into();
    let wanted = pod["spec"]["automountServiceAccountToken"].as_bool();
    let wanted = wanted.or_else(|| account.value()["automountServiceAccountToken"].as_bool()).unwrap_or(true);
    if wanted {
        mount(pod);
    }
    Ok(())
}

fn no_account(of: &Type, pod: &Value, namespace: &str, account: &str) -> ApiError {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let message = format!(
        "pods {name:?} is forbidden: error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
    );
    ApiError::new(403, "Forbidden", message).with_details(of.details(name))
}

/// Adds the volume, and its mount to each container that has nothing at that path.
fn mount(pod: &mut Value) {
    let mut volume = None;
    for field in ["containers", "initContainers"] {
        for container in pod["spec"][field].as_array_mut().into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().map(Vec::as_slice).unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            let name = volume.get_or_insert_with(|| format!("kube-api-access-{}", suffix()));
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            append(&mut container["volumeMounts"], mount);
        }
    }
    let Some(name) = volume else { return };
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]);
    append(&mut pod["spec"]["volumes"], json!({"name": name, "projected": {"sources": sources, "defaultMode": 420}}));
}

fn append(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}
