//! Terminals, as serial lines and containers have them: what a client finds in front of the line.
//!
//! What was shown before comes first (`history`), what the line itself has to negotiate is answered here
//! (`telnet`), and the size of the client's window is passed on where the line knows of windows.

mod histories;
mod history;
mod question;
mod telnet;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::broker::session::{Size, Window};
use crate::relay::target::TargetStream;

pub use histories::{Histories, Recorder};
use telnet::Telnet;

/// A line with a terminal's manners.
#[derive(Debug)]
pub struct Terminal {
    line: TargetStream,
    /// A program in a terminal of ours speaks none.
    telnet: Option<Telnet>,
    window: Arc<Window>,
    /// What the line was told last.
    size: Option<Size>,
    /// What was shown before, and the client has not got yet.
    replay: Vec<u8>,
    recorder: Option<Recorder>,
}

impl Terminal {
    /// `line` as a client with this window finds it; `recorder` has what the console showed before, and gets
    /// what it shows now.
    pub fn new(line: TargetStream, window: Arc<Window>, recorder: Option<Recorder>) -> Self {
        let telnet = (!matches!(line, TargetStream::Program(_))).then(Telnet::default);
        let replay = recorder.as_ref().map(Recorder::replay).unwrap_or_default();
        Self { line, telnet, window, size: None, replay, recorder }
    }

    fn follow_window(&mut self, cx: &Context<'_>) {
        let size = self.window.watch(cx);
        let Some(size) = size.filter(|size| self.size != Some(*size)) else { return };
        self.size = Some(size);
        if let TargetStream::Program(program) = &self.line {
            program.resize(size);
        } else if let Some(telnet) = &mut self.telnet {
            telnet.resize(size);
        }
    }

    /// Writes what telnet has to say.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(telnet) = &mut self.telnet else { return Poll::Ready(Ok(())) };
        let answers = telnet.answers();
        while !answers.is_empty() {
            match ready!(Pin::new(&mut self.line).poll_write(cx, answers))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => drop(answers.drain(..len)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the line into `room`; what is not for the client is taken out, and may be all of it.
    fn poll_hear(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<Heard>> {
        let before = room.filled().len();
        ready!(Pin::new(&mut self.line).poll_read(cx, room))?;
        let said = &mut room.filled_mut()[before..];
        if said.is_empty() {
            return Poll::Ready(Ok(Heard::End));
        }
        let kept = match &mut self.telnet {
            Some(telnet) => {
                telnet.hear(said).map_err(|endless| io::Error::new(io::ErrorKind::InvalidData, endless))?
            }
            None => said.len(),
        };
        if let Some(recorder) = &self.recorder {
            recorder.write(&said[..kept]);
        }
        room.set_filled(before + kept);
        Poll::Ready(Ok(if kept > 0 { Heard::Something } else { Heard::Nothing }))
    }
}

enum Heard {
    Something,
    /// It was not for the client.
    Nothing,
    End,
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.follow_window(cx);
        loop {
            // A line that takes nothing may still have something to say.
            if let Poll::Ready(Err(error)) = this.poll_answer(cx) {
                return Poll::Ready(Err(error));
            }
            if !this.replay.is_empty() {
                let len = this.replay.len().min(room.remaining());
                room.put_slice(&this.replay[..len]);
                this.replay.drain(..len);
                return Poll::Ready(Ok(()));
            }
            match ready!(this.poll_hear(cx, room))? {
                Heard::Something | Heard::End => return Poll::Ready(Ok(())),
                Heard::Nothing => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_answer(cx))?;
        let Some((telnet, &first)) = this.telnet.as_mut().zip(bytes.first()) else {
            return Pin::new(&mut this.line).poll_write(cx, bytes);
        };
        if let Some(stuffed) = telnet.stuffed(first) {
            telnet.answers().extend(stuffed);
            return Poll::Ready(Ok(1));
        }
        let plain = telnet.plain(bytes);
        Pin::new(&mut this.line).poll_write(cx, &bytes[..plain])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answer(cx))?;
        Pin::new(&mut this.line).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().line).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
