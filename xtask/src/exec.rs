//! Child commands: each is printed before it runs, and waited for with one eye on the stop signals.

use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{family, signals};

/// How often a wait looks at child and signals. Short beside anything we run.
const TICK: Duration = Duration::from_millis(25);
/// What a child gets between SIGTERM and SIGKILL. The gateway's own grace is 10 s.
const GRACE: Duration = Duration::from_secs(15);

/// Runs a command to its end; a stop signal is passed on to it. Failure names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    signals::check()?;
    show(command);
    let mut child = start(command)?;
    let status = loop {
        // What ends beside it, and has lost its parent, is not left lying until then.
        family::reap_orphans(child.id());
        if let Some(status) = poll(&mut child)? {
            break status;
        }
        if let Some(halt) = signals::stop() {
            end(&mut child)?;
            return Err(halt.into());
        }
        thread::sleep(TICK);
    };
    // A child that shared our Ctrl-C has failed because of it, not by itself.
    signals::check()?;
    succeed(command, status)
}

/// Runs a command to its end whatever the signals say: half a package installation, or a clean-up cut
/// short, is worse than a late stop.
pub(crate) fn run_to_end(command: &mut Command) -> Result<()> {
    show(command);
    let status = start(command)?.wait().with_context(|| format!("wait for {}", name(command)))?;
    succeed(command, status)
}

/// Runs a short command and returns what it wrote on stdout; its stderr goes into the error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", name(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a short command and returns all it said, also when it failed.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    show(command);
    command.stdin(Stdio::null()).output().with_context(|| format!("start {}", name(command)))
}

/// Sends SIGTERM, waits, and sends SIGKILL to what has not listened.
pub(crate) fn end(child: &mut Child) -> Result<()> {
    if poll(child)?.is_some() {
        // Its id may be another's by now.
        return Ok(());
    }
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    // The child may have gone in between; wait() below tells.
    let _ = kill(pid, Signal::SIGTERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if poll(child)?.is_some() {
            return Ok(());
        }
        thread::sleep(TICK);
    }
    let _ = child.kill();
    child.wait().context("wait for a child that was killed")?;
    Ok(())
}

/// Prints a command the way a shell would take it, dim where that is possible.
pub(crate) fn show(command: &Command) {
    let line = render(command);
    if std::io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none() {
        eprintln!("\x1b[2m$ {line}\x1b[0m");
    } else {
        eprintln!("$ {line}");
    }
}

/// Where a command is: in `PATH`, in cargo's own folder, or in the folders of system tools that the
/// `PATH` of an ordinary Debian user lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(cargo_bin())
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

/// A command by name, from wherever [`find`] sees it.
pub(crate) fn command(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| program.into()))
}

/// The folder that `cargo install` fills.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo"))).map(|home| home.join("bin"))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn start(command: &mut Command) -> Result<Child> {
    // Our own prompt reads the terminal; a child that reads it too would take its lines.
    command.stdin(Stdio::null()).spawn().with_context(|| format!("start {}", name(command)))
}

fn poll(child: &mut Child) -> Result<Option<ExitStatus>> {
    child.try_wait().context("wait for a child")
}

fn succeed(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} failed ({status})", name(command));
    }
    Ok(())
}

/// Program and first argument: enough to know which one failed.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().next().map(|first| first.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

fn render(command: &Command) -> String {
    let mut words = Vec::new();
    for (key, value) in command.get_envs() {
        // PATH is only ever lengthened, and would hide the rest of the line.
        if let (Some(value), true) = (value, key != "PATH") {
            words.push(format!("{}={}", key.to_string_lossy(), quote(value)));
        }
    }
    words.push(quote(command.get_program()));
    words.extend(command.get_args().map(quote));
    let line = words.join(" ");
    match command.get_current_dir() {
        Some(folder) => format!("(cd {} && {line})", quote(folder.as_os_str())),
        None => line,
    }
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    if word.chars().any(char::is_control) {
        return format!("$'{}'", word.chars().map(escape).collect::<String>());
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// One character inside the shell's `$'...'`.
fn escape(c: char) -> String {
    match c {
        '\'' | '\\' => format!("\\{c}"),
        c if c.is_ascii_control() => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_can_be_pasted_into_a_shell() {
        let mut command = Command::new("cargo");
        command.arg("build").arg("two words").arg("it's").env("FLAGS", "a\u{1f}b").env("PATH", "/x");
        command.env_remove("GONE");
        assert_eq!(render(&command), r"FLAGS=$'a\x1fb' cargo build 'two words' 'it'\''s'");
        command.current_dir("/some where");
        assert!(render(&command).starts_with("(cd '/some where' && "));
    }

    #[test]
    fn a_failed_command_is_named() {
        let error = run_to_end(Command::new("false").arg("argument")).expect_err("false fails");
        assert_eq!(error.to_string(), "`false argument` failed (exit status: 1)");
    }
}
