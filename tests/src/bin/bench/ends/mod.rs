//! The two ends of a session: a console that speaks bytes, and a client that speaks WebSocket as briefly as
//! RFC 6455 section 5 permits, or bytes where the relay has no frames. Neither is to cost what a relay does.

use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;

use portcullis_tests::PATIENCE;
pub use portcullis_tests::ends::Stream;
use portcullis_tests::ends::{Frames, send, take};
use portcullis_tests::target::{self, Target};
use portcullis_tests::websocket::{Socket, open_on};

use crate::content::{Content, Framing};
use crate::relay::{Relay, Wire};

/// A session through a relay, seen from both ends.
pub struct Session {
    pub client: Client,
    pub console: TcpStream,
}

/// A client that is let in.
pub struct Client {
    stream: Stream,
    framing: Framing,
    frames: Frames,
}

impl Session {
    /// Opens one.
    ///
    /// # Panics
    /// The relay refuses.
    pub fn open(relay: &mut dyn Relay, target: &Target) -> Self {
        let door = relay.door();
        Self::enter(door, relay.wire(), target)
    }

    /// The same by a way that is known.
    ///
    /// # Panics
    /// The relay refuses.
    pub fn enter((endpoint, token): (SocketAddr, Option<String>), wire: Wire, target: &Target) -> Self {
        let stream = target::connect(endpoint, PATIENCE).expect("the port is open");
        let stream = match wire {
            Wire::Raw => return Self::new(Stream::Plain(stream), Framing::Raw, target),
            Wire::Plain => Stream::Plain(stream),
            Wire::Tls(config) => Stream::tls(config, endpoint, stream),
        };
        Self::through(open_on(stream, endpoint, token.as_deref()), target)
    }

    /// The same by the answer that a client has already.
    ///
    /// # Panics
    /// It is a refusal.
    pub fn through<S: Into<Stream>>(answer: Result<Socket<S>, (u16, String)>, target: &Target) -> Self {
        let stream = answer.expect("a session").into_inner();
        Self::new(stream.into(), Framing::WebSocket, target)
    }

    fn new(stream: Stream, framing: Framing, target: &Target) -> Self {
        let console = target.accept();
        for stream in [stream.socket(), &console] {
            stream.set_nodelay(true).expect("an option");
        }
        Self { client: Client { stream, framing, frames: Frames::new(framing) }, console }
    }

    /// Moves these pieces from console to client, and compares every byte.
    pub fn down(&mut self, content: &Content, pieces: Range<u64>) {
        let Self { client: Client { stream, frames, .. }, console } = self;
        thread::scope(|scope| {
            let sends = pieces.clone();
            scope.spawn(move || send(console, content, &sends, Framing::Raw));
            frames.check(&mut &*stream, content, &pieces);
        });
    }

    /// Moves these pieces from client to console, and compares every byte.
    pub fn up(&mut self, content: &Content, pieces: Range<u64>) {
        let Self { client: Client { stream, framing, .. }, console } = self;
        thread::scope(|scope| {
            let sends = pieces.clone();
            scope.spawn(move || send(&mut &*stream, content, &sends, *framing));
            take(console, content, &pieces);
        });
    }

    /// Moves these pieces both ways at once, and compares every byte.
    pub fn both(&mut self, content: &Content, pieces: Range<u64>) {
        let Self { client: Client { stream, framing, frames }, console } = self;
        let (stream, console, framing) = (&*stream, &*console, *framing);
        let pieces = &pieces;
        thread::scope(|scope| {
            scope.spawn(move || send(&mut &*console, content, pieces, Framing::Raw));
            scope.spawn(move || send(&mut &*stream, content, pieces, framing));
            scope.spawn(move || take(&mut &*console, content, pieces));
            frames.check(&mut &*stream, content, pieces);
        });
    }
}

impl Client {
    /// Makes room for so many bytes of one read.
    pub fn room(&mut self, bytes: usize) {
        self.frames.room(bytes);
    }

    /// Sends these pieces.
    pub fn send(&mut self, content: &Content, pieces: &Range<u64>) {
        send(&mut self.stream, content, pieces, self.framing);
    }

    /// Reads these pieces, and compares every byte; there is [room](Self::room).
    pub fn take(&mut self, content: &Content, pieces: &Range<u64>) {
        self.frames.take(&mut self.stream, content, pieces);
    }

    /// Reads what comes next of `content`, from byte `at` on, and says how much it was; there is
    /// [room](Self::room).
    pub fn take_part(&mut self, content: &Content, at: u64) -> u64 {
        self.frames.part(&mut self.stream, content, at)
    }
}
