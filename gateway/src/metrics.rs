//! Counters and their exposition. Labels come from small closed sets, never from names of instances, and
//! every label that exists is there from the start, so that a rate over it is never missing.

mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::broker::target::tls::Trust;
use crate::broker::{BrokerState, Protocol, Refusal};

pub use text::{CONTENT_TYPE, encode};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

const UP: Direction = Direction { direction: "up" };
const DOWN: Direction = Direction { direction: "down" };

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Speaks {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpeaksAndEnd {
    protocol: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrustLabel {
    trust: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

const LOADED: OutcomeLabel = OutcomeLabel { outcome: "loaded" };
const FAILED: OutcomeLabel = OutcomeLabel { outcome: "failed" };

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CoreLabel {
    core: u64,
}

/// Upper bounds of the histogram's buckets: a map update and a commit take milliseconds, a disk that is
/// busy takes seconds.
const OPEN_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// All counters of the daemon.
#[derive(Debug)]
pub struct Metrics {
    sessions: Family<Speaks, Counter>,
    session_ends: Family<SpeaksAndEnd, Counter>,
    core_connections: Family<CoreLabel, Gauge>,
    connections: Gauge,
    connections_begun: Counter,
    connection_ends: Family<EndLabel, Counter>,
    bytes: Family<Direction, Counter>,
    throttled: Family<Direction, Counter<f64, AtomicU64>>,
    refusals: Family<Code, Counter>,
    target_tls: Family<TrustLabel, Counter>,
    certificate_reloads: Family<OutcomeLabel, Counter>,
    brokers: Family<State, Gauge>,
    brokers_opened: Counter,
    brokers_closed: Counter,
    open_seconds: Histogram,
    store_errors: Counter,
    lost_records: Counter,
    filter_errors: Counter,
    memory_left: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Nothing is counted yet. `end_names` are all ends that connections can have.
    pub fn new(end_names: &[&'static str]) -> Arc<Self> {
        let metrics = Self {
            sessions: Family::default(),
            session_ends: Family::default(),
            core_connections: Family::default(),
            connections: Gauge::default(),
            connections_begun: Counter::default(),
            connection_ends: Family::default(),
            bytes: Family::default(),
            throttled: Family::default(),
            refusals: Family::default(),
            target_tls: Family::default(),
            certificate_reloads: Family::default(),
            brokers: Family::default(),
            brokers_opened: Counter::default(),
            brokers_closed: Counter::default(),
            open_seconds: Histogram::new(OPEN_SECONDS),
            store_errors: Counter::default(),
            lost_records: Counter::default(),
            filter_errors: Counter::default(),
            memory_left: Gauge::default(),
        };
        for (_, protocol) in Protocol::ALL {
            drop(metrics.sessions.get_or_create(&Speaks { protocol }));
            for end in end_names {
                drop(metrics.session_ends.get_or_create(&SpeaksAndEnd { protocol, end }));
            }
        }
        for end in end_names {
            drop(metrics.connection_ends.get_or_create(&EndLabel { end }));
        }
        for refusal in Refusal::ALL {
            drop(metrics.refusals.get_or_create(&Code { code: refusal.answer().1 }));
        }
        for trust in Trust::NAMES {
            drop(metrics.target_tls.get_or_create(&TrustLabel { trust }));
        }
        for outcome in [LOADED, FAILED] {
            drop(metrics.certificate_reloads.get_or_create(&outcome));
        }
        for (_, state) in BrokerState::ALL {
            drop(metrics.brokers.get_or_create(&State { state }));
        }
        for direction in [UP, DOWN] {
            drop(metrics.bytes.get_or_create(&direction));
            drop(metrics.throttled.get_or_create(&direction));
        }
        Arc::new(metrics)
    }

    /// A session began.
    pub fn session_began(&self, protocol: Protocol) {
        self.sessions.get_or_create(&Speaks { protocol: protocol.name() }).inc();
    }

    /// A session is over: nobody comes back to it. `end` is how its last connection ended.
    pub fn session_ended(&self, protocol: Protocol, end: &'static str) {
        self.session_ends.get_or_create(&SpeaksAndEnd { protocol: protocol.name(), end }).inc();
    }

    /// The open connections of a relay core.
    pub fn core(&self, core: usize) -> Gauge {
        self.core_connections.get_or_create_owned(&CoreLabel { core: core as u64 })
    }

    /// So many bytes of memory are left.
    pub fn memory_left(&self, bytes: u64) {
        self.memory_left.set(bytes);
    }

    /// A connection came in.
    pub fn began(&self) {
        self.connections.inc();
        self.connections_begun.inc();
    }

    /// A connection is over, however it ended.
    pub fn left(&self) {
        self.connections.dec();
    }

    /// How a connection ended.
    pub fn ended(&self, end: &'static str) {
        self.connection_ends.get_or_create(&EndLabel { end }).inc();
    }

    /// Payload bytes that moved, up and down.
    pub fn moved(&self, (up, down): (u64, u64)) {
        for (direction, moved) in [(&UP, up), (&DOWN, down)] {
            if moved > 0 {
                self.bytes.get_or_create(direction).inc_by(moved);
            }
        }
    }

    /// Time that connections were held to their session's rate, up and down.
    pub fn throttled(&self, (up, down): (Duration, Duration)) {
        for (direction, held) in [(&UP, up), (&DOWN, down)] {
            if !held.is_zero() {
                self.throttled.get_or_create(direction).inc_by(held.as_secs_f64());
            }
        }
    }

    /// A client was not let in.
    pub fn refused(&self, refusal: Refusal) {
        self.refusals.get_or_create(&Code { code: refusal.answer().1 }).inc();
    }

    /// TLS with a target began; `trust` is why its certificate was believed.
    pub fn target_tls(&self, trust: &'static str) {
        self.target_tls.get_or_create(&TrustLabel { trust }).inc();
    }

    /// Files of certificates changed, and what is in them is used from now on, or is no good.
    pub fn certificates_changed(&self, good: bool) {
        self.certificate_reloads.get_or_create(if good { &LOADED } else { &FAILED }).inc();
    }

    /// A broker is in `state`, until the value is dropped.
    pub fn broker_in(&self, state: BrokerState) -> Stage {
        let stage = Stage(self.brokers.get_or_create_owned(&State { state: state.name() }));
        stage.0.inc();
        stage
    }

    /// A broker was opened.
    pub fn broker_opened(&self) {
        self.brokers_opened.inc();
    }

    /// A wish for a broker was granted, after so long.
    pub fn wish_granted(&self, after: Duration) {
        self.open_seconds.observe(after.as_secs_f64());
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

    /// Payload bytes so far, up and down.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes.get_or_create(&UP).get(), self.bytes.get_or_create(&DOWN).get())
    }

    /// Sessions that began so far.
    pub fn sessions_begun(&self) -> u64 {
        let of = |(_, protocol)| self.sessions.get_or_create(&Speaks { protocol }).get();
        Protocol::ALL.into_iter().map(of).sum()
    }

    /// Brokers that are in `state` now.
    pub fn brokers_in(&self, state: BrokerState) -> u64 {
        u64::try_from(self.brokers.get_or_create(&State { state: state.name() }).get()).unwrap_or(0)
    }

    /// Brokers that were opened so far.
    pub fn opened(&self) -> u64 {
        self.brokers_opened.get()
    }

    /// Clients that were not let in so far, by code, without those that never happened.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let count = |refusal: Refusal| {
            let code = refusal.answer().1;
            (code, self.refusals.get_or_create(&Code { code }).get())
        };
        Refusal::ALL.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
    }

    /// What failed so far: of the filter, of the store, and records that were lost.
    pub fn failures(&self) -> (u64, u64, u64) {
        (self.filter_errors.get(), self.store_errors.get(), self.lost_records.get())
    }

    /// The registry that a scrape encodes. `collectors` bring what is read at scrape time; `about` are
    /// the label values of `portcullis_backend_info`.
    pub fn registry(
        &self,
        about: [(&'static str, String); 3],
        collectors: Vec<Box<dyn Collector>>,
    ) -> Registry {
        let mut registry = Registry::with_prefix("portcullis");
        self.register_traffic(&mut registry);
        self.register_brokers(&mut registry);
        self.register_failures(&mut registry);
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "This build", Info::new(version));
        registry.register("backend", "What filters and steers", Info::new(about.to_vec()));
        for collector in collectors {
            registry.register_collector(collector);
        }
        registry
    }

    fn register_traffic(&self, registry: &mut Registry) {
        registry.register("sessions", "Sessions that began, by protocol", self.sessions.clone());
        let help = "Sessions that are over, by protocol and by how their last connection ended";
        registry.register("session_ends", help, self.session_ends.clone());
        let help = "Open connections to broker ports, let in or not yet, by relay core";
        registry.register("core_connections", help, self.core_connections.clone());
        registry.register("connections_active", "Connections of sessions that run", self.connections.clone());
        let help = "Connections of sessions that began";
        registry.register("connections", help, self.connections_begun.clone());
        let help = "Connections of sessions that ended, by how";
        registry.register("connection_ends", help, self.connection_ends.clone());
        registry.register("relay_bytes", "Payload bytes, by direction", self.bytes.clone());
        let help = "Time that connections were held to the rate of their session, by direction";
        registry.register_with_unit("throttled", help, Unit::Seconds, self.throttled.clone());
        let help = "Connections that were not let in, by code";
        registry.register("handshake_refusals", help, self.refusals.clone());
        let help = "Connections to targets by TLS, by why their certificates were believed";
        registry.register("target_tls", help, self.target_tls.clone());
        let help = "Changes of files with certificates, by what became of them";
        registry.register("certificate_reloads", help, self.certificate_reloads.clone());
    }

    fn register_brokers(&self, registry: &mut Registry) {
        registry.register("brokers", "Brokers, by state", self.brokers.clone());
        registry.register("brokers_opened", "Brokers that were opened", self.brokers_opened.clone());
        registry.register("brokers_closed", "Brokers that were closed", self.brokers_closed.clone());
        let help = "Time that it took to open a broker, or to add a ticket to one";
        registry.register_with_unit("broker_open", help, Unit::Seconds, self.open_seconds.clone());
    }

    fn register_failures(&self, registry: &mut Registry) {
        let help = "Reads and writes of the store that failed";
        registry.register("store_errors", help, self.store_errors.clone());
        let help = "Ends of sessions and lines of the audit log that were not recorded";
        registry.register("lost_records", help, self.lost_records.clone());
        let help = "Changes and reads of the filter that failed";
        registry.register("filter_errors", help, self.filter_errors.clone());
        let help = "Memory that is left on the machine, or in the daemon's control group where that is less";
        registry.register_with_unit("memory_left", help, Unit::Bytes, self.memory_left.clone());
    }
}

/// A broker in some state.
#[derive(Debug)]
pub struct Stage(Gauge);

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.dec();
    }
}
