//! The pump over pipes in memory: order, back-pressure, clocks, and every way to end. Times are
//! tokio's paused clock, which jumps when nothing else can happen.

use std::future::pending;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::super::pipe::tests::{connection, pipes};
use super::super::pulse::Pace;
use super::super::ws::frame::put_header;
use super::*;

mod answer;

/// [`Pump::run`] with a clock of its own, where it is a core that has one.
///
/// # Errors
/// As there.
pub async fn run(
    client: impl Leg,
    target: impl Leg,
    early: &[u8],
    pace: &Pace,
    traffic: &Traffic,
    stop: impl Future<Output = Close>,
) -> Result<End, RelayError> {
    let pulse = Pulse::default();
    let mut pump = Pump::new(client, target, early);
    let clock = async {
        let Some(tick) = pace.tick() else { return pending().await };
        loop {
            sleep(tick).await;
            pulse.tick(pace, traffic, Instant::now());
        }
    };
    tokio::select! {
        end = pump.run(&pulse, traffic, Box::pin(stop)) => end,
        never = clock => never,
    }
}

const NO_LIMITS: Pace = Pace { peer: Duration::ZERO, idle: Duration::ZERO, longest: Duration::ZERO };

type Outcome = (Result<End, RelayError>, (u64, u64));

/// A pump between two pipes that hold `room` bytes each.
struct Bench {
    client: DuplexStream,
    target: DuplexStream,
    pump: Pin<Box<dyn Future<Output = Outcome>>>,
}

fn bench(room: usize, pace: Pace, early: &[u8], stop: impl Future<Output = Close> + 'static) -> Bench {
    let (client, client_side) = duplex(room);
    let (target, target_side) = duplex(room);
    let early = early.to_vec();
    let pump = Box::pin(async move {
        let traffic = Traffic::default();
        let end = run(client_side, target_side, &early, &pace, &traffic, stop).await;
        (end, (traffic.up.bytes(), traffic.down.bytes()))
    });
    Bench { client, target, pump }
}

fn plain() -> Bench {
    bench(64 * 1024, NO_LIMITS, &[], pending())
}

/// A client's frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut room = [0; HEADROOM];
    let start = put_header(&mut room, Opcode::Binary, payload.len());
    let mut bytes = room[start..].to_vec();
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

async fn reads(stream: &mut DuplexStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.expect("reads");
    assert_eq!(bytes, expected);
}

/// Reads to the end.
async fn rest(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("reads");
    bytes
}

#[tokio::test(start_paused = true)]
async fn many_small_frames_reach_the_target_in_order() {
    let Bench { mut client, mut target, pump } = plain();
    let script = async {
        let mut wire = Vec::new();
        for number in 0..100_u8 {
            wire.extend(frame(0x82, &[number; 7]));
            if number % 10 == 0 {
                wire.extend(frame(0x8a, b"a pong between"));
                wire.extend(frame(0x82, &[]));
            }
        }
        client.write_all(&wire).await.expect("writes");
        let expected: Vec<u8> = (0..100_u8).flat_map(|number| [number; 7]).collect();
        reads(&mut target, &expected).await;
        client.write_all(&frame(0x88, &[])).await.expect("writes");
        assert_eq!(rest(&mut client).await, [0x88, 0]);
        drop(client);
    };
    let ((end, moved), ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::ClientClosed);
    assert_eq!(moved, (700, 0));
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_a_close_reaches_the_target() {
    let Bench { mut client, mut target, pump } = plain();
    let script = async {
        let wire =
            [frame(0x82, b"last words"), frame(0x88, b"\x03\xe8bye"), frame(0x82, b"too late")].concat();
        client.write_all(&wire).await.expect("writes");
        assert_eq!(rest(&mut client).await, b"\x88\x05\x03\xe8bye");
        drop(client);
        assert_eq!(rest(&mut target).await, b"last words");
    };
    let ((end, _), ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::ClientClosed);
}

#[tokio::test(start_paused = true)]
async fn pongs_stand_between_frames_while_the_target_talks() {
    let Bench { client, mut target, pump } = bench(100, NO_LIMITS, &[], pending());
    let script = async {
        let talk = async {
            for _ in 0..50 {
                target.write_all(&[7; 90]).await.expect("writes");
            }
            drop(target);
        };
        let (mut from, mut to) = tokio::io::split(client);
        let ping = async {
            for number in 0..20_u8 {
                to.write_all(&frame(0x89, &[number; 3])).await.expect("writes");
            }
            to
        };
        let listen = async {
            let (mut payload, mut pongs) = (0, 0);
            loop {
                let first = from.read_u8().await.expect("reads");
                let len = usize::from(from.read_u8().await.expect("reads"));
                let mut bytes = vec![0; len];
                from.read_exact(&mut bytes).await.expect("reads");
                match first {
                    0x82 => {
                        assert!(bytes.iter().all(|byte| *byte == 7), "{bytes:?}");
                        payload += len;
                    }
                    0x8a => {
                        assert_eq!(bytes, [pongs; 3]);
                        pongs += 1;
                    }
                    0x88 => break (payload, pongs),
                    other => panic!("{other:#x}"),
                }
            }
        };
        let ((), to, (payload, pongs)) = tokio::join!(talk, ping, listen);
        assert_eq!(payload, 50 * 90);
        assert!(pongs > 0);
        drop((from, to));
    };
    let ((end, _), ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::TargetClosed);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_client_stops_the_target_and_not_the_other_way() {
    let Bench { mut client, mut target, mut pump } = bench(1_000, NO_LIMITS, &[], pending());
    let flood = async {
        let mut written = 0;
        // The target may write what the buffers hold, and then no more.
        while let Ok(len) = timeout(Duration::from_secs(1), target.write(&[7; 10_000])).await {
            written += len.expect("writes");
        }
        client.write_all(&frame(0x82, b"a key")).await.expect("writes");
        reads(&mut target, b"a key").await;
        written
    };
    let written = tokio::select! {
        written = flood => written,
        ended = &mut pump => panic!("{ended:?}"),
    };
    assert!(written < 3 * 10_000, "{written} bytes are queued for a client that does not read");
}

#[tokio::test(start_paused = true)]
async fn early_bytes_come_first() {
    let early = [frame(0x82, b"one "), frame(0x02, b"tw")].concat();
    let Bench { mut client, mut target, pump } = bench(1_000, NO_LIMITS, &early, pending());
    let script = async {
        client.write_all(&frame(0x80, b"o")).await.expect("writes");
        reads(&mut target, b"one two").await;
        drop(client);
    };
    let ((end, _), ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::ClientGone);
}

#[tokio::test(start_paused = true)]
async fn an_end_inside_a_frame_is_an_error() {
    let Bench { mut client, pump, target: _target } = plain();
    let script = async {
        client.write_all(&frame(0x82, b"half")[..7]).await.expect("writes");
        drop(client);
    };
    let ((end, _), ()) = tokio::join!(pump, script);
    let error = end.expect_err("inside a frame");
    assert!(matches!(&error, RelayError::Client(error) if error.kind() == io::ErrorKind::UnexpectedEof));
}

#[tokio::test(start_paused = true)]
async fn the_targets_end_waits_for_the_clients_close() {
    let Bench { mut client, mut target, pump } = plain();
    let script = async {
        target.write_all(b"bye").await.expect("writes");
        drop(target);
        reads(&mut client, b"\x82\x03bye\x88\x0f\x03\xe8target closed").await;
        // What was on its way already is of no use to anybody, and no error.
        client.write_all(&frame(0x82, b"crossed")).await.expect("writes");
        client.write_all(&frame(0x88, &[3, 232])).await.expect("writes");
        assert_eq!(rest(&mut client).await, b"");
        drop(client);
    };
    let ((end, moved), ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::TargetClosed);
    assert_eq!(moved, (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stop_closes_between_frames() {
    let stop = async {
        sleep(Duration::from_secs(5)).await;
        Close::new(CloseCode::GOING_AWAY, "stopping")
    };
    // The client reads slowly: the frame under way when the stop comes is finished first.
    let Bench { mut client, mut target, pump } = bench(50, NO_LIMITS, &[], stop);
    let script = async {
        target.write_all(&[7; 40]).await.expect("writes");
        target.write_all(&[7; 50]).await.expect("writes");
        sleep(Duration::from_secs(6)).await;
        let mut bytes = [0; 2];
        let mut payload = 0;
        loop {
            client.read_exact(&mut bytes).await.expect("reads");
            let mut body = vec![0; usize::from(bytes[1])];
            client.read_exact(&mut body).await.expect("reads");
            if bytes[0] == 0x88 {
                assert_eq!(body, b"\x03\xe9stopping");
                break;
            }
            payload += body.len();
        }
        assert!(payload >= 40, "{payload}");
        client.write_all(&frame(0x88, &[3, 233])).await.expect("writes");
        drop(client);
    };
    let ((end, _), ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::Stopped(Close::new(CloseCode::GOING_AWAY, "stopping")));
}

#[tokio::test(start_paused = true)]
async fn a_dead_client_does_not_hold_a_stop_up() {
    let stop = async { Close::new(CloseCode::GOING_AWAY, "stopping") };
    let Bench { client: _client, target: _target, pump } = bench(10, NO_LIMITS, &[], stop);
    let began = Instant::now();
    let (end, _) = pump.await;
    assert!(matches!(end, Ok(End::Stopped(_))));
    assert!(began.elapsed() <= FAREWELL);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_then_gone() {
    let pace = Pace { peer: Duration::from_secs(30), ..NO_LIMITS };
    let Bench { mut client, target: _target, pump } = bench(1_000, pace, &[], pending());
    let began = Instant::now();
    let ((end, _), pings) = tokio::join!(pump, async { rest(&mut client).await });
    assert_eq!(end.expect("no error"), End::ClientSilent);
    assert!(began.elapsed() >= Duration::from_secs(30) && began.elapsed() < Duration::from_secs(40));
    assert!(pings.starts_with(&[0x89, 0, 0x89, 0]), "{pings:?}");
}

/// It cannot be pinged, so nothing can be said about it: neither where it takes nothing itself, nor
/// where a stream like that of TLS takes what the connection below does not.
#[tokio::test(start_paused = true)]
async fn a_stuck_client_is_not_a_silent_one() {
    for taken in [1, 64 * 1024] {
        let pace = Pace { peer: Duration::from_secs(30), ..NO_LIMITS };
        let (_client, client_side) = duplex(1_000);
        let client_side = BufStream::with_capacity(1_000, taken, client_side);
        let (mut target, target_side) = duplex(64 * 1024);
        target.write_all(&[7; 10_000]).await.expect("writes");
        let stop = async {
            sleep(Duration::from_secs(300)).await;
            Close::new(CloseCode::GOING_AWAY, "stop")
        };
        let end = run(client_side, target_side, &[], &pace, &Traffic::default(), stop).await;
        assert!(matches!(end, Ok(End::Stopped(_))), "{taken}: {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_lives() {
    let pace = Pace { peer: Duration::from_secs(30), ..NO_LIMITS };
    let Bench { mut client, target, pump } = bench(1_000, pace, &[], pending());
    let script = async {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(300) {
            reads(&mut client, &[0x89, 0]).await;
            client.write_all(&frame(0x8a, &[])).await.expect("writes");
        }
        drop((client, target));
    };
    let ((end, _), ()) = tokio::join!(pump, script);
    assert!(matches!(end, Ok(End::ClientGone | End::TargetClosed)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn idle_and_long_sessions_end() {
    let idle = Pace { idle: Duration::from_secs(60), ..NO_LIMITS };
    let Bench { mut client, mut target, pump } = bench(1_000, idle, &[], pending());
    let began = Instant::now();
    let script = async {
        for _ in 0..10 {
            sleep(Duration::from_secs(30)).await;
            target.write_all(b"x").await.expect("writes");
            reads(&mut client, b"\x82\x01x").await;
        }
        assert!(rest(&mut client).await.ends_with(b"\x03\xe9idle"));
        drop(client);
    };
    let ((end, _), ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::Idle);
    assert!(began.elapsed() >= Duration::from_secs(360));

    let long = Pace { longest: Duration::from_secs(60), ..NO_LIMITS };
    let Bench { client, target: _target, pump } = bench(1_000, long, &[], pending());
    let (end, _) = pump.await;
    assert_eq!(end.expect("no error"), End::TooLong);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_holds_no_buffer() {
    // One buffer is in the pool; while the session waits it is still there.
    let place = Buffer::borrow().as_ptr();
    let Bench { mut client, mut target, mut pump } = plain();
    let script = async {
        client.write_all(&frame(0x82, b"a key")).await.expect("writes");
        reads(&mut target, b"a key").await;
        target.write_all(b"echo").await.expect("writes");
        reads(&mut client, b"\x82\x04echo").await;
        sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        () = script => {}
        ended = &mut pump => panic!("{ended:?}"),
    }
    assert_eq!(Buffer::borrow().as_ptr(), place);
    drop(pump);
}

/// A target that says something and hears nothing.
struct Deaf(DuplexStream);

impl Leg for Deaf {
    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, room)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_target_says_last_arrives_though_it_takes_nothing_more() {
    let (mut client, client_side) = duplex(1_000);
    let (mut target, target_side) = duplex(100_000);
    let traffic = Traffic::default();
    let pump = run(client_side, Deaf(target_side), &[], &NO_LIMITS, &traffic, pending());
    let script = async {
        client.write_all(&frame(0x82, b"a key")).await.expect("writes");
        client.write_all(&frame(0x89, b"ping")).await.expect("writes");
        reads(&mut client, b"\x8a\x04ping").await;
        target.write_all(&[7; 50_000]).await.expect("writes");
        drop(target);
        let mut said = Vec::new();
        while !said.ends_with(b"target closed") {
            client.write_all(&frame(0x82, b"more keys")).await.expect("writes");
            client.read_buf(&mut said).await.expect("reads");
        }
        assert!(said.len() > 50_000, "{}", said.len());
        drop(client);
    };
    let (end, ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::TargetClosed);
    assert_eq!(traffic.down.bytes(), 50_000);
}

/// A session over real connections, of which much comes: it goes by a pipe.
#[tokio::test]
async fn bulk_goes_by_a_pipe_and_arrives_in_order() {
    const LEN: usize = 16 * 1024 * 1024;
    let ((mut client, client_side), (mut target, target_side)) = (connection().await, connection().await);
    let traffic = Traffic::default();
    let pump = run(client_side, target_side, &[], &NO_LIMITS, &traffic, pending());
    let sent: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
    let talk = async {
        target.write_all(&sent).await.expect("writes");
        drop(target);
    };
    let listen = async {
        let (mut payload, mut longest) = (Vec::with_capacity(LEN), 0);
        loop {
            let (opcode, part) = read_frame(&mut client).await;
            if opcode == Opcode::Close as u8 {
                break;
            }
            assert_eq!(opcode, Opcode::Binary as u8);
            longest = longest.max(part.len());
            payload.extend(part);
        }
        drop(client);
        (payload, longest)
    };
    let (end, (), (payload, longest)) = tokio::join!(pump, talk, listen);
    assert_eq!(end.expect("no error"), End::TargetClosed);
    assert!(payload == sent, "bytes differ");
    assert!(longest <= READ_MAX, "{longest}");
    assert_eq!(pipes(), (1, 1), "one was used, and waits to be used again");
}

/// The frame whose payload waits in a pipe is finished before the close frame.
#[tokio::test]
async fn a_stop_closes_behind_what_is_in_the_pipe() {
    let ((mut client, client_side), (mut target, target_side)) = (connection().await, connection().await);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let stop_comes = async {
        let close: Close = stopped.await.expect("a word");
        close
    };
    let traffic = Traffic::default();
    let pump = run(client_side, target_side, &[], &NO_LIMITS, &traffic, stop_comes);
    let script = async {
        // The client takes nothing until the way to it is full.
        while timeout(Duration::from_secs(1), target.write_all(&[7; 256 * 1024])).await.is_ok() {}
        assert_eq!(pipes().1, 1, "bytes wait in a pipe");
        stop.send(Close::new(CloseCode::GOING_AWAY, "stopping")).expect("hears");
        loop {
            let (opcode, part) = read_frame(&mut client).await;
            if opcode == Opcode::Close as u8 {
                assert_eq!(part, b"\x03\xe9stopping");
                break;
            }
            assert!(part.iter().all(|byte| *byte == 7));
        }
        client.write_all(&frame(0x88, &[3, 233])).await.expect("writes");
        drop(client);
    };
    let (end, ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::Stopped(Close::new(CloseCode::GOING_AWAY, "stopping")));
    assert_eq!(pipes(), (1, 1));
}

/// Reads a server's frame: opcode and payload.
async fn read_frame(client: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = client.read_u8().await.expect("reads");
    let len = match client.read_u8().await.expect("reads") {
        126 => u64::from(client.read_u16().await.expect("reads")),
        127 => client.read_u64().await.expect("reads"),
        len => u64::from(len),
    };
    let mut payload = vec![0; usize::try_from(len).expect("a length")];
    client.read_exact(&mut payload).await.expect("reads");
    (first & 0x0f, payload)
}
