//! The format of a kubeconfig. As in kubectl, unknown fields are ignored, and a field that is `null` counts as missing.

use std::path::{Path, PathBuf};

use attache_base::{Location, yaml};
use serde::{Deserialize, Deserializer};

use super::error::KubeconfigError;

/// The most that aliases may add, in parser events. No tool writes aliases into a kubeconfig.
const MAX_REPLAYED: usize = 10_000;

/// One file.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Document {
    #[serde(deserialize_with = "nullable")]
    pub(super) kind: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) current_context: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) clusters: Vec<NamedCluster>,
    #[serde(deserialize_with = "nullable")]
    pub(super) users: Vec<NamedUser>,
    #[serde(deserialize_with = "nullable")]
    pub(super) contexts: Vec<NamedContext>,
}

#[derive(Deserialize)]
pub(super) struct NamedCluster {
    #[serde(deserialize_with = "nullable")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) cluster: Cluster,
}

#[derive(Deserialize)]
pub(super) struct NamedUser {
    #[serde(deserialize_with = "nullable")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) user: User,
}

#[derive(Deserialize)]
pub(super) struct NamedContext {
    #[serde(deserialize_with = "nullable")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) context: Context,
}

/// A server.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Cluster {
    #[serde(deserialize_with = "nullable")]
    pub(super) server: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) tls_server_name: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) insecure_skip_tls_verify: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) certificate_authority: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) certificate_authority_data: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) proxy_url: String,
}

/// A user of a server.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct User {
    #[serde(deserialize_with = "nullable")]
    pub(super) client_certificate: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) client_certificate_data: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) client_key: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) client_key_data: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) token: String,
    #[serde(rename = "tokenFile", deserialize_with = "nullable")]
    pub(super) token_file: String,
    #[serde(rename = "as", deserialize_with = "nullable")]
    pub(super) impersonate: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) as_uid: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) as_groups: Vec<String>,
    pub(super) as_user_extra: Present,
    #[serde(deserialize_with = "nullable")]
    pub(super) username: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) password: String,
    pub(super) auth_provider: Present,
    pub(super) exec: Present,
}

/// A user and a cluster.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Context {
    #[serde(deserialize_with = "nullable")]
    pub(super) cluster: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) user: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) namespace: String,
}

/// A field of which only the presence counts.
#[derive(Clone, Copy, Default)]
pub(super) struct Present(pub(super) bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::<serde::de::IgnoredAny>::deserialize(from).map(|found| Self(found.is_some()))
    }
}

/// Reads a value that Go may have written as `null`.
fn nullable<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

impl Document {
    /// Parses a file's text. An error has the location alone: the words of a parser may repeat a token.
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self, KubeconfigError> {
        let options = yaml::options(MAX_REPLAYED);
        let mut document: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let Location { line, column, .. } = yaml::location(&error).unwrap_or(Location::new(1, 1));
            KubeconfigError::Syntax { file: file.to_owned(), line, column }
        })?;
        if !document.kind.is_empty() && document.kind != "Config" {
            return Err(KubeconfigError::Kind { file: file.to_owned(), kind: std::mem::take(&mut document.kind) });
        }
        document.resolve(file.parent().unwrap_or(Path::new("")));
        Ok(document)
    }

    /// Makes the paths in the file relative to its folder.
    fn resolve(&mut self, folder: &Path) {
        let in_folder = |path: &mut String| {
            if !path.is_empty() {
                *path = PathBuf::from(folder).join(&*path).to_string_lossy().into_owned();
            }
        };
        self.clusters.iter_mut().for_each(|named| in_folder(&mut named.cluster.certificate_authority));
        for NamedUser { user, .. } in &mut self.users {
            [&mut user.client_certificate, &mut user.client_key, &mut user.token_file].into_iter().for_each(in_folder);
        }
    }
}
