//! TLS of a listener, whose configuration can be replaced while the listener runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

/// The name of HTTP/2 in ALPN.
pub(super) const HTTP2: &[u8] = b"h2";

/// The name of HTTP/1.1 in ALPN.
const HTTP1: &[u8] = b"http/1.1";

/// Returns the configuration that new connections use.
type Current = Box<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// The source of a listener's TLS configuration.
pub(super) struct Tls {
    current: Current,
    /// The last configuration of the caller, and the listener's own copy with the protocols that it speaks.
    adapted: Mutex<Option<(Arc<ServerConfig>, Arc<ServerConfig>)>>,
}

impl Tls {
    pub(super) fn new(current: impl Fn() -> Arc<ServerConfig> + Send + Sync + 'static) -> Self {
        Self { current: Box::new(current), adapted: Mutex::new(None) }
    }

    /// Returns the caller's current configuration, with the protocols of the listener in ALPN.
    pub(super) fn config(&self, http2: bool) -> Arc<ServerConfig> {
        let given = (self.current)();
        let mut adapted = self.adapted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, own)) = &*adapted
            && Arc::ptr_eq(of, &given)
        {
            return Arc::clone(own);
        }
        let mut own = ServerConfig::clone(&given);
        own.alpn_protocols = if http2 { vec![HTTP2.to_vec(), HTTP1.to_vec()] } else { vec![HTTP1.to_vec()] };
        let own = Arc::new(own);
        *adapted = Some((given, Arc::clone(&own)));
        own
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
