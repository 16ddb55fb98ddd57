//! Ctrl-C, SIGTERM and SIGHUP as a question that loops ask, so that every guard gets its turn.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use signal_hook::flag;

/// The last signal that asked us to stop, 0 before.
static STOP: AtomicUsize = AtomicUsize::new(0);

/// Why the task ends before its work is done. Steps pass it on at once instead of trying the next thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// A signal asked for it.
    Signal(i32),
    /// Someone answered "no".
    Declined,
}

impl Halt {
    /// What a shell expects: 128 and the number of the signal.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Signal(number) => u8::try_from(number.saturating_add(128)).unwrap_or(1),
            Self::Declined => 1,
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => {
                let name = Signal::try_from(*number).map_or("a signal", Signal::as_str);
                write!(f, "stopped by {name}")
            }
            Self::Declined => write!(f, "declined"),
        }
    }
}

impl std::error::Error for Halt {}

/// Takes the stop signals away from their default, which would end us before any guard runs. By a handler
/// and not by a blocked mask, because children would inherit the mask, and then not end on SIGTERM.
pub(crate) fn watch() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // Under nohup the terminal may go.
        if signal == Signal::SIGHUP && is_ignored(signal) {
            continue;
        }
        let number = signal as i32;
        flag::register_usize(number, &STOP, usize::try_from(number)?)
            .with_context(|| format!("handle {signal}"))?;
    }
    Ok(())
}

/// The signal that asked us to stop, if one did.
pub(crate) fn stop() -> Option<Halt> {
    match STOP.load(Ordering::Relaxed) {
        0 => None,
        number => Some(Halt::Signal(i32::try_from(number).unwrap_or(i32::MAX))),
    }
}

/// An error once someone asked us to stop.
pub(crate) fn check() -> Result<()> {
    stop().map_or(Ok(()), |halt| Err(halt.into()))
}

/// Whether `error` means "stop", not "this failed".
pub(crate) fn is_halt(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Halt>().is_some()
}

fn is_ignored(signal: Signal) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, signal))
}

/// Reads the mask `SigIgn` of proc_pid_status(5): hexadecimal, bit 0 is signal 1.
fn ignores(status: &str, signal: Signal) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (signal as i32 - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hangup_is_seen_in_the_status() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n";
        assert!(ignores(status, Signal::SIGHUP));
        assert!(!ignores(status, Signal::SIGINT));
        assert!(!ignores("", Signal::SIGHUP));
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(Halt::Signal(2).exit_code(), 130);
        assert_eq!(Halt::Signal(15).exit_code(), 143);
        assert_eq!(Halt::Declined.exit_code(), 1);
    }
}
