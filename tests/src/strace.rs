//! Faults at chosen system calls of a running process, by strace(1).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};

use nix::sys::signal::Signal;

use crate::process::Guarded;

/// Calls by which something becomes visible outside of the process.
pub const VISIBLE: &str = "write,writev,pwrite64,ftruncate,fsync,fdatasync,unlink,bpf,socket,bind,listen,\
                           accept4,connect,sendto,shutdown,close";

/// strace on one thread or process; it lets go when the value is dropped.
pub struct Tracer {
    process: Guarded,
    /// It goes on saying what it attaches to, and would die of a closed pipe.
    _said: BufReader<ChildStderr>,
}

impl Tracer {
    /// Writes down who calls what of `calls`; see [`recorded`].
    ///
    /// # Panics
    /// The process cannot be traced.
    pub fn record(id: u32, calls: &str, file: &Path) -> Self {
        Self::start(id, &["-f", "-y", "-o", file.to_str().expect("a path"), "-e", &format!("trace={calls}")])
    }

    /// Kills the process of the thread `tid` when that begins its `nth` call (from 1) of `call`, which is
    /// not done then. The calls are written down too.
    ///
    /// # Panics
    /// The thread cannot be traced.
    pub fn kill_at(tid: u32, call: &str, nth: usize, file: &Path) -> Self {
        let fault = format!("inject={call}:signal=SIGKILL:when={nth}");
        let file = file.to_str().expect("a path");
        Self::start(tid, &["-o", file, "-e", &format!("trace={call}"), "-e", &fault])
    }

    /// Changes the first four bytes of what the thread `tid` hands to its `nth` call (from 1) of `call`, whose second
    /// argument is the buffer. The calls are written down.
    ///
    /// # Panics
    /// The thread cannot be traced.
    pub fn poke(tid: u32, call: &str, nth: usize, file: &Path) -> Self {
        Self::once(tid, call, &format!("poke_enter=@arg2=5a5a5a5a:when={nth}"), file)
    }

    /// Lets the `nth` call (from 1) of `call` of the thread `tid` do nothing, and succeed. The calls are written down.
    ///
    /// # Panics
    /// The thread cannot be traced.
    pub fn skip(tid: u32, call: &str, nth: usize, file: &Path) -> Self {
        Self::once(tid, call, &format!("retval=0:when={nth}"), file)
    }

    fn once(tid: u32, call: &str, fault: &str, file: &Path) -> Self {
        let fault = format!("inject={call}:{fault}");
        let file = file.to_str().expect("a path");
        Self::start(tid, &["-o", file, "-e", &format!("trace={call}"), "-e", &fault])
    }

    /// Lets all of `calls` fail with `error` (`ENOSPC` for one), in all threads of the process.
    ///
    /// # Panics
    /// The process cannot be traced.
    pub fn fail(id: u32, calls: &str, error: &str) -> Self {
        let fault = format!("inject={calls}:error={error}");
        Self::start(id, &["-f", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &fault])
    }

    fn start(id: u32, how: &[&str]) -> Self {
        let mut command = Command::new("strace");
        command.args(["-p", &id.to_string()]).args(how);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Guarded::start(&mut command);
        let mut said = BufReader::new(process.child().stderr.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        assert!(line.contains("attached"), "strace: {line}");
        Self { process, _said: said }
    }

    /// Lets go, and waits until that is done.
    pub fn release(mut self) {
        self.let_go();
    }

    fn let_go(&mut self) {
        // It ends by itself with the process that it traces.
        if self.process.child().try_wait().expect("our child").is_none() {
            self.process.signal(Signal::SIGINT);
        }
        self.process.ended();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Killed, strace would leave its process stopped.
        if !std::thread::panicking() {
            self.let_go();
        }
    }
}

/// A call that a thread began.
#[derive(Debug)]
pub struct Call {
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// It only wakes another thread up.
    pub wakes: bool,
}

/// What a [`Tracer`] wrote down, in the order in which it happened.
///
/// # Panics
/// The file cannot be read.
pub fn recorded(file: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(file).expect("a record");
    let read = |line: &str| {
        let (tid, rest) = line.split_once(' ')?;
        let (name, arguments) = rest.trim_start().split_once('(')?;
        let wakes = arguments.contains("<anon_inode:[eventfd]>");
        let call = Call { tid: tid.parse().expect("a number"), name: name.to_owned(), wakes };
        // The rest of a call that was begun before: `<... accept4 resumed>`.
        (!name.starts_with('<')).then_some(call)
    };
    text.lines().filter_map(read).collect()
}

/// The threads of a process, as `(tid, name)`.
///
/// # Panics
/// It is gone.
pub fn threads(id: u32) -> Vec<(u32, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("the process is there");
    let read = |entry: std::fs::DirEntry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).expect("a name");
        let tid = entry.file_name().to_str().and_then(|tid| tid.parse().ok()).expect("a number");
        (tid, name.trim().to_owned())
    };
    let mut threads: Vec<_> = tasks.map(|entry| read(entry.expect("an entry"))).collect();
    threads.sort();
    threads
}
