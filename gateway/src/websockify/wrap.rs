//! A program that is started, and is the target: what becomes of us when it ends, and how it comes to listen on
//! another port than it was told.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// What follows when the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// We end too.
    Exit,
    /// Nothing.
    Ignore,
    /// It is started again.
    Respawn,
}

/// The program.
#[derive(Debug)]
pub struct Program {
    /// It and its arguments; never empty.
    pub command: Vec<String>,
    /// What follows when it ends.
    pub mode: Mode,
    /// How it is moved to another port; `None` for one that listens at the target by itself.
    pub rebinder: Option<Rebinder>,
}

/// `rebind.so`, as distributions ship it with `websockify`: preloaded, it turns what a program binds from one port
/// to another.
#[derive(Debug)]
pub struct Rebinder {
    library: PathBuf,
    from: u16,
    /// A port of loopback that was free.
    pub to: u16,
}

impl Rebinder {
    /// Where the library lies from a folder of programs.
    const PLACES: [&str; 4] =
        ["../lib/websockify/rebind.so", "../lib/rebind.so", "../rebind.so", "rebind.so"];

    /// The library, beside the programs of `PATH`, for a program that would take `port`. `None` where it is not
    /// installed.
    ///
    /// # Errors
    /// There is no free port.
    pub fn find(port: u16) -> io::Result<Option<Self>> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut places =
            env::split_paths(&path).flat_map(|folder| Self::PLACES.map(|place| folder.join(place)));
        let Some(library) = places.find(|place| place.is_file()) else { return Ok(None) };
        let library = library.canonicalize()?;
        let to = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Some(Self { library, from: port, to }))
    }

    fn environment(&self) -> [(&'static str, OsString); 3] {
        let mut preload = self.library.clone().into_os_string();
        if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
            preload.push(":");
            preload.push(others);
        }
        let port = |port: u16| port.to_string().into();
        [("LD_PRELOAD", preload), ("REBIND_OLD_PORT", port(self.from)), ("REBIND_NEW_PORT", port(self.to))]
    }
}

impl Program {
    /// Runs it, again and again where that is asked for. Returns when we are to end, with the code to end with.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn run(&self) -> anyhow::Result<u8> {
        let mut starts = Starts::default();
        loop {
            starts.wait().await;
            let mut running = self.start()?;
            info!(program = self.command[0], pid = running.0.id(), "program started");
            let status = running.0.wait().await.context("wait for the program")?;
            // One that goes on in the background ends like this too.
            info!(program = self.command[0], %status, "program ended");
            match self.mode {
                Mode::Exit => return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
                Mode::Ignore => return pending().await,
                Mode::Respawn => {}
            }
        }
    }

    fn start(&self) -> anyhow::Result<Running> {
        let [program, arguments @ ..] = self.command.as_slice() else { anyhow::bail!("no program") };
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(rebinder) = &self.rebinder {
            command.envs(rebinder.environment());
        }
        Ok(Running(command.spawn().with_context(|| format!("start {program}"))?))
    }
}

/// A program that runs. It is told to end when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Without an id it has ended, and was waited for.
        if let Some(id) = self.0.id() {
            let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM);
        }
    }
}

/// When it was started, the last three times.
#[derive(Default)]
struct Starts(VecDeque<Instant>);

/// The last three starts are to lie so far back, taken together.
const PACE: Duration = Duration::from_secs(10);

impl Starts {
    /// Waits until it may be started again.
    async fn wait(&mut self) {
        if self.0.len() == 3 {
            let wait = too_soon(self.0.iter().map(Instant::elapsed));
            if !wait.is_zero() {
                warn!("the program ends too soon, again and again");
                sleep(wait).await;
            }
            self.0.pop_front();
        }
        self.0.push_back(Instant::now());
    }
}

/// For how long three starts are too near, which lie so far back.
fn too_soon(back: impl Iterator<Item = Duration>) -> Duration {
    PACE.saturating_sub(back.sum::<Duration>() / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(back: [u64; 3], wait: u64) {
        assert_eq!(
            too_soon(back.map(Duration::from_secs).into_iter()),
            Duration::from_secs(wait),
            "{back:?}"
        );
    }

    #[test]
    fn three_starts_in_ten_seconds_are_enough() {
        check([0, 0, 0], 10);
        check([6, 3, 0], 7);
        check([20, 10, 0], 0);
        check([3600, 0, 0], 0);
    }

    #[tokio::test]
    async fn the_end_of_the_program_is_ours_or_not() {
        let program = |script: &str, mode| Program {
            command: ["sh", "-c", script].map(str::to_owned).into(),
            mode,
            rebinder: None,
        };
        assert_eq!(program("exit 3", Mode::Exit).run().await.expect("runs"), 3);
        assert_eq!(program("kill -9 $$", Mode::Exit).run().await.expect("runs"), 1);
        let none = Program { command: vec!["/none/such".into()], mode: Mode::Exit, rebinder: None };
        assert!(none.run().await.is_err());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runs");
        let script = format!("echo x >> {}", path.display());
        let twice = async {
            let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
            while lines() < 2 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let respawned = program(&script, Mode::Respawn);
        tokio::select! {
            _ = respawned.run() => panic!("it ended"),
            () = twice => {}
        }
    }
}
