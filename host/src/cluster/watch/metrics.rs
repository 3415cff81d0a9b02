//! Figures of shared watches, for a scraper.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::hub::Hub;
use crate::cluster::ApiClient;

impl ApiClient {
    /// Registers gauges of [`watch_figures`](ApiClient::watch_figures): `attache_watches` (upstream),
    /// `attache_followers` and `attache_watched_bytes`. They are gone with the last clone of this client.
    pub fn register_metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Figures(Arc::downgrade(self.hub()))));
    }
}

#[derive(Debug)]
struct Figures(Weak<Hub>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(hub) = self.0.upgrade() else { return Ok(()) };
        let figures = hub.figures();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let gauges = [
            (
                "attache_watches",
                "Collections that are watched, each by one watch of the server",
                None,
                number(figures.upstreams),
            ),
            ("attache_followers", "Who follows them", None, number(figures.followers)),
            (
                "attache_watched",
                "Bytes held of them",
                Some(&Unit::Bytes),
                i64::try_from(figures.bytes).unwrap_or(i64::MAX),
            ),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
