//! One loaded version of an extension.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::definition::{Definition, DefinitionError};
use crate::extension::{Extension, Invocation, LoadError, Runtime, State};
use crate::podinfo::PodInfo;
use crate::policy::{ResolveError, Trigger};

/// Why an extension cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Its files cannot be read.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// Its component does not load.
    #[error("cannot load {}", component.display())]
    Load {
        /// The component's file.
        component: PathBuf,
        /// What does not fit.
        #[source]
        source: LoadError,
    },
    /// Its grant names variables that nobody sets.
    #[error("the grant of {extension}")]
    Variables {
        /// The extension.
        extension: String,
        /// What is missing.
        #[source]
        source: ResolveError,
    },
    /// Its schedule means nothing.
    #[error("spec.trigger.schedule: {0}")]
    Schedule(String),
    /// Its address cannot be listened on.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address, as the manifest has it.
        listen: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another extension serves the same host and path.
    #[error("{other} serves {path} on {listen} already")]
    Taken {
        /// The extension that does.
        other: String,
        /// The path.
        path: String,
        /// The address.
        listen: String,
    },
    /// Another extension serves on the same address with another certificate, or with none.
    #[error("{listen} is served with another certificate already, or without one")]
    OtherCertificate {
        /// The address.
        listen: String,
    },
    /// The certificate cannot be used.
    #[error("cannot use the certificate in {}: {why}", directory.display())]
    Certificate {
        /// The directory with `tls.crt` and `tls.key`.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Two manifests have the same name.
    #[error("metadata.name: {} has an extension {name} already", other.display())]
    Twice {
        /// The name.
        name: String,
        /// The other manifest.
        other: PathBuf,
    },
    /// The supervisor is stopping.
    #[error("the host is stopping")]
    Stopping,
}

/// What a version is called by.
pub(super) enum Called {
    /// `wasi:cli/run`.
    Command(Extension),
    /// `wasi:http/incoming-handler`.
    Http(Extension<ProxyPre<State>>),
}

/// One loaded version of an extension.
pub(super) struct Version {
    pub(super) definition: Definition,
    pub(super) called: Called,
    pub(super) component_sha256: String,
    pub(super) grant_sha256: String,
}

impl Version {
    /// Reads, screens, compiles, links and judges.
    pub(super) async fn load(
        runtime: &Runtime,
        definition: Definition,
        variable: &(dyn Fn(&str) -> Option<String> + Send + Sync),
    ) -> Result<Self, ServiceError> {
        let grant = definition.grant.clone().resolve(variable).map_err(|source| {
            let extension = definition.manifest.name.clone();
            ServiceError::Variables { extension, source }
        })?;
        let grant_sha256 = hex::encode(Sha256::digest(grant.to_yaml()));
        let component = definition.component();
        let failed = |source| ServiceError::Load { component: component.clone(), source };
        let called = match &definition.manifest.trigger {
            Trigger::Http(_) => Called::Http(runtime.load_file(&component, grant).await.map_err(failed)?),
            _ => Called::Command(runtime.load_command_file(&component, grant).await.map_err(failed)?),
        };
        let component_sha256 = match &called {
            Called::Command(extension) => hex::encode(extension.sha256()),
            Called::Http(extension) => hex::encode(extension.sha256()),
        };
        Ok(Self { definition, called, component_sha256, grant_sha256 })
    }

    /// What each call is given: arguments, variables and the streams of a service.
    pub(super) fn invocation(&self, arguments: &[String]) -> Invocation {
        let manifest = &self.definition.manifest;
        let invocation = Invocation::new().args(arguments.iter().chain(&manifest.args));
        invocation.env(manifest.env.iter().cloned())
    }

    /// Returns what the grant opens of the pod.
    pub(super) fn pod_info(&self) -> PodInfo {
        match &self.called {
            Called::Command(extension) => extension.pod_info().clone(),
            Called::Http(extension) => extension.pod_info().clone(),
        }
    }

    /// Returns the extension that `wasi:cli/run` is called of, if it is.
    pub(super) fn command(&self) -> Option<&Extension> {
        match &self.called {
            Called::Command(extension) => Some(extension),
            Called::Http(_) => None,
        }
    }
}

/// The newest version, and what is told when it changes.
pub(super) type Newest = tokio::sync::watch::Receiver<Arc<Version>>;
