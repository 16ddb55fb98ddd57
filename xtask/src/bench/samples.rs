//! The samples of a run, and what is said of them: median and spread.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// Values by figure and relay, in the order they were taken.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    values: BTreeMap<(String, String), Vec<f64>>,
    relays: Vec<String>,
}

/// What is said of one relay's values of one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub(crate) median: f64,
    /// How far the farthest is from the median, as a part of it.
    pub(crate) spread: f64,
}

impl Samples {
    /// Reads a JSON object per line: `figure`, `relay`, `value`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut samples = Self::default();
        for line in text.lines() {
            samples.add(line).with_context(|| format!("read the sample {line:?}"))?;
        }
        Ok(samples)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let sample: Value = serde_json::from_str(line)?;
        let text = |key: &str| {
            let text = sample.get(key).and_then(Value::as_str).map(str::to_owned);
            text.with_context(|| format!("no text `{key}`"))
        };
        let value = sample.get("value").and_then(Value::as_f64).context("no number `value`")?;
        let relay = text("relay")?;
        if !self.relays.contains(&relay) {
            self.relays.push(relay.clone());
        }
        self.values.entry((text("figure")?, relay)).or_default().push(value);
        Ok(())
    }

    /// The relays, in the order they were measured.
    pub(crate) fn relays(&self) -> &[String] {
        &self.relays
    }

    /// All values of a figure and relay.
    pub(crate) fn values(&self, figure: &str, relay: &str) -> &[f64] {
        self.values.get(&(figure.to_owned(), relay.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// `None` where nothing was measured.
    pub(crate) fn summary(&self, figure: &str, relay: &str) -> Option<Summary> {
        let mut sorted = self.values(figure, relay).to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let lower = sorted[(sorted.len() - 1) / 2];
        let median = f64::midpoint(lower, sorted[middle]);
        let far = (median - least).max(most - median);
        Some(Summary {
            count: sorted.len(),
            median,
            spread: if far > 0.0 { far / median.abs() } else { 0.0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        let lines = |values: &[f64]| {
            let line = |value| format!("{{\"figure\":\"f\",\"relay\":\"r\",\"value\":{value}}}\n");
            values.iter().map(line).collect::<String>()
        };
        for (values, median) in [(&[3.0, 1.0, 2.0][..], 2.0), (&[4.0, 1.0, 2.0, 3.0], 2.5), (&[7.0], 7.0)] {
            let samples = Samples::parse(&lines(values)).expect("samples");
            let summary = samples.summary("f", "r").expect("values");
            assert_eq!((summary.count, summary.median), (values.len(), median));
        }
        assert_eq!(Samples::default().summary("f", "r"), None);
    }

    #[test]
    fn the_spread_is_that_of_the_farthest() {
        let line = |value| format!("{{\"figure\":\"f\",\"relay\":\"r\",\"value\":{value}}}\n");
        for (values, spread) in [([9.0, 10.0, 15.0], 0.5), ([6.0, 10.0, 11.0], 0.4), ([0.0; 3], 0.0)] {
            let samples = Samples::parse(&values.map(line).concat()).expect("samples");
            assert_eq!(samples.summary("f", "r").expect("values").spread, spread);
        }
    }

    #[test]
    fn what_is_no_sample_is_named() {
        let error = Samples::parse("{\"figure\":\"f\",\"relay\":\"r\"}").expect_err("no value");
        assert!(format!("{error:#}").ends_with("no number `value`"), "{error:#}");
    }
}
