//! What we ask QEMU over its machine protocol (QMP): where is the screen, and are you there?

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::signals;

/// How long QEMU may take to open its socket and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The TCP port of QEMU's VNC server. `alive` fails when QEMU has ended.
pub(crate) fn vnc_port(socket: &Path, alive: impl FnMut() -> Result<()>) -> Result<u16> {
    let answer = answer(socket, "query-vnc", alive)?;
    port(&answer).with_context(|| format!("find the port in QEMU's answer {answer}"))
}

/// Waits until QEMU answers, and so listens wherever it was told to. `alive` fails when it has ended.
pub(crate) fn ready(socket: &Path, alive: impl FnMut() -> Result<()>) -> Result<()> {
    answer(socket, "query-status", alive).map(drop)
}

fn answer(socket: &Path, command: &str, mut alive: impl FnMut() -> Result<()>) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() >= deadline => {
                return Err(error).context("connect to QEMU's control socket");
            }
            Err(_) => {}
        }
        signals::check()?;
        alive()?;
        thread::sleep(Duration::from_millis(20));
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    ask(&stream, &mut lines, "qmp_capabilities")?;
    ask(&stream, &mut lines, command)
}

fn ask(
    mut stream: &UnixStream,
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    command: &str,
) -> Result<Value> {
    stream.write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes())?;
    // A greeting and events may come in between.
    for line in lines {
        let line: Value = serde_json::from_str(&line.context("read from QEMU's control socket")?)?;
        if let Some(error) = line.get("error") {
            bail!("QEMU refused {command}: {error}");
        }
        if let Some(answer) = line.get("return") {
            return Ok(answer.clone());
        }
    }
    bail!("QEMU closed its control socket")
}

/// The service is a string in QMP, as in getaddrinfo(3).
fn port(answer: &Value) -> Option<u16> {
    answer.get("service")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_answer_is_found_among_greeting_and_events() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).expect("bound");
        let qemu = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let answers =
                b"{\"QMP\":{}}\n{\"return\":{}}\n{\"event\":\"X\"}\n{\"return\":{\"service\":\"5903\"}}\n";
            stream.write_all(answers).expect("written");
            // Until the client has read it all.
            BufReader::new(stream).lines().for_each(drop);
        });
        assert_eq!(vnc_port(&socket, || Ok(())).expect("a port"), 5903);
        qemu.join().expect("the peer ends");
    }

    #[test]
    fn a_qemu_that_has_ended_is_not_waited_for() {
        let error = vnc_port(Path::new("/nowhere"), || bail!("it has ended")).expect_err("no socket");
        assert_eq!(error.to_string(), "it has ended");
    }
}
