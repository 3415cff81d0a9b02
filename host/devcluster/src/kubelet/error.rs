//! The errors of the kubelet's part.

use std::io;
use std::path::{Path, PathBuf};

use attache_base::volume::VolumeError;

use super::client::ClientError;
use super::pod::ContentError;

/// An error while a pod is set up or ended.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The namespace or the name is invalid.
    #[error("{0:?} is not a name")]
    Name(String),
    /// There is no such pod.
    #[error("pod {namespace}/{name} not found")]
    NoPod {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// The pod has ended already.
    #[error("pod {name} has ended: its phase is {phase}")]
    Ended {
        /// The name.
        name: String,
        /// `Succeeded` or `Failed`.
        phase: String,
    },
    /// The API server refused a request, or could not be reached.
    #[error("cannot {step}")]
    Api {
        /// The step that failed.
        step: &'static str,
        /// The error of the client.
        #[source]
        source: ClientError,
    },
    /// The content of a volume is missing.
    #[error("volume {volume:?} cannot be set up")]
    Volume {
        /// The volume.
        volume: String,
        /// The missing content.
        #[source]
        source: ContentError,
    },
    /// A volume could not be written.
    #[error("volume {volume:?} cannot be written")]
    Write {
        /// The volume.
        volume: String,
        /// The error of the volume.
        #[source]
        source: VolumeError,
    },
    /// A mount names a volume that the pod does not have.
    #[error("the pod has no volume {0:?}")]
    NoVolume(String),
    /// The value of a container's variable is missing.
    #[error("the env of container {container:?} cannot be made")]
    Env {
        /// The container.
        container: String,
        /// The missing content.
        #[source]
        source: ContentError,
    },
    /// A directory or a file of the pod could not be made or removed.
    #[error("cannot {step} {}", path.display())]
    Files {
        /// The step that failed.
        step: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl KubeletError {
    pub(super) fn api(step: &'static str) -> impl FnOnce(ClientError) -> Self {
        move |source| Self::Api { step, source }
    }

    pub(super) fn files(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Files { step, path, source }
    }
}

/// Returns an error and its causes in one line, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
