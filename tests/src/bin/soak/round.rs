//! A round: all loads at once until its time is over, and what went wrong in them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::scene::{Scene, Wire};
use crate::stalls::Stalled;
use crate::steady::{KINDS, Kind};
use crate::{brokers, churn, scrape, stalls, steady};

/// Loads of sessions that come and go.
const CHURNERS: usize = 6;

/// Consoles of all loads.
pub struct Crew {
    steady: Vec<(Kind, Wire, Console)>,
    stalls: [(Stalled, Console); 2],
    churn: [Console; CHURNERS],
    brokers: Console,
    echo: Console,
    off: Console,
}

/// Works until the end of the shift.
type Load<'a> = Box<dyn FnOnce() + Send + 'a>;

/// The time of a round.
pub struct Shift {
    end: Instant,
    stopped: AtomicBool,
}

impl Shift {
    /// Whether what is under way is the last.
    pub fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || Instant::now() >= self.end
    }
}

impl Crew {
    pub fn new(scene: &Scene) -> Self {
        let wires = [Wire::Plain, Wire::Tls];
        let kinds = KINDS.into_iter().flat_map(|kind| wires.map(|wire| (kind, wire)));
        Self {
            steady: kinds.map(|(kind, wire)| (kind, wire, Console::new(scene))).collect(),
            stalls: [Stalled::Client, Stalled::Console].map(|stalled| (stalled, Console::new(scene))),
            churn: [(); CHURNERS].map(|()| Console::new(scene)),
            // Of its own: what is given again is any that is open for the instance.
            brokers: Console::echo(scene),
            echo: Console::echo(scene),
            off: Console::off(scene),
        }
    }

    /// Works for about so long, and says what went wrong. All sessions have ended then.
    pub fn work(&self, scene: &Scene, length: Duration) -> Vec<String> {
        let shift = &Shift { end: Instant::now() + length, stopped: AtomicBool::new(false) };
        let mut loads: Vec<(&str, Load)> = vec![
            ("brokers", Box::new(|| brokers::work(scene, shift, &self.brokers))),
            ("scrape", Box::new(|| scrape::work(scene, shift))),
        ];
        for (kind, wire, console) in &self.steady {
            loads.push(("steady", Box::new(|| steady::work(scene, shift, console, *kind, *wire))));
        }
        for (stalled, console) in &self.stalls {
            loads.push(("stalls", Box::new(|| stalls::work(scene, shift, console, *stalled))));
        }
        for console in &self.churn {
            let consoles = [console, &self.echo, &self.off];
            loads.push(("churn", Box::new(move || churn::work(scene, shift, consoles))));
        }
        thread::scope(|scope| {
            let hands: Vec<_> =
                loads.into_iter().map(|(name, load)| scope.spawn(move || shift.run(name, load))).collect();
            hands.into_iter().filter_map(|hand| hand.join().expect("a panic is caught")).collect()
        })
    }
}

impl Shift {
    /// Does it, and stops the others if it fails.
    fn run(&self, name: &str, load: impl FnOnce()) -> Option<String> {
        let panic = catch_unwind(AssertUnwindSafe(load)).err()?;
        self.stopped.store(true, Ordering::Relaxed);
        Some(format!("{name}: {}", said(panic.as_ref())))
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}
