//! All rounds, and what is said of them in the end.

use serde_json::{Value, json};

use crate::figures::Figures;
use crate::scene::Scene;
use crate::verdict;

/// Lines of the log that are shown where something is broken.
const TAIL: usize = 20;

/// A run.
pub struct Report {
    wanted: u32,
    pub rounds: Vec<Figures>,
    /// What did not hold, in words.
    pub broken: Vec<String>,
    warnings: usize,
}

impl Report {
    pub const fn new(wanted: u32) -> Self {
        Self { wanted, rounds: Vec::new(), broken: Vec::new(), warnings: 0 }
    }

    /// Compares the last round with an early one, if the run came to its end.
    pub fn finish(&mut self, scene: &Scene) {
        if let (Some((early, last)), true) = (self.compared(), self.broken.is_empty()) {
            let grown = verdict::of_growth(early, last);
            self.broken.extend(grown);
        }
        let log = scene.gateway.log();
        self.warnings = log.lines().filter(|line| line.contains(" WARN ")).count();
        if !self.broken.is_empty() {
            let lines: Vec<_> = log.lines().collect();
            eprintln!("the end of the log:\n{}", lines[lines.len().saturating_sub(TAIL)..].join("\n"));
        }
    }

    fn compared(&self) -> Option<(&Figures, &Figures)> {
        Some((self.rounds.get(verdict::settled(self.rounds.len()))?, self.rounds.last()?))
    }

    pub fn summary(&self) -> String {
        let mut text = String::new();
        if let Some((early, last)) = self.compared() {
            text += &format!(
                "{} of {} rounds, {} sessions; memory {:+.1} % since round {}; {} warnings in the log\n",
                self.rounds.len(),
                self.wanted,
                last.sessions,
                verdict::growth(early, last),
                verdict::settled(self.rounds.len()) + 1,
                self.warnings,
            );
        }
        for broken in &self.broken {
            text += &format!("broken: {broken}\n");
        }
        text
    }

    pub fn json(&self) -> Value {
        json!({
            "rounds": self.rounds.iter().map(Figures::json).collect::<Vec<_>>(),
            "compared_with_round": verdict::settled(self.rounds.len()) + 1,
            "growth_percent": self.compared().map(|(early, last)| verdict::growth(early, last)),
            "warnings": self.warnings,
            "broken": self.broken,
        })
    }
}
