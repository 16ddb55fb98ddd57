//! What a figure can have to be. A bar that compares does so within one run: absolute times mean little on
//! a machine that others use.

use super::samples::{Samples, Summary};

/// The relay that has to meet the bars.
pub(crate) const OURS: &str = "portcullis";
/// The same for clients of TLS.
pub(crate) const TLS: &str = "portcullis-tls";
/// No relay at all, where a row has that.
pub(crate) const DIRECT: &str = "direct";

/// The relays that the bars of these figures name, ours first, and what they stand beside.
pub(crate) fn named<'a>(figures: impl Iterator<Item = &'a Figure>) -> Vec<&'static str> {
    let mut all = vec![OURS, TLS, DIRECT];
    for relay in figures.flat_map(|figure| figure.bars).filter_map(Bar::relay) {
        if !all.contains(&relay) {
            all.push(relay);
        }
    }
    all
}

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
    /// Shown in ns, us or ms.
    Seconds,
    /// Shown in KiB or MiB.
    Bytes,
    /// Shown in MB/s.
    BytesPerSecond,
    /// Shown in ones or thousands.
    PerSecond,
    /// Shown as it is.
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    /// At most so much, in the figure's unit.
    AtMost(f64),
    /// The same for the relay of this name, which is ours in another shape.
    AtMostOf(&'static str, f64),
    /// At most so much more than the relay of this name has in the same run.
    Above(&'static str, f64),
    /// At most so many times what the relay of this name has in the same run.
    Ratio(&'static str, f64),
    /// At least so many times what it has.
    AtLeast(&'static str, f64),
    /// At most so many times what ours has of the figure of this name.
    Flat(&'static str, f64),
    /// At least so many times what ours has of it.
    Keeps(&'static str, f64),
}

/// Whether a bar is met.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Met(f64),
    Missed(f64),
    /// One of the two was not measured.
    Open,
}

impl Figure {
    /// The row that measures it.
    pub(crate) fn row(&self) -> &'static str {
        self.name.split('/').next().unwrap_or(self.name)
    }

    /// A value as people read it, to three places.
    pub(crate) fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Seconds => scaled(value, &[(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")]),
            Unit::Bytes => scaled(value, &[(1024.0 * 1024.0, "MiB"), (1024.0, "KiB")]),
            Unit::BytesPerSecond => scaled(value, &[(1e6, "MB/s")]),
            Unit::PerSecond => scaled(value, &[(1e3, "k/s"), (1.0, "/s")]),
            Unit::Count => format!("{value:.2}"),
        }
    }

    /// A bar as people read it.
    pub(crate) fn show_bar(&self, bar: Bar) -> String {
        match bar {
            Bar::AtMost(most) => format!("<= {}", self.show(most)),
            Bar::AtMostOf(relay, most) => format!("{relay} <= {}", self.show(most)),
            Bar::Above(relay, most) => format!("<= {relay} + {}", self.show(most)),
            Bar::Ratio(relay, most) => format!("<= {most} x {relay}"),
            Bar::AtLeast(relay, least) => format!(">= {least} x {relay}"),
            Bar::Flat(figure, most) => format!("<= {most} x {figure}"),
            Bar::Keeps(figure, least) => format!(">= {least} x {figure}"),
        }
    }
}

/// In the first unit of which there is one, or the last.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fits = |(unit, _): &&(f64, &str)| value.abs() >= *unit;
    let Some((unit, name)) = units.iter().find(fits).or(units.last()) else { return value.to_string() };
    let value = value / unit;
    let places = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.places$} {name}")
}

impl Bar {
    /// Whom it names.
    const fn relay(&self) -> Option<&'static str> {
        match self {
            Self::AtMostOf(relay, _)
            | Self::Above(relay, _)
            | Self::Ratio(relay, _)
            | Self::AtLeast(relay, _) => Some(relay),
            Self::AtMost(_) | Self::Flat(..) | Self::Keeps(..) => None,
        }
    }

    /// By the medians of a figure.
    pub(crate) fn judge(self, figure: &Figure, samples: &Samples) -> Verdict {
        let median = |figure, relay| samples.summary(figure, relay).map(|Summary { median, .. }| median);
        let ours = || median(figure.name, OURS);
        let times = |base: Option<f64>| Some(ours()? / base?);
        let value = match self {
            Self::AtMost(_) => ours(),
            Self::AtMostOf(relay, _) => median(figure.name, relay),
            Self::Above(relay, _) => median(figure.name, relay).zip(ours()).map(|(base, ours)| ours - base),
            Self::Ratio(relay, _) | Self::AtLeast(relay, _) => times(median(figure.name, relay)),
            Self::Flat(other, _) | Self::Keeps(other, _) => times(median(other, OURS)),
        };
        let Some(value) = value else { return Verdict::Open };
        if self.holds(value) { Verdict::Met(value) } else { Verdict::Missed(value) }
    }

    /// Whether `value`, which may be a ratio, is what it has to be.
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most)
            | Self::AtMostOf(_, most)
            | Self::Above(_, most)
            | Self::Ratio(_, most)
            | Self::Flat(_, most) => value <= most,
            Self::AtLeast(_, least) | Self::Keeps(_, least) => value >= least,
        }
    }

    /// The measured side of it as people read it.
    pub(crate) fn show_value(self, figure: &Figure, value: f64) -> String {
        match self {
            Self::AtMost(_) | Self::AtMostOf(..) => figure.show(value),
            Self::Above(relay, _) => format!("{relay} + {}", figure.show(value)),
            Self::Ratio(..) | Self::AtLeast(..) | Self::Flat(..) | Self::Keeps(..) => format!("{value:.3} x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::FIGURES;

    #[test]
    fn a_bar_is_judged_by_the_same_runs_medians() {
        let samples = Samples::parse(
            "{\"figure\":\"bulk-up\",\"relay\":\"portcullis\",\"value\":0.3}\n\
             {\"figure\":\"bulk-up\",\"relay\":\"websockify-py\",\"value\":3.0}\n\
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

    #[test]
    fn bars_go_down_up_and_along() {
        let line = |figure, relay, value| {
            format!("{{\"figure\":\"{figure}\",\"relay\":\"{relay}\",\"value\":{value}}}\n")
        };
        let text = [("calm", OURS, 10.0), ("flooded", OURS, 8.0), ("flooded", "peer", 2.0)];
        let text = text.map(|(figure, relay, value)| line(figure, relay, value)).concat();
        let samples = Samples::parse(&text).expect("samples");
        let figure = Figure { name: "flooded", what: "", unit: Unit::PerSecond, bars: &[] };
        for (bar, verdict) in [
            (Bar::AtMost(8.0), Verdict::Met(8.0)),
            (Bar::AtMost(7.9), Verdict::Missed(8.0)),
            (Bar::AtMostOf("peer", 2.0), Verdict::Met(2.0)),
            (Bar::AtMostOf("nobody", 2.0), Verdict::Open),
            (Bar::Above("peer", 6.0), Verdict::Met(6.0)),
            (Bar::Above("peer", 5.9), Verdict::Missed(6.0)),
            (Bar::Above("nobody", 6.0), Verdict::Open),
            (Bar::Ratio("peer", 3.0), Verdict::Missed(4.0)),
            (Bar::AtLeast("peer", 3.0), Verdict::Met(4.0)),
            (Bar::AtLeast("peer", 5.0), Verdict::Missed(4.0)),
            (Bar::AtLeast("nobody", 5.0), Verdict::Open),
            (Bar::Flat("calm", 0.9), Verdict::Met(0.8)),
            (Bar::Keeps("calm", 0.9), Verdict::Missed(0.8)),
            (Bar::Keeps("calm", 0.8), Verdict::Met(0.8)),
            (Bar::Keeps("nothing", 0.8), Verdict::Open),
        ] {
            assert_eq!(bar.judge(&figure, &samples), verdict, "{bar:?}");
        }
    }

    #[test]
    fn values_are_shown_at_their_scale() {
        let check = |unit, value, shown: &str| {
            let figure = Figure { name: "", what: "", unit, bars: &[] };
            assert_eq!(figure.show(value), shown);
        };
        check(Unit::Seconds, 8.5e-9, "8.50 ns");
        check(Unit::Seconds, -1e-9, "-1.00 ns");
        check(Unit::Seconds, 1.2e-6, "1.20 us");
        check(Unit::Seconds, 64.04e-6, "64.0 us");
        check(Unit::Seconds, 0.001, "1.00 ms");
        check(Unit::Seconds, 0.25, "250 ms");
        check(Unit::Seconds, 2.464, "2.46 s");
        check(Unit::Bytes, 480.0, "0.47 KiB");
        check(Unit::Bytes, 4096.0, "4.00 KiB");
        check(Unit::Bytes, 4.343e6, "4.14 MiB");
        check(Unit::BytesPerSecond, 2.701e9, "2701 MB/s");
        check(Unit::PerSecond, 280.0, "280 /s");
        check(Unit::PerSecond, 13_900.0, "13.9 k/s");
        check(Unit::Count, 0.0, "0.00");
    }
}
