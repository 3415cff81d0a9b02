//! The switches of [`DevCluster::faults`].

use std::sync::{Arc, PoisonError, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::access::pki::{Pki, PkiError};
use crate::cluster::{DevCluster, DevClusterError, Waiting as _};
use crate::server::faults::Fault;
use crate::server::http::{self, Phase};

/// Faults on demand, by [`DevCluster::faults`].
///
/// ```
/// use std::time::Duration;
///
/// use attache_devcluster::{DevCluster, DevClusterSettings, Fault};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = DevCluster::start(DevClusterSettings::default())?;
/// cluster.faults().next(Fault::Unavailable(Some(1)), "/api/v1/pods", 2);
/// cluster.faults().restart(Duration::ZERO)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct FaultSwitches<'a> {
    cluster: &'a DevCluster,
}

impl<'a> FaultSwitches<'a> {
    pub(crate) fn of(cluster: &'a DevCluster) -> Self {
        Self { cluster }
    }
}

impl FaultSwitches<'_> {
    /// Injects `fault` into the next `times` requests whose path begins with `path` (`/` is all).
    pub fn next(&self, fault: Fault, path: &str, times: u32) {
        if times > 0 {
            self.cluster.api.faults.plan(fault, path, Some(times));
        }
    }

    /// Injects `fault` into all requests whose path begins with `path`, until [`clear`](Self::clear).
    pub fn always(&self, fault: Fault, path: &str) {
        self.cluster.api.faults.plan(fault, path, None);
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.cluster.api.faults.clear();
    }

    /// Breaks all open connections, with their watches.
    pub fn reset_connections(&self) {
        self.cluster.api.faults.reset_connections();
    }

    /// Drops the history: watches and continued lists from before are `410 Expired`.
    pub fn expire_history(&self) {
        self.cluster.api.store.tick();
        self.cluster.api.store.compact();
    }

    /// Revokes all service accounts' tokens that were issued up to now. The admin's token stays valid.
    ///
    /// # Errors
    /// Fails when no new key can be made.
    pub fn rotate_tokens(&self) -> Result<(), DevClusterError> {
        Ok(self.cluster.api.authentication.rotate().map_err(PkiError::from)?)
    }

    /// Makes the next CA and publishes it beside the current one. [`DevCluster::ca_pem`] and every namespace's
    /// `kube-root-ca.crt` show both, the current one first. [`rotate_ca`](Self::rotate_ca) then takes it. So an
    /// operator changes a CA with a period of grace, in which clients learn to trust both.
    ///
    /// # Errors
    /// Fails when no new certificate can be made.
    pub fn announce_ca(&self) -> Result<(), DevClusterError> {
        let next = Pki::new(self.cluster.address.ip())?;
        self.pki().announce(next);
        self.publish();
        Ok(())
    }

    /// Takes the [announced](Self::announce_ca) CA, or else makes a new one. New connections get a certificate of this
    /// CA, and it alone is published from now on. Open connections stay. Client certificates of the old CA are no
    /// longer accepted.
    ///
    /// # Errors
    /// Fails when no new certificate can be made.
    pub fn rotate_ca(&self) -> Result<(), DevClusterError> {
        let announced = self.pki().announced();
        let next = match announced {
            Some(next) => next,
            None => Pki::new(self.cluster.address.ip())?,
        };
        *self.pki() = next;
        self.publish();
        Ok(())
    }

    fn pki(&self) -> RwLockWriteGuard<'_, Pki> {
        self.cluster.api.pki.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(self) {
        self.cluster.api.publish_ca(&self.cluster.ca_pem());
    }

    /// Stops the server for `away`, which breaks all connections. Then starts it again on the same port with the same
    /// objects, keys and certificates. Returns when it serves again.
    ///
    /// # Errors
    /// Fails when the port has been taken meanwhile.
    pub fn restart(&self, away: Duration) -> Result<(), DevClusterError> {
        let cluster = self.cluster;
        let mut running = cluster.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = running.as_mut() else { return Ok(()) };
        running.phase.send_replace(Phase::Broken);
        // The old listener has to be gone before the port can be taken again.
        let served = std::mem::replace(&mut running.served, running.runtime.spawn(std::future::ready(())));
        running.runtime.wait(async move { _ = served.await });
        std::thread::sleep(away);
        let listener = running
            .runtime
            .block_on_listen(cluster.address)
            .map_err(|source| DevClusterError::Listen { address: cluster.address, source })?;
        let (phase, followed) = watch::channel(Phase::Serving);
        *cluster.api.phase.write().unwrap_or_else(PoisonError::into_inner) = followed;
        running.phase = phase.clone();
        running.served = running.runtime.spawn(http::serve(Arc::clone(&cluster.api), listener, phase));
        Ok(())
    }
}
