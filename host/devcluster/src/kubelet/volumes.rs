//! The content of a pod's volumes, as pure functions of objects from the API.

use std::collections::BTreeMap;
use std::path::PathBuf;

use attache_base::volume::{File, RelativePath};
use serde_json::Value;

use super::objects::{Kind, Objects, is_optional};
use super::ownership;
use super::pod::{ContentError, Pod, text};
use super::token::{Ask, Tokens};

/// The mode of a file when neither item nor volume sets one; the API server's default.
const DEFAULT_MODE: u32 = 0o644;

/// The source of a file in a volume that a kubelet writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileSource {
    /// A field of the pod, or a request or limit of a container.
    DownwardApi,
    /// A key of a `ConfigMap`.
    ConfigMap,
    /// A key of a Secret.
    Secret,
    /// A token of the pod's service account: a credential.
    ServiceAccountToken,
    /// CA certificates of `ClusterTrustBundle` objects. This kubelet writes none.
    ClusterTrustBundle,
    /// A private key with its certificate chain: a credential. This kubelet writes none.
    PodCertificate,
}

/// A file of a volume, with its definition in the pod's spec.
///
/// ```
/// use attache_devcluster::kubelet::{FileSource, MountPoint};
///
/// /// Returns the files of a mount that tell of the pod, by their paths in the volume.
/// fn downward(mount: &MountPoint) -> impl Iterator<Item = &str> {
///     let files = mount.files.iter().filter(|file| file.source == FileSource::DownwardApi);
///     files.map(|file| file.path.as_str())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VolumeFile {
    /// The path in the volume.
    pub path: String,
    /// The source of the content.
    pub source: FileSource,
    /// The definition in the pod's spec: an item of `downwardAPI.items`, or of a `configMap`'s or `secret`'s `items`;
    /// else the source itself, without the name of its kind.
    pub item: Value,
}

/// The files of one volume.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Files {
    pub(super) projections: BTreeMap<RelativePath, File>,
    /// The source and definition of each file. Where two sources write one file, the later one counts.
    origins: BTreeMap<RelativePath, (FileSource, Value)>,
    /// The files that the spec asks for and this kubelet does not write.
    left_out: Vec<VolumeFile>,
}

impl Files {
    /// Returns the files at a path of the volume and below it; all files if there is no path.
    pub(super) fn at(&self, path: Option<&RelativePath>) -> Vec<VolumeFile> {
        let part = self.origins.iter().filter(|(file, _)| path.is_none_or(|path| covers(path.as_str(), file.as_str())));
        let file = |(path, (source, item)): (&RelativePath, &(FileSource, Value))| VolumeFile {
            path: path.to_string(),
            source: *source,
            item: item.clone(),
        };
        part.map(file).collect()
    }

    /// Returns the files that this kubelet does not write, at a path of the volume and below it; all files if there is
    /// no path.
    pub(super) fn left_out_of(&self, path: Option<&RelativePath>) -> Vec<VolumeFile> {
        let part = self.left_out.iter().filter(|file| path.is_none_or(|path| covers(path.as_str(), &file.path)));
        part.cloned().collect()
    }

    pub(super) fn add(
        &mut self,
        path: &str,
        data: Vec<u8>,
        mode: u32,
        from: (FileSource, &Value),
    ) -> Result<(), ContentError> {
        let path = RelativePath::new(path)?;
        self.origins.insert(path.clone(), (from.0, from.1.clone()));
        self.projections.insert(path, File { data, mode });
        Ok(())
    }

    pub(super) fn leave_out(&mut self, path: &str, source: FileSource, item: &Value) {
        self.left_out.push(VolumeFile { path: path.to_owned(), source, item: item.clone() });
    }
}

/// Returns whether `path` is that of the file or of a directory above it.
fn covers(path: &str, file: &str) -> bool {
    file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The content of a volume.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// Files that the kubelet writes.
    Files(Files),
    /// An `emptyDir`, which belongs to the containers.
    Scratch,
}

/// The sources of all volumes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) pod: Pod<'a>,
    pub(super) objects: &'a Objects,
    pub(super) tokens: &'a Tokens,
}

/// Returns a volume's kind, named as its field in the spec. A volume without a kind is an `emptyDir`, as for the API
/// server.
pub(super) fn kind(volume: &Value) -> &str {
    let given = volume.as_object().into_iter().flatten().find(|(name, value)| *name != "name" && !value.is_null());
    given.map_or("emptyDir", |(name, _)| name.as_str())
}

/// Returns the directory of a volume, below the pod's, with the name of the real kubelet's plugin. Returns nothing for
/// a kind that needs more than files: storage, the host's directories, drivers, images.
pub(super) fn directory(volume: &Value) -> Option<PathBuf> {
    let plugin = match kind(volume) {
        "emptyDir" => "kubernetes.io~empty-dir",
        "downwardAPI" => "kubernetes.io~downward-api",
        "projected" => "kubernetes.io~projected",
        "configMap" => "kubernetes.io~configmap",
        "secret" => "kubernetes.io~secret",
        _ => return None,
    };
    Some(["volumes", plugin, text(volume, "name")].iter().collect())
}

/// Returns the content of a volume that has a [`directory`].
pub(super) fn content(volume: &Value, sources: Sources<'_>) -> Result<Content, ContentError> {
    let kind = kind(volume);
    let source = volume.get(kind).unwrap_or(&Value::Null);
    let mode = mode(source, "defaultMode", DEFAULT_MODE);
    let mut files = Files::default();
    match kind {
        "downwardAPI" => downward(source, mode, sources, &mut files)?,
        "configMap" => keys(Kind::ConfigMap, text(source, "name"), source, mode, sources, &mut files)?,
        "secret" => keys(Kind::Secret, text(source, "secretName"), source, mode, sources, &mut files)?,
        "projected" => projected(source, mode, sources, &mut files)?,
        _ => return Ok(Content::Scratch),
    }
    let added = ownership::added(&sources.pod);
    files.projections.values_mut().for_each(|file| file.mode |= added);
    Ok(Content::Files(files))
}

fn projected(source: &Value, mode: u32, sources: Sources<'_>, files: &mut Files) -> Result<(), ContentError> {
    for part in each(source, "sources") {
        let given = |field: &str| part.get(field).filter(|source| !source.is_null());
        for (kind, field) in [(Kind::ConfigMap, "configMap"), (Kind::Secret, "secret")] {
            if let Some(source) = given(field) {
                keys(kind, text(source, "name"), source, mode, sources, files)?;
            }
        }
        if let Some(source) = given("downwardAPI") {
            downward(source, mode, sources, files)?;
        }
        if let Some(source) = given("serviceAccountToken") {
            let token = sources.tokens.get(&Ask::from_source(source))?.as_bytes().to_vec();
            let mode = ownership::token_mode(&sources.pod).unwrap_or(mode);
            files.add(text(source, "path"), token, mode, (FileSource::ServiceAccountToken, source))?;
        }
        if let Some(source) = given("clusterTrustBundle") {
            files.leave_out(text(source, "path"), FileSource::ClusterTrustBundle, source);
        }
        if let Some(source) = given("podCertificate") {
            for path in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
                let path = text(source, path);
                if !path.is_empty() {
                    files.leave_out(path, FileSource::PodCertificate, source);
                }
            }
        }
    }
    Ok(())
}

fn downward(source: &Value, default: u32, sources: Sources<'_>, files: &mut Files) -> Result<(), ContentError> {
    for item in each(source, "items") {
        let value = match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(field), _) if !field.is_null() => sources.pod.field(text(field, "fieldPath"))?,
            (_, Some(resource)) => sources.pod.resource_of_file(resource)?,
            _ => String::new(),
        };
        let from = (FileSource::DownwardApi, item);
        files.add(text(item, "path"), value.into_bytes(), mode(item, "mode", default), from)?;
    }
    Ok(())
}

/// Returns the keys of an object: all of them, or those of the items, under the items' paths.
fn keys(
    kind: Kind,
    name: &str,
    source: &Value,
    default: u32,
    sources: Sources<'_>,
    files: &mut Files,
) -> Result<(), ContentError> {
    let optional = is_optional(source);
    let from = match kind {
        Kind::ConfigMap => FileSource::ConfigMap,
        Kind::Secret => FileSource::Secret,
    };
    let Some(data) = sources.objects.data(kind, name, optional)? else { return Ok(()) };
    let items: Vec<_> = each(source, "items").collect();
    if items.is_empty() {
        return data.into_iter().try_for_each(|(key, bytes)| files.add(&key, bytes, default, (from, source)));
    }
    for item in items {
        let key = text(item, "key");
        match data.get(key) {
            Some(bytes) => {
                files.add(text(item, "path"), bytes.clone(), mode(item, "mode", default), (from, item))?;
            }
            None if optional => {}
            None => return Err(ContentError::NoKey { kind: kind.name(), name: name.into(), key: key.into() }),
        }
    }
    Ok(())
}

fn each<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn mode(value: &Value, field: &str, default: u32) -> u32 {
    value.get(field).and_then(Value::as_u64).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::{Content, FileSource, Files, Sources, content, directory, kind};
    use crate::kubelet::objects::{Kind, Objects};
    use crate::kubelet::pod::{Allocatable, ContentError, Pod};
    use crate::kubelet::token::{Ask, Tokens};

    fn held(volume: &Value) -> Result<Content, ContentError> {
        let object = json!({"metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "250m"}}}]}});
        let objects = Objects::of(&[
            (Kind::ConfigMap, "c", json!({"data": {"one": "1", "two": "2"}, "binaryData": {"bin": "AP8="}})),
            (Kind::Secret, "s", json!({"data": {"k": "c2VjcmV0", "bad": "%"}})),
            (Kind::Secret, "sound", json!({"data": {"k": "c2VjcmV0"}})),
        ]);
        let mut tokens = Tokens::default();
        tokens.put(Ask { audience: "vault".into(), seconds: 600 }, "token-of-vault");
        let node = Allocatable::default();
        content(volume, Sources { pod: Pod { object: &object, node: &node }, objects: &objects, tokens: &tokens })
    }

    fn files(volume: &Value) -> Files {
        match held(volume).unwrap() {
            Content::Files(files) => files,
            Content::Scratch => panic!("{volume} has no files"),
        }
    }

    fn shown(volume: &Value) -> Vec<String> {
        let line = |(path, file): (_, &attache_base::volume::File)| {
            format!("{path} {:o} {}", file.mode, String::from_utf8_lossy(&file.data))
        };
        files(volume).projections.iter().map(line).collect()
    }

    #[test]
    fn each_kind_of_volume_has_its_files() {
        let table = [
            (
                json!({"downwardAPI": {"defaultMode": 256, "items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "deep/name", "mode": 511, "fieldRef": {"fieldPath": "metadata.name"}},
                    {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}},
                ]}}),
                vec!["cpu 400 250", "deep/name 777 p", "labels 400 a=\"b\""],
            ),
            (json!({"configMap": {"name": "c"}}), vec!["bin 644 \0\u{fffd}", "one 644 1", "two 644 2"]),
            (
                json!({"configMap": {"name": "c", "defaultMode": 292, "items": [{"key": "one", "path": "x/y"}, {"key": "two", "path": "z", "mode": 384}]}}),
                vec!["x/y 444 1", "z 600 2"],
            ),
            (json!({"secret": {"secretName": "sound"}}), vec!["k 644 secret"]),
            (json!({"secret": {"secretName": "none", "optional": true}}), vec![]),
            (json!({"configMap": {"name": "c", "optional": true, "items": [{"key": "gone", "path": "g"}]}}), vec![]),
            (
                json!({"projected": {"defaultMode": 288, "sources": [
                    {"serviceAccountToken": {"path": "t/token", "audience": "vault", "expirationSeconds": 600}},
                    {"configMap": {"name": "c", "items": [{"key": "one", "path": "one", "mode": 420}]}},
                    {"secret": {"name": "sound"}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                ]}}),
                vec!["k 440 secret", "name 440 p", "one 644 1", "t/token 440 token-of-vault"],
            ),
        ];
        for (volume, expected) in table {
            assert_eq!(shown(&volume), expected, "{volume}");
        }
        assert_eq!(held(&json!({"emptyDir": {}})), Ok(Content::Scratch));
        assert_eq!(held(&json!({"name": "v"})), Ok(Content::Scratch));
    }

    #[test]
    fn one_key_may_be_two_files() {
        let items = json!([{"key": "one", "path": "a"}, {"key": "one", "path": "b"}]);
        assert_eq!(shown(&json!({"configMap": {"name": "c", "items": items}})), ["a 644 1", "b 644 1"]);
    }

    #[test]
    fn each_file_has_its_source() {
        let label = |path: &str| json!({"path": path, "fieldRef": {"fieldPath": "metadata.labels"}});
        let token = json!({"path": "masked", "audience": "vault", "expirationSeconds": 600});
        let volume = json!({"projected": {"sources": [
            {"configMap": {"name": "c", "items": [{"key": "one", "path": "settings/one"}]}},
            {"secret": {"name": "sound"}},
            {"downwardAPI": {"items": [label("labels"), label("masked")]}},
            {"serviceAccountToken": token},
            {"clusterTrustBundle": {"name": "roots", "path": "ca.pem"}},
            {"podCertificate": {"signerName": "example.com/s", "keyType": "ED25519", "keyPath": "key", "certificateChainPath": "chain"}},
        ]}});
        let files = files(&volume);
        let told: Vec<_> = files.at(None).into_iter().map(|file| (file.path, file.source)).collect();
        let expected = [
            ("k", FileSource::Secret),
            ("labels", FileSource::DownwardApi),
            ("masked", FileSource::ServiceAccountToken),
            ("settings/one", FileSource::ConfigMap),
        ];
        assert_eq!(told, expected.map(|(path, source)| (path.to_owned(), source)));
        assert_eq!(files.at(None)[1].item, label("labels"));
        let part = attache_base::volume::RelativePath::new("settings").unwrap();
        assert_eq!(files.at(Some(&part)).len(), 1);
        let left_out: Vec<_> = files.left_out.iter().map(|file| (file.path.as_str(), file.source)).collect();
        assert_eq!(
            left_out,
            [
                ("ca.pem", FileSource::ClusterTrustBundle),
                ("key", FileSource::PodCertificate),
                ("chain", FileSource::PodCertificate),
            ]
        );
    }

    #[test]
    fn only_volumes_of_files_have_a_directory() {
        for other in [
            json!({"persistentVolumeClaim": {"claimName": "c"}}),
            json!({"hostPath": {"path": "/"}}),
            json!({"csi": {"driver": "d"}}),
            json!({"name": "v", "image": {"reference": "r"}}),
            json!({"not yet known": {}}),
        ] {
            assert_eq!(directory(&other), None, "{other}");
        }
        assert_eq!(kind(&json!({"name": "v", "hostPath": {"path": "/"}, "csi": null})), "hostPath");
        assert!(directory(&json!({"name": "v"})).unwrap().ends_with("kubernetes.io~empty-dir/v"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let told = |volume: Value| held(&volume).unwrap_err().to_string();
        assert_eq!(told(json!({"configMap": {"name": "none"}})), "configmap \"none\" not found");
        assert_eq!(
            told(json!({"configMap": {"name": "c", "items": [{"key": "gone", "path": "g"}]}})),
            "configmap \"c\" has no key \"gone\""
        );
        assert_eq!(
            told(json!({"secret": {"secretName": "s"}})),
            "the data of secret \"s\" under \"bad\" is not base64"
        );
        assert!(told(json!({"configMap": {"name": "c", "items": [{"key": "one", "path": "../x"}]}})).contains("'..'"));
    }
}
