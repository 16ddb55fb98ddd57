//! What each figure has to be. A bar that compares does so within one run: absolute times mean nothing on
//! a machine that others use.

use super::samples::{Samples, Summary};

/// The relay that has to meet the bars.
pub(crate) const OURS: &str = "portcullis";
/// The flow that it replaces.
const REPLACED: &str = "websockify";

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    /// As samples name it: the row, and behind a slash what else the row measures.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) bars: &'static [Bar],
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Shown in milliseconds.
    Seconds,
    /// Shown in KiB.
    Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    /// At most so much, in the figure's unit.
    AtMost(f64),
    /// At most so many times what the relay of this name has in the same run.
    Ratio(&'static str, f64),
}

/// Whether a bar is met.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Met(f64),
    Missed(f64),
    /// One of the two was not measured.
    Open,
}

pub(crate) const FIGURES: [Figure; 6] = [
    Figure {
        name: "bulk-down",
        what: "bulk console to browser, 64 KiB writes: CPU per GiB",
        unit: Unit::Seconds,
        bars: &[Bar::Ratio(REPLACED, 0.38)],
    },
    Figure {
        name: "bulk-up",
        what: "bulk browser to console, 64 KiB frames: CPU per GiB",
        unit: Unit::Seconds,
        bars: &[Bar::Ratio(REPLACED, 0.12)],
    },
    Figure {
        name: "idle",
        what: "idle session: memory (PSS)",
        unit: Unit::Bytes,
        bars: &[Bar::AtMost(4096.0)],
    },
    Figure {
        name: "idle/burst",
        what: "the same after a burst of 64 KiB on each",
        unit: Unit::Bytes,
        bars: &[Bar::AtMost(4096.0)],
    },
    Figure {
        name: "open",
        what: "opening a console, until a client can connect: p50",
        unit: Unit::Seconds,
        bars: &[Bar::AtMost(0.001), Bar::Ratio(REPLACED, 0.01)],
    },
    Figure {
        name: "open/5000",
        what: "the same with 5,000 open (websockify: their rules)",
        unit: Unit::Seconds,
        bars: &[Bar::AtMost(0.001), Bar::Ratio(REPLACED, 0.01)],
    },
];

impl Figure {
    /// The row that measures it.
    pub(crate) fn row(&self) -> &'static str {
        self.name.split('/').next().unwrap_or(self.name)
    }

    /// A value as people read it.
    pub(crate) fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Seconds => format!("{:.2} ms", value * 1e3),
            Unit::Bytes => format!("{:.1} KiB", value / 1024.0),
        }
    }

    /// A bar as people read it.
    pub(crate) fn show_bar(&self, bar: Bar) -> String {
        match bar {
            Bar::AtMost(most) => format!("<= {}", self.show(most)),
            Bar::Ratio(relay, most) => format!("<= {most} x {relay}"),
        }
    }
}

impl Bar {
    /// By the medians of a figure.
    pub(crate) fn judge(self, figure: &Figure, samples: &Samples) -> Verdict {
        let median = |relay| samples.summary(figure.name, relay).map(|Summary { median, .. }| median);
        let Some(ours) = median(OURS) else { return Verdict::Open };
        let (value, most) = match self {
            Self::AtMost(most) => (ours, most),
            Self::Ratio(relay, most) => match median(relay) {
                Some(theirs) => (ours / theirs, most),
                None => return Verdict::Open,
            },
        };
        if value <= most { Verdict::Met(value) } else { Verdict::Missed(value) }
    }

    /// The measured side of it as people read it.
    pub(crate) fn show_value(self, figure: &Figure, value: f64) -> String {
        match self {
            Self::AtMost(_) => figure.show(value),
            Self::Ratio(..) => format!("{value:.3} x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_judged_by_the_same_runs_medians() {
        let samples = Samples::parse(
            "{\"figure\":\"bulk-up\",\"relay\":\"portcullis\",\"value\":0.3}\n\
             {\"figure\":\"bulk-up\",\"relay\":\"websockify\",\"value\":3.0}\n\
             {\"figure\":\"idle\",\"relay\":\"portcullis\",\"value\":5000}\n",
        )
        .expect("samples");
        let judge = |name: &str| {
            let figure = FIGURES.iter().find(|figure| figure.name == name).expect("a figure");
            figure.bars[0].judge(figure, &samples)
        };
        assert!(matches!(judge("bulk-up"), Verdict::Met(ratio) if (ratio - 0.1).abs() < 1e-9));
        assert_eq!(judge("idle"), Verdict::Missed(5000.0));
        assert_eq!(judge("bulk-down"), Verdict::Open);
    }
}
