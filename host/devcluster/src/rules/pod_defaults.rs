//! The defaults of pods, their templates, containers and volumes.

use serde_json::{Map, Value, json};

use crate::rules::defaults::{MODE, below, each, or, text, unless_set};

/// Fills in the defaults of one struct, without those of the structs in it.
pub(crate) fn of_struct(name: &str, map: &mut Map<String, Value>) {
    match name {
        "Pod" => pod(map),
        "PodSpec" => {
            or(map, "dnsPolicy", "ClusterFirst");
            or(map, "restartPolicy", "Always");
            unless_set(map, "securityContext", json!({}));
            unless_set(map, "terminationGracePeriodSeconds", 30);
            or(map, "schedulerName", "default-scheduler");
            same_account(map);
        }
        "Container" | "EphemeralContainer" => {
            let policy = pull_policy(text(map, "image"));
            or(map, "imagePullPolicy", policy);
            or(map, "terminationMessagePath", "/dev/termination-log");
            or(map, "terminationMessagePolicy", "File");
        }
        "ContainerPort" => or(map, "protocol", "TCP"),
        "Probe" => {
            for (field, number) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                or(map, field, number);
            }
        }
        "HTTPGetAction" => {
            or(map, "path", "/");
            or(map, "scheme", "HTTP");
        }
        "GRPCAction" => unless_set(map, "service", ""),
        "FileKeySelector" => unless_set(map, "optional", false),
        "ObjectFieldSelector" => or(map, "apiVersion", "v1"),
        "Volume" => volume(map),
        name => source(name, map),
    }
}

/// Fills in the defaults of a volume's source.
fn source(name: &str, map: &mut Map<String, Value>) {
    match name {
        "SecretVolumeSource" | "ConfigMapVolumeSource" | "DownwardAPIVolumeSource" | "ProjectedVolumeSource" => {
            unless_set(map, "defaultMode", MODE);
        }
        "ServiceAccountTokenProjection" => unless_set(map, "expirationSeconds", 3600),
        "HostPathVolumeSource" => unless_set(map, "type", ""),
        "ImageVolumeSource" => {
            let policy = pull_policy(text(map, "reference"));
            or(map, "pullPolicy", policy);
        }
        "ISCSIVolumeSource" | "ISCSIPersistentVolumeSource" => or(map, "iscsiInterface", "default"),
        "RBDVolumeSource" | "RBDPersistentVolumeSource" => {
            or(map, "pool", "rbd");
            or(map, "user", "admin");
            or(map, "keyring", "/etc/ceph/keyring");
        }
        "AzureDiskVolumeSource" => {
            unless_set(map, "cachingMode", "ReadWrite");
            unless_set(map, "fsType", "ext4");
            unless_set(map, "readOnly", false);
            unless_set(map, "kind", "Shared");
        }
        "ScaleIOVolumeSource" | "ScaleIOPersistentVolumeSource" => {
            or(map, "storageMode", "ThinProvisioned");
            or(map, "fsType", "xfs");
        }
        _ => {}
    }
}

/// Returns the pull policy of an image: a fixed tag is pulled once.
fn pull_policy(image: &str) -> &'static str {
    let latest = match image.rsplit('/').next().unwrap_or_default().split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !image.contains('@'),
    };
    if latest { "Always" } else { "IfNotPresent" }
}

/// Copies the service account's name to and from the older name of the field.
fn same_account(spec: &mut Map<String, Value>) {
    let (new, old) = (text(spec, "serviceAccountName").to_owned(), text(spec, "serviceAccount").to_owned());
    let name = if new.is_empty() { old } else { new };
    if !name.is_empty() {
        spec.insert("serviceAccountName".to_owned(), name.as_str().into());
        spec.insert("serviceAccount".to_owned(), name.into());
    }
}

/// Fills in the defaults of pods that templates do not have: a container's requests are its limits.
fn pod(map: &mut Map<String, Value>) {
    let Some(spec) = below(map, "spec") else { return };
    let host = spec.get("hostNetwork") == Some(&true.into());
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            let limits = container.get("resources").and_then(|resources| resources["limits"].as_object()).cloned();
            if let Some(limits) = limits.filter(|limits| !limits.is_empty())
                && let Some(requests) = below(container, "resources").and_then(|resources| below(resources, "requests"))
            {
                limits.into_iter().for_each(|(name, amount)| unless_set(requests, &name, amount));
            }
            for port in each(container, "ports").filter(|_| host) {
                let number = port.get("containerPort").cloned().unwrap_or_default();
                or(port, "hostPort", number);
            }
        }
    }
    unless_set(spec, "enableServiceLinks", true);
    if let Some(spec) = map.get_mut("spec") {
        crate::rules::pod_resources::complete(spec);
    }
}

fn volume(map: &mut Map<String, Value>) {
    if map.keys().all(|name| name == "name") {
        map.insert("emptyDir".to_owned(), json!({}));
    }
}
