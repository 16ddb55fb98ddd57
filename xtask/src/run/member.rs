//! A process of the run: its log, its end, and its end if we are gone.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::exec;

/// How many of the last lines of a log are shown.
const TAIL: usize = 20;

/// A running process; ended when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Member {
    /// Starts it with stdout in `<folder>/<name>.out` and stderr in `<folder>/<name>.log`.
    pub(crate) fn start(name: &'static str, command: &Command, folder: &Path) -> Result<Self> {
        let log = folder.join(name).with_extension("log");
        let mut command = bound_to_us(command);
        command
            .stdin(Stdio::null())
            .stdout(File::create(log.with_extension("out"))?)
            .stderr(File::create(&log)?);
        // A group of its own, so that the terminal's Ctrl-C reaches us alone and we choose the order.
        command.process_group(0);
        exec::show(&command);
        let child = command.spawn().with_context(|| format!("start the {name}"))?;
        Ok(Self { name, child, log })
    }

    /// What it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.log.with_extension("out")).unwrap_or_default()
    }

    /// An error with the tail of its log if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("wait for a child")? else { return Ok(()) };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        bail!("the {} has ended ({status}); the end of its log:\n{}", self.name, tail(&log))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Err(error) = exec::end(&mut self.child) {
            eprintln!("warning: end the {}: {error:#}", self.name);
        }
    }
}

/// The same command, ended by the kernel should we be killed without a chance to end it.
/// See PR_SET_PDEATHSIG(2const).
fn bound_to_us(command: &Command) -> Command {
    let Some(setpriv) = exec::find("setpriv") else {
        let mut plain = Command::new(command.get_program());
        copy(command, &mut plain);
        return plain;
    };
    let mut bound = Command::new(setpriv);
    bound.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
    copy(command, &mut bound);
    bound
}

fn copy(from: &Command, to: &mut Command) {
    to.args(from.get_args());
    for (key, value) in from.get_envs() {
        match value {
            Some(value) => to.env(key, value),
            None => to.env_remove(key),
        };
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    if lines.is_empty() { "(it is empty)".to_owned() } else { lines[from..].join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_short() {
        let log: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        assert!(tail(&log).starts_with("line 11\n"));
        assert_eq!(tail(""), "(it is empty)");
    }

    #[test]
    fn one_that_ends_by_itself_is_reported_with_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo out; echo reason >&2; exit 3"]);
        let mut member = Member::start("shell", &shell, folder.path()).expect("started");
        let error = loop {
            if let Err(error) = member.check() {
                break error.to_string();
            }
        };
        assert!(error.contains("exit status: 3") && error.ends_with("reason"), "{error}");
        assert_eq!(member.stdout(), "out\n");
    }
}
