//! The certificate of a listener, reloaded when the volume of its Secret changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::version::ServiceError;

/// The interval after which the certificate's files are read again. The kubelet itself needs up to a minute for a
/// change.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A certificate and its key in a directory.
#[derive(Clone)]
pub(super) struct Certificate {
    directory: Arc<PathBuf>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// The contents of `tls.crt` and `tls.key` that the configuration was made from.
    files: (Vec<u8>, Vec<u8>),
    looked: Instant,
}

impl Certificate {
    /// Reads the files `tls.crt` and `tls.key` of a directory.
    pub(super) fn read(directory: &Path) -> Result<Self, ServiceError> {
        let failed = |why: String| ServiceError::Certificate { directory: directory.to_owned(), why };
        let files = files(directory).map_err(failed)?;
        let config = config(&files).map_err(failed)?;
        let current = Current { config, files, looked: Instant::now() };
        Ok(Self { directory: Arc::new(directory.to_owned()), current: Arc::new(Mutex::new(current)) })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the configuration for a new connection. If the certificate cannot be read now, the last configuration is
    /// used.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            match files(&self.directory) {
                Ok(found) if found != current.files => match config(&found) {
                    Ok(config) => (current.config, current.files) = (config, found),
                    Err(why) => self.warn(&why),
                },
                Ok(_) => {}
                Err(why) => self.warn(&why),
            }
        }
        Arc::clone(&current.config)
    }

    fn warn(&self, why: &str) {
        let directory = self.directory.display();
        tracing::warn!(%directory, why, "a certificate cannot be renewed: connections get the last one");
    }
}

fn files(directory: &Path) -> Result<(Vec<u8>, Vec<u8>), String> {
    let read = |name: &str| std::fs::read(directory.join(name)).map_err(|error| format!("{name}: {error}"));
    Ok((read("tls.crt")?, read("tls.key")?))
}

fn config((certificate, key): &(Vec<u8>, Vec<u8>)) -> Result<Arc<ServerConfig>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| format!("tls.crt: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "tls.key has no private key in PEM".to_owned())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
