//! Counters and their exposition (Prometheus text by way of OpenMetrics). Labels come from small
//! closed sets, never from names of instances.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info};
use prometheus_client::registry::Registry;

use crate::broker::Refusal;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    end: &'static str,
}

/// All counters of the daemon.
#[derive(Debug, Default)]
pub struct Metrics {
    sessions: Gauge,
    begun: Counter,
    ends: Family<EndLabel, Counter>,
    bytes: Family<Direction, Counter>,
    refusals: Family<Code, Counter>,
    brokers_opened: Counter,
    brokers_closed: Counter,
    store_errors: Counter,
    lost_records: Counter,
    filter_errors: Counter,
}

impl Metrics {
    /// Every label that exists is there from the start, so that a rate over it is never missing.
    pub fn new(end_names: &[&'static str]) -> Arc<Self> {
        let metrics = Self::default();
        for end in end_names {
            drop(metrics.ends.get_or_create(&EndLabel { end }));
        }
        for refusal in Refusal::ALL {
            drop(metrics.refusals.get_or_create(&Code { code: refusal.answer().1 }));
        }
        metrics.moved((0, 0));
        Arc::new(metrics)
    }

    /// A session began.
    pub fn began(&self) {
        self.sessions.inc();
        self.begun.inc();
    }

    /// A session is over, however it ended.
    pub fn left(&self) {
        self.sessions.dec();
    }

    /// How a session ended.
    pub fn ended(&self, end: &'static str) {
        self.ends.get_or_create(&EndLabel { end }).inc();
    }

    /// Payload bytes that moved, up and down.
    pub fn moved(&self, (up, down): (u64, u64)) {
        self.bytes.get_or_create(&Direction { direction: "up" }).inc_by(up);
        self.bytes.get_or_create(&Direction { direction: "down" }).inc_by(down);
    }

    /// A client was not let in.
    pub fn refused(&self, refusal: Refusal) {
        self.refusals.get_or_create(&Code { code: refusal.answer().1 }).inc();
    }

    /// A broker was opened.
    pub fn broker_opened(&self) {
        self.brokers_opened.inc();
    }

    /// A broker was closed.
    pub fn broker_closed(&self) {
        self.brokers_closed.inc();
    }

    /// Something could not be read from, or written to, the store.
    pub fn store_failed(&self) {
        self.store_errors.inc();
    }

    /// Something that happened could not be recorded, and goes on all the same.
    pub fn record_lost(&self) {
        self.lost_records.inc();
    }

    /// The filter could not be changed or read.
    pub fn filter_failed(&self) {
        self.filter_errors.inc();
    }

    /// The registry that a scrape encodes. `collectors` bring what is read at scrape time; `about` are
    /// the label values of `portcullis_backend_info`.
    pub fn registry(
        &self,
        about: [(&'static str, String); 3],
        collectors: Vec<Box<dyn Collector>>,
    ) -> Registry {
        let mut registry = Registry::with_prefix("portcullis");
        registry.register("sessions_active", "Connections of sessions that run", self.sessions.clone());
        registry.register("sessions", "Connections of sessions that began", self.begun.clone());
        registry.register("session_ends", "Connections of sessions that ended, by how", self.ends.clone());
        registry.register("relay_bytes", "Payload bytes, by direction", self.bytes.clone());
        registry.register(
            "handshake_refusals",
            "Connections that were not let in, by code",
            self.refusals.clone(),
        );
        registry.register("brokers_opened", "Brokers that were opened", self.brokers_opened.clone());
        registry.register("brokers_closed", "Brokers that were closed", self.brokers_closed.clone());
        registry.register(
            "store_errors",
            "Reads and writes of the store that failed",
            self.store_errors.clone(),
        );
        registry.register(
            "lost_records",
            "Ends of sessions and lines of the audit log that were not recorded",
            self.lost_records.clone(),
        );
        registry.register(
            "filter_errors",
            "Changes and reads of the filter that failed",
            self.filter_errors.clone(),
        );
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "This build", Info::new(version));
        registry.register("backend", "What filters and steers", Info::new(about.to_vec()));
        for collector in collectors {
            registry.register_collector(collector);
        }
        registry
    }
}

/// Content type of [`encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of a scrape.
///
/// # Errors
/// A collector failed to write.
pub fn encode(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    text::encode(&mut page, registry)?;
    Ok(page)
}
