//! The two ends of a session: a console that speaks bytes, and a client that speaks WebSocket as briefly as
//! RFC 6455 section 5 permits. Neither is to cost what a relay does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::thread;

use portcullis_tests::target::Target;
use portcullis_tests::websocket::{Socket, open_with};

use crate::content::{Content, PIECE};
use crate::relay::Relay;

/// Longest header of a server's frame.
const HEADER_MAX: usize = 10;

/// A session through a relay, seen from both ends.
pub struct Session {
    client: Client,
    console: TcpStream,
}

/// Reads the frames of a server.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What is read and not looked at.
    raw: Range<usize>,
    /// Payload of the frame under way that is still to come, and whether it is data.
    left: (u64, bool),
}

impl Session {
    /// Opens one.
    ///
    /// # Panics
    /// The relay refuses.
    pub fn open(relay: &mut dyn Relay, target: &Target) -> Self {
        let (endpoint, token) = relay.door();
        Self::through(open_with(endpoint, token.as_deref()), target)
    }

    /// The same by the answer that a client has already.
    ///
    /// # Panics
    /// It is a refusal.
    pub fn through(answer: Result<Socket, (u16, String)>, target: &Target) -> Self {
        let socket = answer.expect("a session");
        let stream = socket.get_ref().try_clone().expect("a descriptor");
        Self { client: Client::new(stream), console: target.accept() }
    }

    /// Moves these pieces from console to client, and compares every byte.
    pub fn down(&mut self, content: &Content, pieces: Range<u64>) {
        let Self { client, console } = self;
        thread::scope(|scope| {
            let sends = pieces.clone();
            scope.spawn(move || {
                for number in sends {
                    console.write_all(content.piece(number)).expect("the console writes");
                }
            });
            client.check(content, bytes(&pieces));
        });
    }

    /// Moves these pieces from client to console, and compares every byte.
    pub fn up(&mut self, content: &Content, pieces: Range<u64>) {
        let Self { client, console } = self;
        thread::scope(|scope| {
            let sends = pieces.clone();
            scope.spawn(move || {
                for number in sends {
                    client.stream.write_all(content.frame(number)).expect("the client writes");
                }
            });
            let mut buffer = vec![0; 4 * PIECE];
            let Range { start: mut at, end } = bytes(&pieces);
            while at < end {
                let len = console.read(&mut buffer).expect("the console reads");
                assert_ne!(len, 0, "an end at byte {at}");
                content.check(at, &buffer[..len]);
                at += len as u64;
            }
            assert_eq!(at, end, "too many bytes");
        });
    }
}

fn bytes(pieces: &Range<u64>) -> Range<u64> {
    pieces.start * PIECE as u64..pieces.end * PIECE as u64
}

impl Client {
    const fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new(), raw: 0..0, left: (0, false) }
    }

    /// Reads what stands from byte to byte of `content`.
    fn check(&mut self, content: &Content, Range { start: mut at, end }: Range<u64>) {
        self.buffer.resize(4 * PIECE, 0);
        while at < end {
            let payload = self.next();
            content.check(at, &self.buffer[payload.clone()]);
            at += payload.len() as u64;
        }
        assert_eq!(at, end, "too many bytes");
        self.take_controls();
        // Thousands are open and idle: of those, each keeps only what it has to.
        self.buffer = self.buffer[self.raw.clone()].to_vec();
        self.raw = 0..self.buffer.len();
    }

    /// Takes what may stand behind the last message: pings of a relay that asks whether its client is there.
    fn take_controls(&mut self) {
        while !self.raw.is_empty() {
            let (left, data) = self.left;
            assert!(left == 0 || !data, "bytes behind the last message");
            let len = left.min(self.raw.len() as u64);
            if len == 0 && !self.header() {
                return;
            }
            self.raw.start += len as usize;
            self.left.0 -= len;
        }
    }

    /// A part of a message.
    fn next(&mut self) -> Range<usize> {
        loop {
            let (left, data) = self.left;
            let len = left.min(self.raw.len() as u64);
            if len > 0 {
                let part = self.raw.start..self.raw.start + len as usize;
                self.raw.start = part.end;
                self.left.0 -= len;
                if data {
                    return part;
                }
            } else if left > 0 || !self.header() {
                self.read();
            }
        }
    }

    /// Takes a frame's header, if all of it is there.
    fn header(&mut self) -> bool {
        let raw = &self.buffer[self.raw.clone()];
        let (Some(&first), Some(&second)) = (raw.first(), raw.get(1)) else { return false };
        let used = match second {
            ..=125 => 2,
            126 => 4,
            127 => HEADER_MAX,
            _ => panic!("a server's frame has a mask"),
        };
        if raw.len() < used {
            return false;
        }
        let long = raw[2..used].iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        let len = if used == 2 { u64::from(second) } else { long };
        let data = match first & 0x0f {
            0..=2 => true,
            9 | 10 => false,
            opcode => panic!("a frame with opcode {opcode}"),
        };
        self.raw.start += used;
        self.left = (len, data);
        true
    }

    fn read(&mut self) {
        // Only the beginning of a header can be left, which goes to the front.
        self.buffer.copy_within(self.raw.clone(), 0);
        let kept = self.raw.len();
        let len = self.stream.read(&mut self.buffer[kept..]).expect("the client reads");
        assert_ne!(len, 0, "an end in the middle");
        self.raw = 0..kept + len;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn frames_are_read_wherever_they_are_cut() {
        let content = Content::new(1);
        let whole = [content.piece(0), content.piece(1)].concat();
        let (short, rest) = whole.split_at(100);
        let (middle, long) = rest.split_at(1000);
        let frames = [
            &[0x82, 100][..],
            short,
            &[0x89, 2, 7, 7],
            &[0x82, 126, 3, 232],
            middle,
            &[0x02, 127, 0, 0, 0, 0, 0, 1, 0xfb, 0xb4],
            long,
            &[0x89, 2, 7, 7],
        ]
        .concat();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let (mut server, _) = listener.accept().expect("a connection");
        server.set_nodelay(true).expect("an option");
        let writes =
            thread::spawn(move || frames.chunks(7).for_each(|part| server.write_all(part).expect("writes")));
        Client::new(stream).check(&content, bytes(&(0..2)));
        writes.join().expect("writes all");
    }
}
