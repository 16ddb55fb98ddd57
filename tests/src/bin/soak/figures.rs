//! What is seen at a quiet point.

use portcullis_tests::process::{anonymous_memory, descriptors};
use portcullis_tests::usage::pss;
use serde_json::{Value, json};

use crate::scene::Scene;

const KIB: u64 = 1024;
const MIB: f64 = 1024.0 * 1024.0;

/// Of the daemon.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Sessions that were, brokers that were opened, and connections that were refused.
    pub sessions: f64,
    pub brokers: f64,
    pub refused: f64,
    /// Payload, client to target and back.
    pub up_bytes: f64,
    pub down_bytes: f64,
    /// Memory.
    pub pss_bytes: u64,
    pub anonymous_bytes: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Figures {
    pub fn take(scene: &Scene) -> Self {
        let id = scene.gateway.id();
        // Before the page is asked for, whose connection is one.
        let (descriptors, threads) = (descriptors(id), threads(id));
        let (pss_bytes, anonymous_bytes) = (pss(id), anonymous_memory(id));
        let page = scene.gateway.metrics();
        let bytes = |way: &str| metric(&page, &format!("portcullis_relay_bytes_total{{direction={way:?}}}"));
        Self {
            sessions: sum(&page, "portcullis_sessions_total"),
            brokers: metric(&page, "portcullis_brokers_opened_total"),
            refused: sum(&page, "portcullis_handshake_refusals_total"),
            up_bytes: bytes("up"),
            down_bytes: bytes("down"),
            pss_bytes,
            anonymous_bytes,
            descriptors,
            threads,
        }
    }

    /// Names of what [`Self::line`] has.
    pub fn head() -> String {
        "round  sessions  brokers  refused  up MiB  down MiB  PSS KiB  anonymous KiB  descriptors  threads"
            .into()
    }

    pub fn line(&self, round: u32) -> String {
        format!(
            "{round:>5}  {:>8}  {:>7}  {:>7}  {:>6.0}  {:>8.0}  {:>7}  {:>13}  {:>11}  {:>7}",
            self.sessions,
            self.brokers,
            self.refused,
            self.up_bytes / MIB,
            self.down_bytes / MIB,
            self.pss_bytes / KIB,
            self.anonymous_bytes / KIB,
            self.descriptors,
            self.threads,
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "sessions": self.sessions,
            "brokers": self.brokers,
            "refused": self.refused,
            "up_bytes": self.up_bytes,
            "down_bytes": self.down_bytes,
            "pss_bytes": self.pss_bytes,
            "anonymous_bytes": self.anonymous_bytes,
            "descriptors": self.descriptors,
            "threads": self.threads,
        })
    }
}

fn threads(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/task")).expect("the process is there").count()
}

/// A metric by its name with labels as on the page.
///
/// # Panics
/// It is not there.
pub fn metric(page: &str, name: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {name}"))
}

/// All samples of a metric, whatever their labels.
pub fn sum(page: &str, name: &str) -> f64 {
    let samples =
        page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    samples.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}
