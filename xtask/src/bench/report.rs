//! The outcome: a table, JSON, or the page BENCH.md.

use serde_json::{Value, json};

use super::bars::{Bar, Figure, OURS, Verdict};
use super::figures::FIGURES;
use super::machine::Machine;
use super::samples::Samples;

/// What no figure says: written by hand, and put behind the tables.
const NOTES: &str = include_str!("notes.md");

/// For a terminal: per figure a line for each relay, and one for each bar.
pub(crate) fn table(samples: &Samples) -> String {
    let mut text = String::new();
    for figure in measured(samples) {
        text += &format!("\n{}\n", figure.what);
        for relay in samples.relays() {
            if let Some(value) = value(figure, samples, relay) {
                text += &format!("  {relay:<16}{value}\n");
            }
        }
        for &bar in figure.bars {
            text += &format!("  {:<16}{}\n", "bar", judged(figure, bar, samples));
        }
    }
    text
}

/// BENCH.md.
pub(crate) fn page(samples: &Samples, machine: &Machine, quick: bool) -> String {
    let option = if quick { " --quick" } else { "" };
    let Machine { processor, cores, kernel, commit, load } = machine;
    let repeats = measured(samples).filter_map(|figure| samples.summary(figure.name, OURS));
    let repeats = repeats.map(|summary| summary.count).max().unwrap_or_default();
    let mut text = format!(
        "# Bench\n\n\
         Made by `cargo xtask bench{option} --write`. Medians of {repeats} interleaved repeats; behind ± is how far\n\
         the farthest of them is from the median. Each bar compares within this run.\n\n\
         - Machine: {processor}, {cores} cores, load {load} at the end\n\
         - Kernel: {kernel}\n\
         - Commit: {commit}\n",
    );
    let figures: Vec<_> = measured(samples).collect();
    for row in figures.chunk_by(|one, next| one.row() == next.row()) {
        text += &row_table(row, samples);
    }
    text + "\n" + NOTES
}

/// The figures of a row, with a column for each relay that has any.
fn row_table(figures: &[&Figure], samples: &Samples) -> String {
    let has = |relay: &&String| figures.iter().any(|figure| !samples.values(figure.name, relay).is_empty());
    let relays: Vec<_> = samples.relays().iter().filter(has).map(String::as_str).collect();
    let mut text =
        format!("\n| figure | {} | bars |\n|---{}|---|\n", relays.join(" | "), "|---".repeat(relays.len()));
    for figure in figures {
        let values = relays.iter().map(|relay| value(figure, samples, relay).unwrap_or_else(|| "-".into()));
        let bars = figure.bars.iter().map(|bar| judged(figure, *bar, samples));
        let (values, bars) = (values.collect::<Vec<_>>(), bars.collect::<Vec<_>>());
        text += &format!("| {} | {} | {} |\n", figure.what, values.join(" | "), bars.join("; "));
    }
    text
}

/// Everything, with each single value; in seconds, bytes, bytes a second, times a second.
pub(crate) fn json(samples: &Samples, machine: &Machine) -> Value {
    let Machine { processor, cores, kernel, commit, load } = machine;
    let figures: Vec<_> = measured(samples).map(|figure| figure_json(figure, samples)).collect();
    json!({
        "machine": { "processor": processor, "cores": cores, "load": load },
        "kernel": kernel, "commit": commit, "figures": figures,
    })
}

fn figure_json(figure: &Figure, samples: &Samples) -> Value {
    let relays: Vec<_> = samples
        .relays()
        .iter()
        .filter_map(|relay| {
            let summary = samples.summary(figure.name, relay)?;
            let values = samples.values(figure.name, relay);
            Some(json!({ "relay": relay, "median": summary.median, "values": values }))
        })
        .collect();
    let bars: Vec<_> = figure
        .bars
        .iter()
        .map(|bar| {
            let (met, value) = match bar.judge(figure, samples) {
                Verdict::Met(value) => (Some(true), Some(value)),
                Verdict::Missed(value) => (Some(false), Some(value)),
                Verdict::Open => (None, None),
            };
            json!({ "bar": figure.show_bar(*bar), "value": value, "met": met })
        })
        .collect();
    json!({ "name": figure.name, "what": figure.what, "relays": relays, "bars": bars })
}

/// The figures that this run has.
fn measured(samples: &Samples) -> impl Iterator<Item = &'static Figure> {
    let has =
        |figure: &Figure| samples.relays().iter().any(|relay| !samples.values(figure.name, relay).is_empty());
    FIGURES.iter().filter(move |figure| has(figure))
}

/// `1.23 ms ±4 %`.
fn value(figure: &Figure, samples: &Samples, relay: &str) -> Option<String> {
    let summary = samples.summary(figure.name, relay)?;
    Some(format!("{} ±{:.0} %", figure.show(summary.median), summary.spread * 100.0))
}

/// `<= 0.38 x websockify: 0.301 x, met`.
fn judged(figure: &Figure, bar: Bar, samples: &Samples) -> String {
    let shown = |value| bar.show_value(figure, value);
    let verdict = match bar.judge(figure, samples) {
        Verdict::Met(value) => format!("{}, met", shown(value)),
        Verdict::Missed(value) => format!("{}, MISSED", shown(value)),
        Verdict::Open => "not measured".to_owned(),
    };
    format!("{}: {verdict}", figure.show_bar(bar))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let line =
            |relay, value| format!("{{\"figure\":\"bulk-down\",\"relay\":\"{relay}\",\"value\":{value}}}\n");
        let lines =
            [("portcullis", 0.2), ("websockify-py", 1.0), ("portcullis", 0.3), ("websockify-py", 1.0)];
        Samples::parse(&lines.map(|(relay, value)| line(relay, value)).concat()).expect("samples")
    }

    #[test]
    fn the_table_has_medians_spread_and_verdict() {
        assert_eq!(
            table(&samples()),
            "\nbulk console to browser, 64 KiB writes: CPU per GiB\n  \
             portcullis      250 ms ±20 %\n  \
             websockify-py   1.00 s ±0 %\n  \
             bar             <= 0.38 x websockify-py: 0.250 x, met\n  \
             bar             <= 1.3 x splice: not measured\n"
        );
    }

    #[test]
    fn the_page_says_where_the_figures_come_from() {
        let machine = Machine {
            processor: "P".into(),
            cores: 2,
            kernel: "6.6".into(),
            commit: "c0ffee".into(),
            load: "0.10".into(),
        };
        let page = page(&samples(), &machine, true);
        for part in [
            "`cargo xtask bench --quick --write`",
            "P, 2 cores, load 0.10",
            "6.6",
            "c0ffee",
            "of 2 interleaved",
            "| 250 ms ±20 % |",
            "0.250 x, met;",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        let json = json(&samples(), &machine);
        assert_eq!(json["figures"][0]["bars"][0]["met"], true);
        assert_eq!(json["figures"][0]["relays"][1]["values"], json!([1.0, 1.0]));
    }
}
