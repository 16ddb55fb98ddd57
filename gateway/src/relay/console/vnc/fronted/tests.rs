//! Clients of every kind, good and bad, in front of a target that waits for ClientInit.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional_with_sizes, duplex};
use tokio::time::timeout;

use super::super::tests::run;
use super::*;
use crate::relay::pulse::Pace;
use crate::relay::pump;
use crate::relay::pump::{End, RelayError};
use crate::relay::traffic::Traffic;

/// What a client of each version says up to its choice, and what it hears by then.
const CLIENTS: [(&[u8], &[u8]); 3] = [
    (b"RFB 003.003\n", b"RFB 003.008\n\0\0\0\x01"),
    (b"RFB 003.007\n\x01", b"RFB 003.008\n\x01\x01"),
    (b"RFB 003.008\n\x01", b"RFB 003.008\n\x01\x01\0\0\0\0"),
];

const FROM_CLIENT: &[u8] = b"\x01 and all that a client says after ClientInit";
const FROM_TARGET: &[u8] = b"ServerInit and all that a target says";

async fn reads(from: &mut (impl AsyncRead + Unpin), len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).await.expect("reads");
    bytes
}

async fn write_parts(to: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], parts: &[usize]) {
    for part in parts.iter().cycle() {
        let (now, later) = bytes.split_at(bytes.len().min(*part));
        to.write_all(now).await.expect("writes");
        tokio::task::yield_now().await;
        bytes = later;
        if bytes.is_empty() {
            return;
        }
    }
}

/// A target that says what it has to say as soon as the client's first byte is there, and returns what it
/// heard.
async fn target(mut pipe: DuplexStream) -> Vec<u8> {
    let mut heard = reads(&mut pipe, 1).await;
    pipe.write_all(FROM_TARGET).await.expect("writes");
    pipe.shutdown().await.expect("ends");
    pipe.read_to_end(&mut heard).await.expect("reads");
    heard
}

proptest! {
    /// However the client's bytes are cut, waited for or said at once: each side hears its own.
    #[test]
    fn both_sides_hear_what_is_theirs(
        client in 0..CLIENTS.len(),
        waits in any::<bool>(),
        parts in proptest::collection::vec(1_usize..80, 1..8),
        rooms in [1_usize..80, 1..80],
        sizes in [1_usize..80, 1..80],
    ) {
        let (says, hears) = CLIENTS[client];
        let (mut client, mut client_side) = duplex(rooms[0]);
        let (target_side, far) = duplex(rooms[1]);
        let mut fronted = Fronted::new(target_side);
        let (heard_by_client, heard_by_target) = run(async {
            let relay = copy_bidirectional_with_sizes(&mut client_side, &mut fronted, sizes[0], sizes[1]);
            let play = async {
                let (mut from, mut to) = tokio::io::split(&mut client);
                let says = [says, FROM_CLIENT].concat();
                let talk = async {
                    write_parts(&mut to, &says, &parts).await;
                    to.shutdown().await.expect("ends");
                };
                let mut heard = Vec::new();
                if waits {
                    heard = reads(&mut from, VERSION_LEN).await;
                }
                let listen = async {
                    from.read_to_end(&mut heard).await.expect("reads");
                    heard
                };
                tokio::join!(talk, listen).1
            };
            let (_, heard_by_client, heard_by_target) = tokio::join!(relay, play, target(far));
            (heard_by_client, heard_by_target)
        });
        prop_assert_eq!(heard_by_client, [hears, FROM_TARGET].concat());
        prop_assert_eq!(heard_by_target, FROM_CLIENT);
    }

    /// A client whose answer is anything else never reaches the target with a byte.
    #[test]
    fn a_bad_answer_reaches_nobody(
        version in 0..CLIENTS.len(),
        at in 0_usize..13,
        wrong in any::<u8>(),
        parts in proptest::collection::vec(1_usize..20, 1..8),
    ) {
        let mut says = CLIENTS[version].0.to_vec();
        let at = at.min(says.len() - 1);
        says[at] = wrong;
        says.extend(FROM_CLIENT);
        prop_assume!(!CLIENTS.iter().any(|(good, _)| says.starts_with(good)));
        let (near, mut far) = duplex(1024);
        let mut fronted = Fronted::new(near);
        let heard = run(async {
            let mut parts = parts.iter().cycle();
            let mut rest = &says[..];
            let error = loop {
                let part = rest.len().min(*parts.next().expect("a cycle"));
                match fronted.write(&rest[..part]).await {
                    Ok(len) => rest = &rest[len..],
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            // What was due before can be read, and then the same error.
            let mut due = Vec::new();
            let again = fronted.read_to_end(&mut due).await.expect_err("a bad answer");
            assert_eq!(again.kind(), io::ErrorKind::InvalidData);
            assert!(due.starts_with(b"RFB 003.008\n"));
            assert!(fronted.write(FROM_CLIENT).await.is_err());
            drop(fronted);
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).await.expect("reads");
            heard
        });
        prop_assert_eq!(heard, b"");
    }
}

#[test]
fn a_bad_answer_is_named() {
    let check = |says: &[u8], expected: ProtocolError| {
        let (near, _far) = duplex(64);
        let error = run(async { Fronted::new(near).write_all(says).await }).expect_err("a bad answer");
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ProtocolError>());
        assert_eq!(inner, Some(&expected), "{says:?}: {error}");
    };
    check(b"RFB 003.005\n", NO_VERSION);
    check(b"RFB 003.889\n", NO_VERSION);
    check(b"GET / HTTP/1.1", NO_VERSION);
    check(b"RFB 003.008\n\x02", NOT_OFFERED);
    check(b"RFB 003.007\n\0", NOT_OFFERED);
}

#[test]
fn the_servers_bytes_come_at_their_time_and_in_pieces() {
    run(async {
        let (near, mut far) = duplex(64);
        let mut fronted = Fronted::new(near);
        far.write_all(b"too early").await.expect("writes");
        assert_eq!(reads(&mut fronted, 5).await, b"RFB 0");
        assert_eq!(reads(&mut fronted, 7).await, b"03.008\n");
        nothing_to_read(&mut fronted).await;
        fronted.write_all(b"RFB 003.008").await.expect("writes");
        nothing_to_read(&mut fronted).await;
        fronted.write_all(b"\n").await.expect("writes");
        assert_eq!(reads(&mut fronted, 2).await, [1, 1]);
        nothing_to_read(&mut fronted).await;
        fronted.write_all(b"\x01").await.expect("writes");
        assert_eq!(reads(&mut fronted, 4 + 9).await, b"\0\0\0\0too early");
        assert!(fronted.front.is_none());
    });
}

async fn nothing_to_read(fronted: &mut Fronted<DuplexStream>) {
    let mut byte = [0];
    let read = timeout(Duration::from_secs(1), fronted.read(&mut byte)).await;
    assert!(read.is_err(), "{read:?} {byte:?}");
}

/// Counts its wakes.
#[derive(Default)]
struct Sleeper(AtomicUsize);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whatever the client does, who waits for bytes is woken, by name.
#[test]
fn an_answer_wakes_who_reads() {
    let check = |before: &[u8], act: fn(Pin<&mut Fronted<DuplexStream>>, &mut Context<'_>)| {
        let (near, _far) = duplex(64);
        let mut fronted = Fronted::new(near);
        let (reader, writer) = (Arc::new(Sleeper::default()), Arc::new(Sleeper::default()));
        let wakers = (reader.clone().into(), writer.clone().into());
        let (mut reads, mut writes) = (Context::from_waker(&wakers.0), Context::from_waker(&wakers.1));
        let written = Pin::new(&mut fronted).poll_write(&mut writes, before);
        assert!(matches!(written, Poll::Ready(Ok(len)) if len == before.len()));
        let mut room = [0; 64];
        let mut room = ReadBuf::new(&mut room);
        while Pin::new(&mut fronted).poll_read(&mut reads, &mut room).is_ready() {}
        assert_eq!(reader.0.load(Ordering::Relaxed), 0);
        act(Pin::new(&mut fronted), &mut writes);
        assert_eq!(reader.0.load(Ordering::Relaxed), 1);
        assert_eq!(writer.0.load(Ordering::Relaxed), 0);
    };
    check(b"RFB 003.008", |fronted, cx| assert!(fronted.poll_write(cx, b"\n").is_ready()));
    check(b"RFB 003.003", |fronted, cx| assert!(fronted.poll_write(cx, b"\n").is_ready()));
    check(b"RFB 003.007\n", |fronted, cx| assert!(fronted.poll_write(cx, b"\x01").is_ready()));
    check(b"RFB 003.008\n", |fronted, cx| assert!(fronted.poll_write(cx, b"\x01").is_ready()));
    check(b"RFB 003.008\n", |fronted, cx| assert!(fronted.poll_write(cx, b"\x02").is_ready()));
    check(b"RFB 003.008\n", |fronted, cx| {
        let parts = [IoSlice::new(b""), IoSlice::new(b"\x01"), IoSlice::new(b"behind")];
        assert!(matches!(fronted.poll_write_vectored(cx, &parts), Poll::Ready(Ok(1))));
    });
    check(b"RFB", |fronted, cx| assert!(fronted.poll_shutdown(cx).is_ready()));
}

/// The two halves in tasks of their own: only a waker leads from one to the other.
#[test]
fn reader_and_writer_may_be_two_tasks() {
    for (says, hears) in CLIENTS {
        run(async {
            let (near, far) = duplex(16);
            let (mut from, mut to) = tokio::io::split(Fronted::new(near));
            let target = tokio::spawn(target(far));
            let reader = tokio::spawn(async move {
                let mut heard = Vec::new();
                from.read_to_end(&mut heard).await.expect("reads");
                heard
            });
            write_parts(&mut to, &[says, FROM_CLIENT].concat(), &[1]).await;
            to.shutdown().await.expect("ends");
            assert_eq!(reader.await.expect("no panic"), [hears, FROM_TARGET].concat());
            assert_eq!(target.await.expect("no panic"), FROM_CLIENT);
        });
    }
}

/// The pump takes it as any other target; here a client says all of its part in one frame.
#[test]
fn the_pump_runs_it() {
    run(async {
        let (mut client, client_side) = duplex(1024);
        let (near, far) = duplex(1024);
        let pace = Pace { peer: Duration::ZERO, idle: Duration::ZERO, longest: Duration::ZERO };
        let traffic = Traffic::default();
        let pump = pump::tests::run(client_side, Fronted::new(near), &[], &pace, &traffic, pending());
        let play = async {
            let says = [CLIENTS[2].0, FROM_CLIENT].concat();
            client.write_all(&[0x82, 0x80 | says.len() as u8, 0, 0, 0, 0]).await.expect("writes");
            client.write_all(&says).await.expect("writes");
            let mut heard = Vec::new();
            loop {
                let first = client.read_u8().await.expect("reads");
                let len = client.read_u8().await.expect("reads");
                let payload = reads(&mut client, len.into()).await;
                if first != 0x82 {
                    drop(client);
                    break heard;
                }
                heard.extend(payload);
            }
        };
        let target = async {
            let mut far = far;
            let heard = reads(&mut far, FROM_CLIENT.len()).await;
            far.write_all(FROM_TARGET).await.expect("writes");
            heard
        };
        let (end, heard_by_client, heard_by_target) = tokio::join!(pump, play, target);
        assert_eq!(end.expect("no error"), End::TargetClosed);
        assert_eq!(heard_by_client, [CLIENTS[2].1, FROM_TARGET].concat());
        assert_eq!(heard_by_target, FROM_CLIENT);
    });
}

/// The fault is told by close code and end, though it is the target's side that fails.
#[test]
fn the_pump_blames_the_client() {
    run(async {
        let (mut client, client_side) = duplex(1024);
        let (near, mut far) = duplex(1024);
        let pace = Pace { peer: Duration::ZERO, idle: Duration::ZERO, longest: Duration::ZERO };
        let traffic = Traffic::default();
        let pump = pump::tests::run(client_side, Fronted::new(near), &[], &pace, &traffic, pending());
        let play = async {
            client.write_all(b"\x82\x8c\0\0\0\0RFB 009.009\n").await.expect("writes");
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.expect("reads");
            drop(client);
            heard
        };
        let (end, heard) = tokio::join!(pump, play);
        assert!(matches!(end, Err(RelayError::Protocol(NO_VERSION))), "{end:?}");
        // Close code 1002 (RFC 6455 section 7.4.1).
        assert_eq!(heard, b"\x82\x0cRFB 003.008\n\x88\x21\x03\xeathere is no such version of RFB");
        assert_eq!(far.read(&mut [0]).await.expect("reads"), 0);
    });
}

#[test]
fn a_client_that_ends_before_its_answer_ends_the_session() {
    run(async {
        let (near, mut far) = duplex(64);
        let mut fronted = Fronted::new(near);
        fronted.write_all(b"RFB 003").await.expect("writes");
        fronted.shutdown().await.expect("ends");
        let mut heard = Vec::new();
        fronted.read_to_end(&mut heard).await.expect("an end");
        assert_eq!(heard, b"RFB 003.008\n");
        let error = fronted.write(b".008\n").await.expect_err("it ended");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(far.read(&mut [0]).await.expect("reads"), 0);
    });
}

/// A stream that tells which memory it was given.
#[derive(Default)]
struct Mirror {
    read_into: usize,
    written: Vec<(usize, usize)>,
    vectored: bool,
}

impl AsyncRead for Mirror {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read_into = room.initialize_unfilled().as_ptr().addr();
        room.advance(1);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Mirror {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written = vec![(bytes.as_ptr().addr(), bytes.len())];
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written = parts.iter().map(|part| (part.as_ptr().addr(), part.len())).collect();
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn behind_the_handshake_nothing_is_copied() {
    run(async {
        for vectored in [false, true] {
            assert_eq!(Fronted::new(Mirror { vectored, ..Mirror::default() }).is_write_vectored(), vectored);
        }
        let mut fronted = Fronted::new(Mirror::default());
        fronted.write_all(b"RFB 003.008\n\x01").await.expect("writes");
        assert!(fronted.target.written.is_empty());
        reads(&mut fronted, 18).await;

        let mut room = [0; 10];
        assert_eq!(fronted.read(&mut room).await.expect("reads"), 1);
        assert_eq!(fronted.target.read_into, room.as_ptr().addr());
        let (one, two) = ([1; 3], [2; 4]);
        fronted.write_all(&one).await.expect("writes");
        assert_eq!(fronted.target.written, [(one.as_ptr().addr(), 3)]);
        let parts = [IoSlice::new(&one), IoSlice::new(&two)];
        assert_eq!(fronted.write_vectored(&parts).await.expect("writes"), 7);
        assert_eq!(fronted.target.written, [(one.as_ptr().addr(), 3), (two.as_ptr().addr(), 4)]);
    });
}
