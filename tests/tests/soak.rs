//! The endurance run is an instrument: what it is there to find is found, where it is made to happen.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use portcullis_tests::process::Guarded;
use portcullis_tests::strace::{Tracer, threads};
use portcullis_tests::usage::tree;
use portcullis_tests::{require, wait_for};

/// One at a time: each has a machine's worth of loads.
static TURN: Mutex<()> = Mutex::new(());

/// Runs it for `seconds`, lets `fault` happen to the thread of its daemon named `thread` when a line begins with
/// `after`, and returns what it said in the end, which is that something is broken.
fn with_fault(seconds: u32, after: &str, thread: &str, fault: impl FnOnce(u32, &Path) -> Tracer) -> String {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let (file, calls) = (folder.path().join("said"), folder.path().join("calls"));
    let said = || std::fs::read_to_string(&file).expect("what it said");
    let mut command = Command::new(env!("CARGO_BIN_EXE_soak"));
    command.arg(seconds.to_string()).env("TMPDIR", folder.path());
    command.stdin(Stdio::null()).stdout(File::create(&file).expect("a file"));
    let mut soak = Guarded::start(&mut command);
    wait_for(&format!("a line {after:?}"), || {
        assert!(soak.lives(), "{}", said());
        said().lines().any(|line| line.trim_start().starts_with(after)).then_some(())
    });
    let name = |id: &u32| std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    let daemon = tree(soak.id()).into_iter().find(|id| name(id) == "portcullis\n").expect("its daemon");
    let (tid, _) = threads(daemon).into_iter().find(|(_, name)| name == thread).expect("its thread");
    let tracer = fault(tid, &calls);
    let status = soak.ended();
    tracer.release();
    let calls = std::fs::read_to_string(&calls).expect("a record");
    assert_eq!(calls.matches("(INJECTED").count(), 1, "{calls}");
    assert_eq!(status.code(), Some(1), "{}", said());
    said()
}

#[test]
fn bytes_that_are_not_those_that_were_sent_are_found() {
    if !(require::kernel() && require::file("/usr/bin/strace", "strace")) {
        return;
    }
    let said = with_fault(40, "round", "relay-0", |tid, calls| Tracer::poke(tid, "sendto", 300, calls));
    // Whoever met them, in the first round.
    let broken = |load: &str| said.contains(&format!("broken: {load}: "));
    assert!(["steady", "churn", "stalls", "brokers"].into_iter().any(broken), "{said}");
    assert!(said.contains("1 of 4 rounds"), "{said}");
}

#[test]
fn a_descriptor_that_is_left_is_found() {
    if !(require::kernel() && require::file("/usr/bin/strace", "strace")) {
        return;
    }
    let said = with_fault(8, "1 ", "control", |tid, calls| Tracer::skip(tid, "close", 10, calls));
    let broken: Vec<_> = said.lines().filter(|line| line.starts_with("broken: ")).collect();
    let found = broken.iter().any(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let count = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok());
        count(1).is_some()
            && line.contains(" descriptors became ")
            && count(1).map(|count| count + 1) == count(4)
    });
    assert!(found && said.contains("4 of 4 rounds"), "{said}");
}
