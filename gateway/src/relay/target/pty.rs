//! Targets that are a program in a terminal of its own: `lxc-console`, `virsh console`, `docker exec`. What may
//! be run is in the configuration; an instance names a command, and fills in whole arguments.
//!
//! There is no shell. The program has its own user, an empty environment but for what a terminal needs, and a
//! process group of its own, which is gone when its session is.

use std::collections::HashMap;
use std::os::unix::fs::fchown;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Group, Pid, Uid, User, geteuid};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::Child;
use tokio::time::sleep;

use crate::broker::session::Size;
use crate::broker::target::CommandLine;
use crate::config::commands::{Template, Word};

/// Time that a program has to take leave in.
const GRACE: Duration = Duration::from_secs(1);

/// What a terminal needs, and nothing of ours.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("TERM", "xterm-256color"),
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
];

/// The commands of the configuration, with their users looked up.
#[derive(Debug, Default)]
pub struct Commands(HashMap<String, Command>);

#[derive(Debug)]
struct Command {
    words: Vec<Word>,
    account: Account,
}

/// Whom a program belongs to.
#[derive(Debug)]
enum Account {
    /// Us.
    Own,
    /// Somebody else, who has no group but this.
    Other(Uid, Gid, String),
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// An instance names a command that is not in the configuration.
    #[error("there is no command {0:?} in the configuration")]
    Unknown(String),
    /// An instance has too few arguments for it, or too many.
    #[error("command {name:?} takes {wanted} arguments, and the instance has {given}")]
    Arguments {
        /// The command.
        name: String,
        /// How many there have to be.
        wanted: usize,
        /// How many there are.
        given: usize,
    },
    /// A user or group of the configuration that is not on this machine.
    #[error("command {name:?}: there is no {kind} {account:?}")]
    NoAccount {
        /// The command.
        name: String,
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        account: String,
    },
    /// Only root may run programs for others.
    #[error("command {name:?}: to run as {account:?} the gateway has to be root")]
    NotRoot {
        /// The command.
        name: String,
        /// The user.
        account: String,
    },
    /// The system does not run it.
    #[error("run {name:?}: {source}")]
    Run {
        /// The command.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Commands {
    /// Looks up who runs them.
    ///
    /// # Errors
    /// [`CommandError::NoAccount`], [`CommandError::NotRoot`].
    pub fn new(templates: &HashMap<String, Template>) -> Result<Self, CommandError> {
        let command = |(name, template): (&String, &Template)| {
            let account = account(name, template)?;
            Ok((name.clone(), Command { words: template.words.clone(), account }))
        };
        templates.iter().map(command).collect::<Result<_, _>>().map(Self)
    }

    /// Runs what `line` names in a new terminal of `size`.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn run(&self, line: &CommandLine, size: Option<Size>) -> Result<Program, CommandError> {
        let name = &line.name;
        let command = self.0.get(name).ok_or_else(|| CommandError::Unknown(name.clone()))?;
        let words = command.fill(line)?;
        let run = |source| CommandError::Run { name: name.clone(), source };
        command.spawn(&words, size).map_err(|error| run(io::Error::other(error)))
    }
}

impl Command {
    fn fill<'a>(
        &'a self,
        CommandLine { name, arguments }: &'a CommandLine,
    ) -> Result<Vec<&'a str>, CommandError> {
        let wanted = Word::arguments(&self.words);
        if arguments.len() != wanted {
            return Err(CommandError::Arguments { name: name.clone(), wanted, given: arguments.len() });
        }
        let word = |word: &'a Word| match word {
            Word::Fixed(text) => text.as_str(),
            Word::Argument(index) => arguments[*index].as_str(),
        };
        Ok(self.words.iter().map(word).collect())
    }

    fn spawn(&self, words: &[&str], size: Option<Size>) -> Result<Program, pty_process::Error> {
        // A new terminal can be inherited for a moment. Two programs that start at a time would be one that has
        // the other's console.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (terminal, inside) = pty_process::open()?;
        if let Some(size) = size {
            terminal.resize(pty_process::Size::new(size.rows, size.columns))?;
        }
        let mut command = pty_process::Command::new(words[0]).args(&words[1..]);
        command = command.env_clear().envs(ENVIRONMENT).current_dir("/");
        if let Account::Other(user, group, home) = &self.account {
            fchown(&inside, Some(user.as_raw()), Some(group.as_raw()))?;
            command = command.uid(user.as_raw()).gid(group.as_raw()).env("HOME", home);
        }
        let child = command.spawn(inside)?;
        Ok(Program { terminal, end: End(Some(child)) })
    }
}

fn account(name: &str, template: &Template) -> Result<Account, CommandError> {
    let Some(user) = &template.user else { return Ok(Account::Own) };
    let missing =
        |kind, account: &str| CommandError::NoAccount { name: name.into(), kind, account: account.into() };
    let found = User::from_name(user).ok().flatten().ok_or_else(|| missing("user", user))?;
    let gid = match &template.group {
        None => found.gid,
        Some(group) => Group::from_name(group).ok().flatten().ok_or_else(|| missing("group", group))?.gid,
    };
    match geteuid() {
        own if own.is_root() => Ok(Account::Other(found.uid, gid, found.dir.to_string_lossy().into_owned())),
        own if own == found.uid && template.group.is_none() => Ok(Account::Own),
        _ => Err(CommandError::NotRoot { name: name.into(), account: user.clone() }),
    }
}

/// A running program, as what it shows and what is typed. Dropped, it ends.
pub struct Program {
    terminal: pty_process::Pty,
    end: End,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Program {
    /// Its window has another size now.
    pub fn resize(&self, Size { columns, rows }: Size) {
        // A program that is gone has no window.
        let _ = self.terminal.resize(pty_process::Size::new(rows, columns));
    }
}

impl AsyncRead for Program {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.get_mut().terminal).poll_read(cx, room) {
            // What Linux says of a terminal that nobody has open any more.
            Poll::Ready(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => Poll::Ready(Ok(())),
            read => read,
        }
    }
}

impl AsyncWrite for Program {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().terminal).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Ends a program and all of its group: it hears that its terminal is gone, and has [`GRACE`] to go itself.
#[derive(Debug)]
struct End(Option<Child>);

impl Drop for End {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        // INVARIANT: nobody waits for the child before its group is killed, so that its number is nobody else's.
        let Some(group) = child.id().map(|id| Pid::from_raw(id as i32)) else { return };
        let _ = killpg(group, Signal::SIGHUP);
        let killed = Killed(group);
        tokio::spawn(async move {
            sleep(GRACE).await;
            drop(killed);
            let _ = child.wait().await;
        });
    }
}

/// A group that is killed when this is dropped, be it because the runtime is.
struct Killed(Pid);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    fn commands(words: &[&str]) -> Commands {
        let words = words.iter().map(|word| Word::read(word).expect("a word")).collect();
        let template = Template { words, user: None, group: None };
        Commands::new(&HashMap::from([("x".to_owned(), template)])).expect("our own account")
    }

    fn line(arguments: &[&str]) -> CommandLine {
        CommandLine { name: "x".into(), arguments: arguments.iter().map(|text| (*text).to_owned()).collect() }
    }

    /// All that a program shows, to its end.
    async fn shown(commands: &Commands, arguments: &[&str], size: Option<Size>) -> String {
        let mut program = commands.run(&line(arguments), size).expect("runs");
        let mut shown = Vec::new();
        timeout(Duration::from_secs(60), program.read_to_end(&mut shown))
            .await
            .expect("ends")
            .expect("reads");
        String::from_utf8_lossy(&shown).into_owned()
    }

    #[tokio::test]
    async fn a_program_has_a_terminal_and_nothing_of_ours() {
        let size = Some(Size { columns: 100, rows: 30 });
        let script = "stty size; tty; env; pwd; ls -l /proc/self/fd | grep -c ptmx";
        let shown = shown(&commands(&["/bin/sh", "-c", script]), &[], size).await;
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "30 100");
        assert!(lines[1].starts_with("/dev/pts/"), "{shown}");
        assert!(!shown.contains("CARGO"), "{shown}");
        // And not the other side of it.
        assert_eq!(lines[lines.len() - 2..], ["/", "0"], "{shown}");
    }

    #[tokio::test]
    async fn arguments_are_whole_and_there_is_no_shell() {
        let echo = commands(&["/bin/echo", "a b", "{2}", "{1}", "$HOME;id"]);
        assert_eq!(shown(&echo, &["one", "two"], None).await, "a b two one $HOME;id\r\n");
        let wrong = echo.run(&line(&["one"]), None).expect_err("one is missing");
        assert_eq!(wrong.to_string(), "command \"x\" takes 2 arguments, and the instance has 1");
        let unknown = CommandLine { name: "y".into(), arguments: Vec::new() };
        assert!(matches!(echo.run(&unknown, None), Err(CommandError::Unknown(_))));
        let missing = commands(&["/nonexistent/program"]).run(&line(&[]), None);
        assert!(matches!(missing, Err(CommandError::Run { .. })), "{missing:?}");
    }

    #[tokio::test]
    async fn a_program_ends_with_its_session_and_all_of_its_group() {
        let script =
            "trap '' HUP; (trap '' HUP; sleep 1000) & echo $! $$; read line; echo got $line; sleep 1000";
        let mut program = commands(&["/bin/sh", "-c", script]).run(&line(&[]), None).expect("runs");
        program.write_all(b"text\n").await.expect("writes");
        let mut shown = String::new();
        while !shown.contains("got text") {
            let mut bytes = [0; 256];
            let len = timeout(Duration::from_secs(60), program.read(&mut bytes))
                .await
                .expect("says")
                .expect("reads");
            shown.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
        let numbers = shown.lines().find(|line| line.split(' ').all(|word| word.parse::<u32>().is_ok()));
        let numbers: Vec<String> = numbers.expect("numbers").split(' ').map(str::to_owned).collect();
        drop(program);
        let gone = async {
            // One that is dead and not waited for yet has no command line any more.
            let lives = |number: &String| {
                fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|text| !text.is_empty())
            };
            while numbers.iter().any(lives) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(60), gone).await.expect("both are gone");
    }

    #[test]
    fn an_account_has_to_be_there() {
        let template = |user: &str| Template {
            words: vec![Word::Fixed("/bin/true".into())],
            user: Some(user.into()),
            group: None,
        };
        let made = |user| Commands::new(&HashMap::from([("x".to_owned(), template(user))]));
        let error = made("no-such-user").expect_err("nobody is called so");
        assert_eq!(error.to_string(), "command \"x\": there is no user \"no-such-user\"");
        match made("nobody") {
            Ok(commands) => assert!(geteuid().is_root(), "{commands:?}"),
            Err(error) => assert!(matches!(error, CommandError::NotRoot { .. }), "{error}"),
        }
    }
}
