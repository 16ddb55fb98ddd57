//! What the loads did, and so what the daemon must have counted: no end and no refusal but these.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts by metric and label. Of what may be seen in one way or another, both ways are possible.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<(&'static str, &'static str), Expected>>);

#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    sure: u64,
    possible: u64,
}

const ENDS: &str = "portcullis_connection_ends_total{end=";
const REFUSALS: &str = "portcullis_handshake_refusals_total{code=";

impl Tally {
    /// A connection ended so.
    pub fn end(&self, name: &'static str) {
        self.count(ENDS, name, |expected| expected.sure += 1);
    }

    /// A connection was refused with this code.
    pub fn refusal(&self, code: &'static str) {
        self.count(REFUSALS, code, |expected| expected.sure += 1);
    }

    /// A connection may have ended so.
    pub fn may_end(&self, name: &'static str) {
        self.count(ENDS, name, |expected| expected.possible += 1);
    }

    /// A connection may have been refused with this code.
    pub fn may_refuse(&self, code: &'static str) {
        self.count(REFUSALS, code, |expected| expected.possible += 1);
    }

    fn count(&self, metric: &'static str, label: &'static str, add: impl FnOnce(&mut Expected)) {
        // A load that panics does so outside of this lock.
        add(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((metric, label)).or_default());
    }

    /// What a page of metrics counts otherwise.
    pub fn differences(&self, page: &str) -> Vec<String> {
        let expected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (metric, label, counted) in page.lines().filter_map(sample) {
            let Expected { sure, possible } = expected.get(&(metric, label)).copied().unwrap_or_default();
            if !(sure..=sure + possible).contains(&counted) {
                let most = if possible > 0 { format!(" to {}", sure + possible) } else { String::new() };
                found.push(format!("{metric}\"{label}\"}} is {counted}, not {sure}{most}"));
            }
        }
        found
    }
}

/// Metric, label and value of a line that is tallied.
fn sample(line: &str) -> Option<(&'static str, &str, u64)> {
    let of = |metric: &'static str| Some((metric, line.strip_prefix(metric)?));
    let (metric, rest) = of(ENDS).or_else(|| of(REFUSALS))?;
    let (label, value) = rest.split_once("} ")?;
    Some((metric, label.trim_matches('"'), value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_expected_is_named() {
        let tally = Tally::default();
        tally.end("client_closed");
        tally.may_end("client_gone");
        tally.refusal("slow");
        let page = |closed, gone, idle, slow| {
            format!(
                "{ENDS}\"client_closed\"}} {closed}\n{ENDS}\"client_gone\"}} {gone}\n\
                 {ENDS}\"idle\"}} {idle}\n{REFUSALS}\"slow\"}} {slow}\nportcullis_other 7\n"
            )
        };
        for gone in [0, 1] {
            assert_eq!(tally.differences(&page(1, gone, 0, 1)), [""; 0]);
        }
        let found = tally.differences(&page(2, 2, 1, 0));
        assert_eq!(
            found,
            [
                "portcullis_connection_ends_total{end=\"client_closed\"} is 2, not 1",
                "portcullis_connection_ends_total{end=\"client_gone\"} is 2, not 0 to 1",
                "portcullis_connection_ends_total{end=\"idle\"} is 1, not 0",
                "portcullis_handshake_refusals_total{code=\"slow\"} is 0, not 1",
            ]
        );
    }
}
