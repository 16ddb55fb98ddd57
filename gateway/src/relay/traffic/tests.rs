//! Sessions that are held to a rate, through the pump. Times are tokio's paused clock, which jumps when
//! nothing else can happen.

use std::future::{Future, pending};
use std::num::NonZeroU64;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{sleep, timeout};

use super::*;
use crate::relay::pulse::Pace;
use crate::relay::pump::tests::run;
use crate::relay::pump::{End, RelayError};
use crate::relay::ws::{Close, CloseCode};

/// 512 bytes are a portion of it, 2 KiB a burst.
const BYTES_PER_S: u32 = 8192;
const NO_LIMITS: Pace = Pace { peer: Duration::ZERO, idle: Duration::ZERO, longest: Duration::ZERO };

fn rates() -> Rates {
    Rates::new(NonZeroU64::new(BYTES_PER_S.into()).expect("a rate"), Instant::now().into_std())
}

type Outcome = (Result<End, RelayError>, Traffic);

/// A pump between two pipes.
fn bench(
    rates: &Rates,
    pace: Pace,
    stop: impl Future<Output = Close> + 'static,
) -> (DuplexStream, DuplexStream, Pin<Box<dyn Future<Output = Outcome>>>) {
    let (client, client_side) = duplex(64 * 1024);
    let (target, target_side) = duplex(64 * 1024);
    let traffic = Traffic::new(Some(rates));
    let pump = Box::pin(async move {
        let end = run(client_side, target_side, &[], &pace, &traffic, stop).await;
        (end, traffic)
    });
    (client, target, pump)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|number| (number % 251) as u8).collect()
}

/// A client's binary frame of 126 bytes to 64 KiB, with a mask of zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a short frame");
    [&[0x82, 0xfe][..], &len.to_be_bytes(), &[0; 4], payload].concat()
}

/// The payload of the binary frames that come until there are `len` bytes of it.
async fn hears(client: &mut DuplexStream, len: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < len {
        assert_eq!(client.read_u8().await.expect("reads"), 0x82);
        let part = match client.read_u8().await.expect("reads") {
            126 => client.read_u16().await.expect("reads").into(),
            short => usize::from(short),
        };
        let mut payload = vec![0; part];
        client.read_exact(&mut payload).await.expect("reads");
        heard.extend(payload);
    }
    heard
}

/// What a rate allows `len` bytes to take, at least and at most.
fn is_right_for(len: u32, took: Duration) {
    let seconds = |bytes: u32| Duration::from_secs(1) * bytes / BYTES_PER_S;
    let (least, most) = (seconds(len - 2048 - 512), seconds(len));
    assert!(took >= least && took <= most, "{len} bytes in {took:?}, expected {least:?} to {most:?}");
}

#[tokio::test(start_paused = true)]
async fn both_directions_have_a_rate_each_and_every_byte_arrives() {
    let (mut client, mut target, pump) = bench(&rates(), NO_LIMITS, pending());
    let script = async {
        let (said, heard) = (bytes(50_000), bytes(100_000));
        let began = Instant::now();
        let (mut from, mut to) = tokio::io::split(&mut target);
        let up = async {
            let mut bytes = vec![0; said.len()];
            from.read_exact(&mut bytes).await.expect("reads");
            assert!(bytes == said);
            is_right_for(50_000, began.elapsed());
        };
        let down = async {
            client.write_all(&frame(&said)).await.expect("writes");
            assert!(hears(&mut client, heard.len()).await == heard);
            is_right_for(100_000, began.elapsed());
        };
        let (written, (), ()) = tokio::join!(to.write_all(&heard), up, down);
        written.expect("writes");
        drop(client);
    };
    let ((end, traffic), ()) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::ClientGone);
    let ((up, up_held), (down, down_held)) = (traffic.up.unreported(), traffic.down.unreported());
    assert_eq!((up, down), (50_000, 100_000));
    // All of the time was waited, but for the burst.
    is_right_for(50_000, up_held);
    is_right_for(100_000, down_held);
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_session_share_its_rate_and_neither_starves() {
    let rates = rates();
    let began = Instant::now();
    let listen = |len: usize| {
        let (mut client, mut target, pump) = bench(&rates, NO_LIMITS, pending());
        let heard = bytes(len);
        let script = async move {
            let (heard_by_client, written) = tokio::join!(hears(&mut client, len), target.write_all(&heard));
            written.expect("writes");
            assert!(heard_by_client == heard);
            drop(client);
            (began.elapsed(), target)
        };
        async { tokio::join!(pump, script).1.0 }
    };
    let (one, other) = tokio::join!(listen(40_000), listen(40_000));
    is_right_for(80_000, one.max(other));
    // Half of the rate is for each.
    assert!(one.abs_diff(other) < Duration::from_secs(1), "{one:?} and {other:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_while_the_target_is_held() {
    let (mut client, mut target, pump) = bench(&rates(), NO_LIMITS, pending());
    let script = async {
        let flood = bytes(60_000);
        target.write_all(&flood).await.expect("writes");
        sleep(Duration::from_secs(1)).await;
        let asked = Instant::now();
        client.write_all(b"\x89\x83\0\0\0\0abc").await.expect("writes");
        let mut seen = Vec::new();
        while !seen.windows(5).any(|part| part == b"\x8a\x03abc") {
            client.read_buf(&mut seen).await.expect("reads");
        }
        // It stands behind the frame under way, and before the rest of the flood.
        assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
        drop(client);
        target
    };
    let ((end, traffic), _target) = tokio::join!(pump, script);
    assert_eq!(end.expect("no error"), End::ClientGone);
    assert!(traffic.down.bytes() < 20_000, "{} bytes", traffic.down.bytes());
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_the_rate() {
    let stop = async {
        sleep(Duration::from_secs(1)).await;
        Close::new(CloseCode::GOING_AWAY, "stop")
    };
    let (mut client, mut target, pump) = bench(&rates(), NO_LIMITS, stop);
    let began = Instant::now();
    let script = async {
        // Both sides have more to say than a minute is enough for, and the client takes leave behind it.
        target.write_all(&bytes(60_000)).await.expect("writes");
        for _ in 0..10 {
            client.write_all(&frame(&bytes(60_000))).await.expect("writes");
        }
        client.write_all(b"\x88\x80\0\0\0\0").await.expect("writes");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("reads");
        drop(client);
        assert!(rest.ends_with(b"\x88\x06\x03\xe9stop"), "no close frame at the end");
    };
    let ((end, _), ()) = tokio::join!(pump, script);
    assert!(matches!(end, Ok(End::Stopped(_))), "{end:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn who_is_held_for_long_is_not_silent() {
    let rates = rates();
    // Its session owes a minute.
    rates.up.take(BYTES_PER_S as usize * 60, Instant::now().into_std());
    let pace = Pace { peer: Duration::from_secs(10), ..NO_LIMITS };
    let (mut client, mut target, pump) = bench(&rates, pace, pending());
    let script = async {
        client.write_all(&frame(&bytes(200))).await.expect("writes");
        let mut heard = vec![0; 200];
        let read = timeout(Duration::from_secs(70), target.read_exact(&mut heard)).await;
        assert_eq!(read.expect("in time").expect("reads"), 200);
        assert_eq!(heard, bytes(200));
    };
    tokio::select! {
        (end, _) = pump => panic!("{end:?}"),
        () = script => {}
    }
}
