//! What is looked at before each connection outward, for the check of addresses: this pod's own, and the API server's.

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

/// How long the addresses of the API server's names are kept, so that not every request outward looks them up.
const KEPT: Duration = Duration::from_secs(30);

/// The number of names whose addresses are kept: a server has a handful.
const MAX_KEPT: usize = 16;

/// What no granted name may lead to, as far as it is known beforehand.
#[derive(Clone, Debug, Default)]
pub(super) struct Shield {
    /// The API server's names and addresses.
    pub(super) names: Vec<Destination>,
    /// The pod's addresses, as its status has them.
    pub(super) pod: Vec<IpAddr>,
    /// The client of the API server, which knows where it is connected.
    pub(super) cluster: Option<ApiClient>,
}

/// Looks names up, each extension a few at a time.
pub(super) struct LookUps<'a> {
    pub(super) resolver: &'a Arc<dyn Resolve>,
    pub(super) places: &'a Arc<Semaphore>,
}

impl LookUps<'_> {
    /// Looks a name up in one of the extension's places, which it holds until the resolver is done: a caller that stops
    /// waiting does not get to begin the next.
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

/// The addresses that the API server's names had lately.
#[derive(Default)]
pub(super) struct Lately(Mutex<BTreeMap<String, (Instant, Vec<IpAddr>)>>);

impl Lately {
    /// Looks at all that no name may lead to.
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

    /// The addresses of one of the API server's names. While it cannot be looked up, those that it had count: a name
    /// that leads there must not be let through because a resolver is down. One that never had any leads nowhere.
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

/// The addresses of this pod: those of its status, and those of its interfaces now. A pod gets more while it lives.
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
