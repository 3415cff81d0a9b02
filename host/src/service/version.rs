//! One loaded version of an extension.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::definition::{Definition, DefinitionError};
use crate::extension::{Extension, Invocation, LoadError, Runtime, State};
use crate::podinfo::PodInfo;
use crate::policy::{ResolveError, Trigger};

/// The reason for which a supervisor cannot keep an extension.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The manifest or the grant cannot be read.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The component cannot be loaded.
    #[error("cannot load {}", component.display())]
    Load {
        /// The component's file.
        component: PathBuf,
        /// The error of the load.
        #[source]
        source: LoadError,
    },
    /// The grant names variables that are not set.
    #[error("the grant of {extension}")]
    Variables {
        /// The extension.
        extension: String,
        /// The error with the missing variables.
        #[source]
        source: ResolveError,
    },
    /// The schedule is not valid.
    #[error("spec.trigger.schedule: {0}")]
    Schedule(String),
    /// The listener cannot be opened.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address as written in the manifest.
        listen: String,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// Another extension already serves the same host and path on this address.
    #[error("{other} serves {path} on {listen} already")]
    Taken {
        /// The other extension.
        other: String,
        /// The path.
        path: String,
        /// The address.
        listen: String,
    },
    /// The address is already served with another certificate, or without one.
    #[error("{listen} is served with another certificate already, or without one")]
    OtherCertificate {
        /// The address.
        listen: String,
    },
    /// The certificate of the listener cannot be used.
    #[error("cannot use the certificate in {}: {why}", directory.display())]
    Certificate {
        /// The directory with `tls.crt` and `tls.key`.
        directory: PathBuf,
        /// The reason, as text for operators.
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

/// The extension of a version, by the interface that calls it.
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
    /// Loads a version: reads, screens, compiles and links the component, and checks its imports against the grant.
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

    /// Returns the invocation of one call, with the arguments and environment variables of the manifest.
    pub(super) fn invocation(&self, arguments: &[String]) -> Invocation {
        let manifest = &self.definition.manifest;
        let invocation = Invocation::new().args(arguments.iter().chain(&manifest.args));
        invocation.env(manifest.env.iter().cloned())
    }

    /// Returns the pod information that the grant opens.
    pub(super) fn pod_info(&self) -> PodInfo {
        match &self.called {
            Called::Command(extension) => extension.pod_info().clone(),
            Called::Http(extension) => extension.pod_info().clone(),
        }
    }

    /// Returns the extension if it is called through `wasi:cli/run`.
    pub(super) fn command(&self) -> Option<&Extension> {
        match &self.called {
            Called::Command(extension) => Some(extension),
            Called::Http(_) => None,
        }
    }
}

/// The channel with the newest version, which reports each change.
pub(super) type Newest = tokio::sync::watch::Receiver<Arc<Version>>;
