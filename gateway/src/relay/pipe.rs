//! The fast way for bytes that nobody has to see: splice(2) moves them from socket to socket through a pipe,
//! as pages, without a copy.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

use super::pool::Pool;
use crate::descriptors;

/// One side of a session.
pub trait Leg: AsyncRead + AsyncWrite + Unpin {
    /// The connection itself, while what is read and written is what it carries; `None` behind TLS, or where
    /// somebody has to see the bytes.
    fn bare(&self) -> Option<&TcpStream>;
}

impl Leg for TcpStream {
    fn bare(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

#[cfg(test)]
impl<S: AsyncRead + AsyncWrite + Unpin> Leg for tokio::io::BufStream<S> {
    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

#[cfg(test)]
impl Leg for tokio::io::DuplexStream {
    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

/// Bytes that a pipe may hold. More would only make a slow client's queue longer.
const PIPE_LEN: i32 = 256 * 1024;
/// Pipes of a core, in use or not. Two descriptors each.
const PIPES: usize = 64;

thread_local! {
    static POOL: RefCell<Pool<Ends>> = const { RefCell::new(Pool::new()) };
    static MADE: Cell<usize> = const { Cell::new(0) };
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe of this core's pool, with bytes in it. Back it goes when all of them are out; with some left it is
/// closed.
pub struct Pipe {
    ends: Option<Ends>,
    len: usize,
}

/// All that can be moved now, without waiting.
const FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_NONBLOCK.union(SpliceFFlags::SPLICE_F_MOVE);

impl Pipe {
    /// An empty pipe. `None` if the core has no more of them, or the system.
    pub fn borrow() -> Option<Self> {
        let ends = POOL.with_borrow_mut(Pool::take).or_else(|| {
            let ends = (MADE.get() < PIPES).then(Ends::new)?.ok()?;
            MADE.set(MADE.get() + 1);
            Some(ends)
        });
        Some(Self { ends: Some(ends?), len: 0 })
    }

    /// Bytes in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Moves what has come on `from` into the pipe, at most `room` bytes. Returns how many; none at the end.
    pub fn poll_fill(
        &mut self,
        from: &TcpStream,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(Ends { write, .. }) = &self.ends else { return Poll::Ready(Ok(0)) };
        let moved = ready!(poll_splice(from, Interest::READABLE, cx, || splice(
            from, None, write, None, room, FLAGS
        )))?;
        self.len += moved;
        Poll::Ready(Ok(moved))
    }

    /// Moves bytes from the pipe to `to`. Returns how many.
    pub fn poll_drain(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(Ends { read, .. }) = &self.ends else { return Poll::Ready(Ok(0)) };
        let len = self.len;
        let moved =
            ready!(poll_splice(to, Interest::WRITABLE, cx, || splice(read, None, to, None, len, FLAGS)))?;
        self.len -= moved;
        Poll::Ready(Ok(moved))
    }
}

fn poll_splice(
    stream: &TcpStream,
    interest: Interest,
    cx: &mut Context<'_>,
    mut go: impl FnMut() -> nix::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(if interest.is_readable() {
            stream.poll_read_ready(cx)
        } else {
            stream.poll_write_ready(cx)
        })?;
        match stream.try_io(interest, || go().map_err(io::Error::from)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return Poll::Ready(outcome),
        }
    }
}

impl Ends {
    fn new() -> nix::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Without a pipe bytes are copied: it is worth no descriptor that somebody waits for.
        if [&read, &write].into_iter().any(descriptors::is_of_reserve) {
            return Err(Errno::EMFILE);
        }
        match fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_LEN)) {
            // Who may have no larger one has the one that there is (pipe(7), `pipe-user-pages-soft`).
            Ok(_) | Err(Errno::EPERM) => Ok(Self { read, write }),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        match self.ends.take() {
            Some(ends) if self.len == 0 => POOL.with_borrow_mut(|pool| pool.put(ends)),
            _ => MADE.set(MADE.get() - 1),
        }
    }
}

/// Closes free pipes of this core that were not needed since the last call.
pub fn trim() {
    MADE.set(MADE.get() - POOL.with_borrow_mut(|pool| pool.trim(0)));
}

#[cfg(test)]
pub mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection.
    pub async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connects");
        (near, listener.accept().await.expect("accepts").0)
    }

    /// Pipes of this thread that wait to be used, and all that there are.
    pub fn pipes() -> (usize, usize) {
        (POOL.with_borrow(Pool::len), MADE.get())
    }

    #[tokio::test]
    async fn bytes_go_through_a_pipe_that_is_used_again() {
        let ((mut source, from), (to, mut sink)) = (connection().await, connection().await);
        for round in 0..3_u8 {
            source.write_all(&[round; 1000]).await.expect("writes");
            let mut pipe = Pipe::borrow().expect("a pipe");
            let moved = poll_fn(|cx| pipe.poll_fill(&from, 600, cx)).await.expect("moves");
            assert_eq!((moved, pipe.len()), (600, 600));
            assert_eq!(poll_fn(|cx| pipe.poll_drain(&to, cx)).await.expect("moves"), 600);
            assert_eq!(poll_fn(|cx| pipe.poll_fill(&from, 600, cx)).await.expect("moves"), 400);
            assert_eq!(poll_fn(|cx| pipe.poll_drain(&to, cx)).await.expect("moves"), 400);
            let mut bytes = [9; 1000];
            sink.read_exact(&mut bytes).await.expect("reads");
            assert_eq!(bytes, [round; 1000]);
            drop(pipe);
            assert_eq!(pipes(), (1, 1));
        }
        drop(source);
        let mut pipe = Pipe::borrow().expect("a pipe");
        assert_eq!(poll_fn(|cx| pipe.poll_fill(&from, 600, cx)).await.expect("moves"), 0, "the end");
    }

    #[tokio::test]
    async fn a_pipe_with_bytes_in_it_is_no_others() {
        let (mut source, from) = connection().await;
        source.write_all(b"secret").await.expect("writes");
        let mut pipe = Pipe::borrow().expect("a pipe");
        poll_fn(|cx| pipe.poll_fill(&from, 6, cx)).await.expect("moves");
        drop(pipe);
        assert_eq!(pipes(), (0, 0));
    }

    #[test]
    fn a_core_has_so_many_and_no_more() {
        let all: Vec<_> = std::iter::from_fn(Pipe::borrow).collect();
        assert_eq!(all.len(), PIPES);
        drop(all);
        assert_eq!(pipes(), (PIPES, PIPES));
        trim();
        trim();
        assert_eq!(pipes(), (0, 0), "nobody needs them");
    }
}
