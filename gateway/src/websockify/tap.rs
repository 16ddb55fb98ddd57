//! Somebody who sees what passes between relay and target: a recording that noVNC can play, or signs on standard
//! output. Sessions without either have none.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::relay::open::Leg;

/// A target, and what is done with what passes.
pub struct Tap<T> {
    target: T,
    tape: Option<Tape>,
    signs: bool,
}

/// A recording: a script that makes a list of all that passed, each with its direction and time.
pub struct Tape {
    file: BufWriter<File>,
    began: Instant,
}

/// Which way something goes.
#[derive(Clone, Copy)]
enum Way {
    Down,
    Up,
}

impl<T> Tap<T> {
    /// Shows signs on standard output if `signs`.
    pub const fn new(target: T, tape: Option<Tape>, signs: bool) -> Self {
        Self { target, tape, signs }
    }

    fn passed(&mut self, way: Way, bytes: &[u8]) -> io::Result<()> {
        if self.signs && !bytes.is_empty() {
            let signs = match way {
                Way::Down => "{<",
                Way::Up => "}>",
            };
            // A reader that has gone away is no failure.
            let _ = io::stdout().write_all(signs.as_bytes()).and_then(|()| io::stdout().flush());
        }
        match &mut self.tape {
            Some(tape) if !bytes.is_empty() => tape.write(way, bytes),
            _ => Ok(()),
        }
    }
}

impl Tape {
    /// Begins a new recording at `path`, readable for nobody else: what is typed is in it.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut file = BufWriter::new(file);
        file.write_all(b"var VNC_frame_data = [\n")?;
        Ok(Self { file, began: Instant::now() })
    }

    fn write(&mut self, way: Way, bytes: &[u8]) -> io::Result<()> {
        let brace = match way {
            Way::Down => '{',
            Way::Up => '}',
        };
        writeln!(self.file, "'{brace}{}{brace}{}',", self.began.elapsed().as_millis(), escape(bytes))
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        // Nobody is left who could be told; what is written stays.
        let _ = self.file.write_all(b"'EOF'];\n").and_then(|()| self.file.flush());
    }
}

/// Bytes as characters of a string in JavaScript, between single quotes.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\'' => text.push_str("\\'"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text
}

impl<T: AsyncRead + AsyncWrite + Unpin> Leg for Tap<T> {
    /// All of it has to be seen.
    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tap<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = room.filled().len();
        ready!(Pin::new(&mut this.target).poll_read(cx, room))?;
        Poll::Ready(this.passed(Way::Down, &room.filled()[before..]))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len = ready!(Pin::new(&mut this.target).poll_write(cx, bytes))?;
        Poll::Ready(this.passed(Way::Up, &bytes[..len]).map(|()| len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().target).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().target).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn bytes_are_written_as_python_writes_them() {
        assert_eq!(escape(b"RFB 003.008\n"), "RFB 003.008\\n");
        assert_eq!(escape(b"\0\x7f\xff\r\t'\"\\"), "\\x00\\x7f\\xff\\r\\t\\'\"\\\\");
    }

    #[tokio::test]
    async fn what_passes_is_on_the_tape() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tape");
        let (near, mut far) = tokio::io::duplex(1024);
        let mut tap = Tap::new(near, Some(Tape::begin(&path).expect("a file")), false);
        far.write_all(b"down").await.expect("writes");
        let mut down = [0; 4];
        tap.read_exact(&mut down).await.expect("reads");
        tap.write_all(b"u'p").await.expect("writes");
        drop(tap);
        let text = std::fs::read_to_string(&path).expect("a file");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[3]), (4, "var VNC_frame_data = [", "'EOF'];"), "{text}");
        assert!(lines[1].starts_with("'{") && lines[1].ends_with("{down',"), "{text}");
        assert!(lines[2].starts_with("'}") && lines[2].ends_with("}u\\'p',"), "{text}");
    }
}
