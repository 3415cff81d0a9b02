//! Servers and credentials from the configuration files of kubectl.
//!
//! Files are merged as in kubectl: of entries with one name in several files, the first file's counts as a whole; the
//! first current context counts too. A path in a file is relative to the folder of the file.
//!
//! Threats: a file that sends the token to another server or accepts its answers (`proxy-url` and
//! `insecure-skip-tls-verify` are refused), a file that runs a program (`exec` and `auth-provider` are refused),
//! requests as another user (`as` is refused, since grants and records are about the account), and a token in an error
//! (see `document`).

mod document;
mod error;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::settings::ApiClientSettings;
use crate::credentials::{Credentials, Material};
use crate::telemetry::Audit;
use document::{Cluster, Context, Document, User};
pub use error::KubeconfigError;

/// The variable with the list of files, separated by colons.
pub const KUBECONFIG_VARIABLE: &str = "KUBECONFIG";

/// The most bytes of a file. A cluster and a user with all certificates inline take ten kilobytes.
const MAX_FILE: u64 = 4 << 20;

const CLUSTER: &str = "cluster";
const USER: &str = "user";
const CONTEXT: &str = "context";

/// The kubeconfig of one file, or of several that are merged.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use attache::cluster::{ApiClient, Kubeconfig, KubeconfigChoice};
/// use attache::telemetry::ToTracing;
///
/// # fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// let chosen = Kubeconfig::read("kubeconfig".as_ref())?.choose(&KubeconfigChoice::default().context("staging"))?;
/// let cluster = ApiClient::connect(chosen.settings(Arc::new(ToTracing)))?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Kubeconfig {
    current: Option<String>,
    clusters: BTreeMap<String, Cluster>,
    users: BTreeMap<String, User>,
    contexts: BTreeMap<String, Context>,
}

/// A choice of context, cluster and user, in place of the kubeconfig's own.
///
/// ```
/// use attache::cluster::KubeconfigChoice;
///
/// let choice = KubeconfigChoice::default().context("staging").user("reader"); // for `Kubeconfig::choose`
/// # drop(choice);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeconfigChoice {
    context: Option<String>,
    cluster: Option<String>,
    user: Option<String>,
}

impl KubeconfigChoice {
    /// Sets the context, in place of the current one.
    #[must_use]
    pub fn context(self, name: impl Into<String>) -> Self {
        Self { context: Some(name.into()), ..self }
    }

    /// Sets the cluster, in place of the context's.
    #[must_use]
    pub fn cluster(self, name: impl Into<String>) -> Self {
        Self { cluster: Some(name.into()), ..self }
    }

    /// Sets the user, in place of the context's.
    #[must_use]
    pub fn user(self, name: impl Into<String>) -> Self {
        Self { user: Some(name.into()), ..self }
    }
}

/// One server of a kubeconfig, with the credentials for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KubeconfigContext {
    /// The API server.
    pub server: Endpoint,
    /// The name that the server's certificate must have, in place of the host in its URL.
    pub server_name: Option<String>,
    /// The credentials, and the authorities of the server's certificate: the system's where the file has none.
    pub credentials: Credentials,
    /// The default namespace.
    pub namespace: Option<String>,
}

impl KubeconfigContext {
    /// Makes settings for a client of this server, with defaults for the rest.
    pub fn settings(&self, audit: Arc<dyn Audit>) -> ApiClientSettings {
        let settings = ApiClientSettings::new(self.server.clone(), audit);
        settings.credentials(self.credentials.clone()).server_name(self.server_name.clone())
    }
}

impl Kubeconfig {
    /// Reads one file.
    ///
    /// # Errors
    /// When the file is missing or is no kubeconfig.
    pub fn read(file: &Path) -> Result<Self, KubeconfigError> {
        let mut merged = Self::default();
        merged.add(Self::parse(file)?, file)?;
        Ok(merged)
    }

    /// Reads and merges these files, without those that are missing.
    ///
    /// # Errors
    /// When all are missing, or one is no kubeconfig.
    pub fn merged(files: &[PathBuf]) -> Result<Self, KubeconfigError> {
        let mut merged = Self::default();
        let mut found = false;
        for file in files {
            match Self::parse(file) {
                Err(KubeconfigError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                parsed => {
                    merged.add(parsed?, file)?;
                    found = true;
                }
            }
        }
        if found { Ok(merged) } else { Err(KubeconfigError::NoFile { looked: files.to_vec() }) }
    }

    /// Returns the files that kubectl reads by default: those of [`KUBECONFIG_VARIABLE`], else `.kube/config` in the
    /// home folder.
    pub fn default_files(variable: Option<&OsStr>, home: Option<&Path>) -> Vec<PathBuf> {
        match variable.filter(|list| !list.is_empty()) {
            Some(list) => std::env::split_paths(list).filter(|file| !file.as_os_str().is_empty()).collect(),
            None => home.map(|home| home.join(".kube/config")).into_iter().collect(),
        }
    }

    /// Returns the chosen server and credentials.
    ///
    /// # Errors
    /// When there is no entry of a name, or an entry has a field that is not supported.
    pub fn choose(&self, choice: &KubeconfigChoice) -> Result<KubeconfigContext, KubeconfigError> {
        let context = match choice.context.as_ref().or(self.current.as_ref()) {
            Some(name) => find(&self.contexts, CONTEXT, name)?.clone(),
            None if choice.cluster.is_some() => Context::default(),
            None => return Err(KubeconfigError::NoContext { known: self.contexts.keys().cloned().collect() }),
        };
        let name = choice.cluster.as_ref().unwrap_or(&context.cluster);
        let cluster = find(&self.clusters, CLUSTER, name)?;
        let credentials = cluster.trust(name)?;
        let credentials = match choice.user.as_ref().unwrap_or(&context.user) {
            anonymous if anonymous.is_empty() => credentials,
            name => find(&self.users, USER, name)?.identify(name, credentials)?,
        };
        let server = Endpoint::given(&cluster.server);
        Ok(KubeconfigContext {
            server: server.map_err(|source| KubeconfigError::Server { cluster: name.clone(), source })?,
            server_name: written(&cluster.tls_server_name),
            credentials,
            namespace: written(&context.namespace),
        })
    }

    fn parse(file: &Path) -> Result<Document, KubeconfigError> {
        let failed = |source| KubeconfigError::Read { file: file.to_owned(), source };
        let mut text = Zeroizing::new(String::new());
        File::open(file).map_err(failed)?.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_FILE {
            return Err(KubeconfigError::TooLarge { file: file.to_owned(), limit: MAX_FILE });
        }
        Document::parse(&text, file)
    }

    /// Adds the entries whose names no earlier file has.
    fn add(&mut self, document: Document, file: &Path) -> Result<(), KubeconfigError> {
        let Document { current_context, clusters, users, contexts, .. } = document;
        self.current = self.current.take().or_else(|| written(&current_context));
        let clusters = clusters.into_iter().map(|named| (named.name, named.cluster));
        let users = users.into_iter().map(|named| (named.name, named.user));
        let contexts = contexts.into_iter().map(|named| (named.name, named.context));
        add_all(&mut self.clusters, clusters, CLUSTER, file)?;
        add_all(&mut self.users, users, USER, file)?;
        add_all(&mut self.contexts, contexts, CONTEXT, file)
    }
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig").field("contexts", &self.contexts.keys()).finish_non_exhaustive()
    }
}

fn add_all<T>(
    known: &mut BTreeMap<String, T>,
    entries: impl Iterator<Item = (String, T)>,
    what: &'static str,
    file: &Path,
) -> Result<(), KubeconfigError> {
    let mut of_file = BTreeMap::new();
    for (name, entry) in entries {
        if of_file.insert(name.clone(), entry).is_some() {
            return Err(KubeconfigError::Twice { file: file.to_owned(), what, name });
        }
    }
    for (name, entry) in of_file {
        known.entry(name).or_insert(entry);
    }
    Ok(())
}

fn find<'a, T>(entries: &'a BTreeMap<String, T>, what: &'static str, name: &str) -> Result<&'a T, KubeconfigError> {
    entries.get(name).ok_or_else(|| KubeconfigError::Unknown {
        what,
        name: name.to_owned(),
        known: entries.keys().cloned().collect(),
    })
}

/// Returns a text, unless it is empty.
fn written(text: &str) -> Option<String> {
    Some(text).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A part of an entry, inline or as the path of a file. Both together are an error, as in kubectl.
struct Part<'a> {
    what: &'static str,
    name: &'a str,
    field: &'static str,
    data: &'a str,
    file: &'a str,
}

impl Part<'_> {
    fn fault(&self, fault: &'static str) -> KubeconfigError {
        KubeconfigError::Field { what: self.what, name: self.name.to_owned(), field: self.field, fault }
    }

    fn material(&self) -> Result<Option<Material>, KubeconfigError> {
        match (self.data, self.file) {
            ("", "") => Ok(None),
            ("", file) => Ok(Some(Material::file(file))),
            (data, "") => {
                let packed: String = data.split_ascii_whitespace().collect();
                let decoded = STANDARD.decode(packed).map_err(|_| self.fault("is not base64"))?;
                Ok(Some(Material::given(decoded)))
            }
            _ => Err(self.fault("and the field of the same name for a file are both there: leave one out")),
        }
    }
}

impl Cluster {
    /// Returns the authorities of this server's certificate.
    fn trust(&self, name: &str) -> Result<Credentials, KubeconfigError> {
        let refused =
            |field, instead| KubeconfigError::Unsupported { what: CLUSTER, name: name.to_owned(), field, instead };
        if self.insecure_skip_tls_verify {
            let instead = "whoever answers would get the token; give its CA in `certificate-authority`, and the name in its \
                           certificate in `tls-server-name`";
            return Err(refused("insecure-skip-tls-verify", instead));
        }
        if !self.proxy_url.is_empty() {
            return Err(refused("proxy-url", "the API server has to be reached directly"));
        }
        let authority = Part {
            what: CLUSTER,
            name,
            field: "certificate-authority-data",
            data: &self.certificate_authority_data,
            file: &self.certificate_authority,
        };
        Ok(match authority.material()? {
            Some(pem) => Credentials::new().authorities(pem),
            None => Credentials::new().system_authorities(),
        })
    }
}

impl User {
    /// Adds the credentials of this user.
    fn identify(&self, name: &str, credentials: Credentials) -> Result<Credentials, KubeconfigError> {
        self.refuse(name)?;
        let part = |field, data, file| Part { what: USER, name, field, data, file };
        let certificate =
            part("client-certificate-data", self.client_certificate_data.as_str(), self.client_certificate.as_str());
        let key = part("client-key-data", self.client_key_data.as_str(), self.client_key.as_str());
        let credentials = match (certificate.material()?, key.material()?) {
            (None, None) => credentials,
            (Some(certificate), Some(key)) => credentials.client_certificate(certificate, key),
            (Some(_), None) => return Err(key.fault("is missing beside the client certificate, and `client-key` too")),
            (None, Some(_)) => {
                return Err(certificate.fault("is missing beside the key, and `client-certificate` too"));
            }
        };
        Ok(match (self.token_file.as_str(), self.token.as_str()) {
            ("", "") => credentials,
            ("", token) => credentials.bearer(Material::given(token)),
            (file, _) => credentials.bearer(Material::file(file)),
        })
    }

    fn refuse(&self, name: &str) -> Result<(), KubeconfigError> {
        let token = "use a token (`kubectl create token ACCOUNT`), a `tokenFile` or a client certificate";
        let nobody_else = "requests are made as who they are; give this user's own rights to an account";
        let refused = [
            ("exec", self.exec.0, token),
            ("auth-provider", self.auth_provider.0, token),
            ("username", !self.username.is_empty(), token),
            ("password", !self.password.is_empty(), token),
            ("as", !self.impersonate.is_empty(), nobody_else),
            ("as-uid", !self.as_uid.is_empty(), nobody_else),
            ("as-groups", !self.as_groups.is_empty(), nobody_else),
            ("as-user-extra", self.as_user_extra.0, nobody_else),
        ];
        match refused.into_iter().find(|(_, there, _)| *there) {
            Some((field, _, instead)) => {
                Err(KubeconfigError::Unsupported { what: USER, name: name.to_owned(), field, instead })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
