//! Guests with destinations outside the cluster, and a resolver that a test writes.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use attache::ambassador::egress::{EgressClient, EgressSettings, Resolve};
use attache::extension::Extension;
use serde_json::Value;

use crate::guest::{API, called, host, load};
use crate::world::World;

/// Names with the addresses that they lead to, one list after the other with each look-up.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) list: BTreeMap<&'static str, Vec<Vec<&'static str>>>,
    pub(crate) asked: Mutex<Vec<String>>,
    turn: AtomicUsize,
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let lists = self.list.get(name).cloned().unwrap_or_default();
        let addresses = lists.get(turn.min(lists.len().saturating_sub(1))).cloned().unwrap_or_default();
        Box::pin(async move { Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()) })
    }
}

pub(crate) struct Outside {
    pub(crate) world: World,
    pub(crate) names: Arc<Names>,
    pub(crate) roots: Vec<u8>,
}

impl Outside {
    pub(crate) fn new() -> Self {
        Self { world: World::new(), names: Arc::default(), roots: Vec::new() }
    }

    pub(crate) fn named(list: impl IntoIterator<Item = (&'static str, Vec<Vec<&'static str>>)>) -> Self {
        let names = Names { list: list.into_iter().collect(), ..Names::default() };
        Self { names: Arc::new(names), ..Self::new() }
    }

    /// Returns the guest `http-calls`, with these destinations granted.
    pub(crate) async fn load(&self, egress: &[&str]) -> Extension {
        let settings = EgressSettings { resolver: self.names.clone(), extra_roots: self.roots.clone() };
        let host = host(&self.world).egress(EgressClient::new(settings));
        load(host, "http-calls", &format!("{API}, egress: {egress:?}")).await.unwrap()
    }

    pub(crate) fn last(&self) -> Value {
        self.world.records.last()
    }
}

pub(crate) fn authority(url: &str) -> (&str, &str) {
    url.split_once("://").unwrap()
}

pub(crate) async fn get(extension: &Extension, url: &str, flags: &[&str]) -> Value {
    let (scheme, authority) = authority(url);
    let words = [&["GET", scheme, authority, "/hook?secret=1"][..], flags].concat();
    called(extension, &words).await
}
