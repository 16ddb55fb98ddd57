//! A row of steps that all run, whatever the ones before have done, and are summed up at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::signals;

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Steps(Vec<Step>);

#[derive(Debug)]
struct Step {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    Stopped,
}

impl Steps {
    /// Runs a step, unless we were asked to stop.
    pub(crate) fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        if signals::stop().is_some() {
            self.0.push(Step { name, outcome: Outcome::Stopped, took: Duration::ZERO });
        } else {
            self.always(name, step);
        }
    }

    /// Runs a step also when we were asked to stop: for those that clean up.
    pub(crate) fn always(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let outcome = match step() {
            Ok(()) => Outcome::Passed,
            Err(error) if signals::is_halt(&error) => Outcome::Stopped,
            Err(error) => {
                eprintln!("error: {error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        self.0.push(Step { name, outcome, took: started.elapsed() });
    }

    /// Prints a line per step, and fails when one of them did or was not run.
    pub(crate) fn finish(self) -> Result<()> {
        eprintln!();
        for step in &self.0 {
            eprintln!("{}", step.line());
        }
        signals::check()?;
        let failed: Vec<_> = self.0.iter().filter(|step| step.outcome != Outcome::Passed).collect();
        if !failed.is_empty() {
            let names: Vec<_> = failed.iter().map(|step| step.name).collect();
            bail!("{} of {} steps failed: {}", failed.len(), self.0.len(), names.join(", "));
        }
        Ok(())
    }
}

impl Step {
    fn line(&self) -> String {
        let (word, reason) = match &self.outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Failed(reason) => ("FAILED", reason.as_str()),
            Outcome::Stopped => ("stopped", ""),
        };
        // A reason may quote a whole output, which stands above already.
        let reason = reason.lines().next().unwrap_or_default();
        let line = format!("{word:<8}{:<22}{:>7.1} s  {reason}", self.name, self.took.as_secs_f64());
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_run_and_the_failed_are_named() {
        let mut ran = 0;
        let mut steps = Steps::default();
        steps.run("first", || bail!("broken\nwith details"));
        steps.run("second", || {
            ran += 1;
            Ok(())
        });
        assert_eq!(steps.0[0].line(), "FAILED  first                     0.0 s  broken");
        let error = steps.finish().expect_err("one failed");
        assert_eq!(error.to_string(), "1 of 2 steps failed: first");
        assert_eq!(ran, 1);
    }
}
