//! Child processes that end with their test.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait_for;

/// Runs a command to its end and returns what it printed.
///
/// # Panics
/// It cannot be started or fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {} {said}", arguments.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end with `input` for it to read.
///
/// # Panics
/// It cannot be started or fails.
pub fn feed(program: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    let mut process = Guarded::start(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()));
    let mut pipe = process.child().stdin.take().expect("a pipe");
    pipe.write_all(input.as_bytes()).unwrap_or_else(|error| panic!("{program} reads: {error}"));
    drop(pipe);
    let status = process.ended();
    assert!(status.success(), "{program} {}: {status}", arguments.join(" "));
}

/// Gives a program a home, all of it: a machine of a test has its own keys and certificates, and meets nobody that
/// another one met. The tests' own folders (XDG Base Directory Specification) are shared by all of them.
pub fn at_home<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    for kind in ["CACHE", "CONFIG", "DATA", "STATE"] {
        command.env_remove(format!("XDG_{kind}_HOME"));
    }
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home)
}

/// A process that is killed when the value is dropped, also by a panic.
pub struct Guarded(Child);

impl Guarded {
    /// Starts it.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it `signal`.
    ///
    /// # Panics
    /// It is gone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("the process is there");
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// Never on a child.
    pub fn lives(&self) -> bool {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(Pid::from_raw(self.0.id().cast_signed())), flags);
        // Once it was waited for, it is nobody's child any more.
        matches!(status, Ok(WaitStatus::StillAlive))
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        wait_for("the end of a process", || self.0.try_wait().expect("our child"))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resident memory of a process, in bytes, without what it shares with files (proc(5), `RssAnon`).
///
/// # Panics
/// It is gone.
pub fn anonymous_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// More than a daemon has at the same time.
const LOOKS: usize = 4;

/// How many descriptors a process has open.
///
/// # Panics
/// It is gone.
pub fn descriptors(id: u32) -> usize {
    open_files(id).len()
}

/// What they are open for, sorted. What the kernel tells about itself is left out: a daemon looks at it for a moment,
/// at any time.
///
/// # Panics
/// It is gone; or looks at the kernel do not end.
pub fn open_files(id: u32) -> Vec<String> {
    let all = std::fs::read_dir(format!("/proc/{id}/fd")).expect("the process is there").flatten();
    // One that was closed meanwhile is not open.
    let links = all.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let is_look = |link: &std::path::PathBuf| link.starts_with("/proc") || link.starts_with("/sys");
    let (looks, files): (Vec<_>, Vec<_>) = links.partition(is_look);
    assert!(looks.len() < LOOKS, "looks that do not end: {looks:?}");
    let mut files: Vec<_> = files.iter().map(|link| link.to_string_lossy().into_owned()).collect();
    files.sort();
    files
}

/// Lets this process have as many descriptors as the system permits, and says how many.
///
/// # Panics
/// Never: a limit may be raised that far.
pub fn allow_descriptors() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("as many descriptors");
    hard
}
