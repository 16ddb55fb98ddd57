//! A session without a broker: who lets the client in, and where its target is, was decided elsewhere. It has
//! the pump and its ends, and nothing of tickets, limits and records.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

pub use super::pipe::Leg;
use super::pulse::Pulse;
use super::pump::{End, Pump, RelayError};
use super::traffic::Traffic;
use super::ws::Close;
use super::{buffer, pipe};
use crate::every::every;

/// A session that is over.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub end: Result<End, RelayError>,
    /// Payload bytes from the client.
    pub up: u64,
    /// Payload bytes to the client.
    pub down: u64,
}

/// Moves bytes between a client whose handshake is answered and a target that is there, until one of them ends
/// or `stop` resolves. `early` are bytes of the client that came behind its handshake. It is pinged every
/// `heartbeat`; zero is never.
pub async fn relay(
    client: impl Leg,
    target: impl Leg,
    early: &[u8],
    heartbeat: Duration,
    stop: impl Future<Output = Close> + Unpin,
) -> Ended {
    let (pulse, traffic) = (Pulse::default(), Traffic::default());
    let mut pump = Pump::new(client, target, early);
    let end = tokio::select! {
        end = pump.run(&pulse, &traffic, stop) => end,
        never = beat(&pulse, heartbeat) => match never {},
    };
    Ended { end, up: traffic.up.bytes(), down: traffic.down.bytes() }
}

async fn beat(pulse: &Pulse, period: Duration) -> Infallible {
    if period.is_zero() {
        return pending().await;
    }
    let mut clock = every(period);
    // The first is at once, and nobody was silent yet.
    clock.tick().await;
    loop {
        clock.tick().await;
        pulse.ping();
    }
}

/// How often a thread looks for memory that it does not need.
const TRIM: Duration = Duration::from_secs(1);

/// Gives back what the sessions of this thread do not need any more, again and again.
pub async fn trim() -> Infallible {
    let mut clock = every(TRIM);
    loop {
        clock.tick().await;
        buffer::trim();
        pipe::trim();
    }
}
