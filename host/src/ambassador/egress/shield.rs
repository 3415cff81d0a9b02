//! The addresses that are read before each connection, for the check of addresses: this pod's own, and the API
//! server's.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::address::{Known, plain};
use super::connect::Resolve;
use crate::cluster::ApiClient;
use crate::policy::Destination;

/// The time for which the addresses of the API server's names are kept, so that few requests look them up.
const KEPT: Duration = Duration::from_secs(30);

/// The number of names whose addresses are kept: a server has a handful.
const MAX_KEPT: usize = 16;

/// The names and addresses to which no granted name may lead.
#[derive(Clone, Debug, Default)]
pub(super) struct Shield {
    /// The API server's names and addresses.
    pub(super) names: Vec<Destination>,
    /// The addresses in the pod's status.
    pub(super) pod: Vec<IpAddr>,
    /// The client of the API server, which knows the address of its connection.
    pub(super) cluster: Option<ApiClient>,
}

/// The look-ups of one extension, a few at a time.
pub(super) struct LookUps<'a> {
    pub(super) resolver: &'a Arc<dyn Resolve>,
    pub(super) places: &'a Arc<Semaphore>,
}

impl LookUps<'_> {
    /// Looks up a name in one of the extension's slots. The slot is free again when the resolver is done, so a caller
    /// that gives up cannot begin the next look-up.
    pub(super) async fn find(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (resolver, name) = (Arc::clone(self.resolver), name.to_owned());
        let looking_up = tokio::spawn(async move {
            let found = resolver.resolve(&name).await;
            drop(place);
            found
        });
        looking_up.await.map_err(io::Error::other)?
    }
}

/// The last addresses of the API server's names.
#[derive(Default)]
pub(super) struct Lately(Mutex<BTreeMap<String, (Instant, Vec<IpAddr>)>>);

impl Lately {
    /// Returns all addresses to which no name may lead.
    pub(super) async fn known(&self, shield: &Shield, look_ups: &LookUps<'_>) -> Known {
        let mut known = Known { own: own(&shield.pod), ..Known::default() };
        known.server.extend(shield.cluster.iter().flat_map(ApiClient::peers).map(plain));
        for server in &shield.names {
            match (server.name(), server.address()) {
                (Some(name), _) => known.server.extend(self.addresses(name, look_ups).await.into_iter().map(plain)),
                (None, Some(address)) => known.configured.push(SocketAddr::new(plain(address), server.port())),
                (None, None) => {}
            }
        }
        known
    }

    /// Returns the addresses of one of the API server's names. While the look-up fails, the last addresses count, so
    /// that a resolver that is down opens nothing. A name that never had any leads nowhere.
    async fn addresses(&self, name: &str, look_ups: &LookUps<'_>) -> Vec<IpAddr> {
        let before = self.kept().get(name).cloned();
        if let Some((_, found)) = before.as_ref().filter(|(since, _)| since.elapsed() < KEPT) {
            return found.clone();
        }
        let Ok(found) = look_ups.find(name).await else {
            return before.map(|(_, found)| found).unwrap_or_default();
        };
        let mut kept = self.kept();
        if kept.len() < MAX_KEPT || kept.contains_key(name) {
            kept.insert(name.to_owned(), (Instant::now(), found.clone()));
        }
        found
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Vec<IpAddr>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the addresses of this pod: those of its status, and those of its interfaces now. A pod gets more while it
/// lives.
fn own(status: &[IpAddr]) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!(%error, "the addresses of this machine's interfaces are not known");
        Vec::new()
    });
    status.iter().copied().chain(interfaces.iter().map(if_addrs::Interface::ip)).map(plain).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_addresses_of_this_machine_are_found() {
        let status = ["10.1.2.3".parse().unwrap(), "::ffff:10.1.2.4".parse().unwrap()];
        let found = own(&status);
        for address in ["127.0.0.1", "10.1.2.3", "10.1.2.4"] {
            assert!(found.contains(&address.parse().unwrap()), "{address}: {found:?}");
        }
    }
}
