//! The endurance run of `cargo xtask soak`: one daemon behind filter and steering in a network namespace of its
//! own, and for a while a mix of all that clients and consoles do, with every byte checked. Between the rounds
//! nobody is there, and what the daemon holds then must not grow.
//!
//! `soak SECONDS [json]` prints a line a round and a summary, or that as JSON on stdout, and fails if anything did
//! not hold. `PORTCULLIS_BIN` is the daemon.

mod brokers;
mod churn;
mod console;
mod farewell;
mod figures;
mod quiet;
mod report;
mod round;
mod scene;
mod scrape;
mod stalls;
mod steady;
mod tally;
mod uninvited;
mod verdict;

use std::process::ExitCode;
use std::time::Duration;

use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::allow_descriptors;

use figures::Figures;
use report::Report;
use round::Crew;
use scene::Scene;

/// Longest time between two looks.
const ROUND: Duration = Duration::from_secs(60);
/// Fewest rounds of a run.
const ROUNDS_MIN: u32 = 4;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let (seconds, json) = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [seconds] => (seconds.parse().ok(), false),
        [seconds, "json"] => (seconds.parse().ok(), true),
        _ => (None, false),
    };
    let Some(seconds) = seconds else { panic!("usage: soak SECONDS [json]") };
    allow_descriptors();
    let report = in_namespace(|| run(Duration::from_secs(seconds), json));
    if json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.summary());
    }
    if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All rounds; the first that fails is the last.
fn run(length: Duration, json: bool) -> Report {
    let rounds = length.as_secs().div_ceil(ROUND.as_secs()).try_into().unwrap_or(u32::MAX).max(ROUNDS_MIN);
    let scene = Scene::new();
    let crew = Crew::new(&scene);
    let mut report = Report::new(rounds);
    let say = |line: String| if json { eprintln!("{line}") } else { println!("{line}") };
    say(Figures::head());
    for number in 1..=rounds {
        report.broken.extend(crew.work(&scene, length / rounds));
        report.broken.extend(quiet::wait(&scene));
        let figures = Figures::take(&scene);
        say(figures.line(number));
        report.rounds.push(figures);
        report.broken.extend(verdict::of_this_round(&scene));
        if !report.broken.is_empty() {
            break;
        }
    }
    report.finish(&scene);
    report
}
