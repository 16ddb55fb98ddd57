//! How far a target may be ahead of its client: little, so that what a user sees is fresh; more, while so much goes
//! through that it is fresh all the same, and every wait for more costs.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::socket::{self, Ahead};

/// Bytes after which it is judged how fast they went.
const STRETCH: u32 = 8 * 1024 * 1024;
/// Who takes a stretch within this, 50 MB a second, takes all that may be ahead of it in 15 ms.
const FAST: Duration = Duration::from_millis(160);

/// The pace of what goes to a client.
pub struct Haste {
    /// Bytes of this stretch.
    moved: u32,
    since: Instant,
    /// While it is fast: what [`socket::run_ahead`] changed.
    ahead: Option<Ahead>,
}

impl Default for Haste {
    /// Nothing has moved.
    fn default() -> Self {
        Self { moved: 0, since: Instant::now(), ahead: None }
    }
}

impl Haste {
    /// So many bytes went from `target` to `client`; `None` is a connection that is not plain TCP.
    pub fn took(&mut self, len: usize, client: Option<&TcpStream>, target: Option<&TcpStream>) {
        self.moved = self.moved.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        if self.moved < STRETCH {
            return;
        }
        let now = Instant::now();
        let is_fast = now - self.since <= FAST;
        (self.moved, self.since) = (0, now);
        let (Some(client), Some(target)) = (client, target) else { return };
        if !is_fast {
            if let Some(ahead) = self.ahead.take() {
                socket::keep_close(client, target, ahead);
            }
        } else if self.ahead.is_none() {
            self.ahead = Some(socket::run_ahead(client, target));
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::time::advance;

    use super::super::pipe::tests::connection;
    use super::*;

    /// Bytes that may be queued for a client, and taken from a target.
    fn room(client: &TcpStream, target: &TcpStream) -> (u32, usize) {
        let lowat = SockRef::from(client).tcp_notsent_lowat().expect("an option");
        (lowat, SockRef::from(target).recv_buffer_size().expect("an option"))
    }

    #[tokio::test]
    async fn who_takes_much_has_more_on_the_way_as_long_as_it_does() {
        let ((client, _browser), (target, _console)) = (connection().await, connection().await);
        socket::bound_queue(&client).expect("a socket");
        socket::bound_lead(&target, Duration::ZERO).expect("a socket");
        let usual = room(&client, &target);
        tokio::time::pause();
        let mut haste = Haste::default();
        let mut rooms = Vec::new();
        for time in [FAST, FAST, 2 * FAST, 2 * FAST, FAST] {
            advance(time).await;
            for half in [STRETCH / 2; 2] {
                haste.took(half as usize, Some(&client), Some(&target));
            }
            rooms.push(room(&client, &target));
        }
        let more = rooms[0];
        assert!(more.0 > usual.0 && more.1 > usual.1, "{more:?}, not {usual:?}");
        assert_eq!(rooms, [more, more, usual, usual, more]);
    }

    #[tokio::test]
    async fn a_target_that_was_not_bound_stays_as_it_is() {
        let ((client, _browser), (target, _console)) = (connection().await, connection().await);
        let (_, lead) = room(&client, &target);
        tokio::time::pause();
        let mut haste = Haste::default();
        for time in [Duration::ZERO, 2 * FAST] {
            advance(time).await;
            haste.took(STRETCH as usize, Some(&client), Some(&target));
            assert_eq!(room(&client, &target).1, lead);
        }
        haste.took(STRETCH as usize, None, Some(&target));
        haste.took(STRETCH as usize, Some(&client), None);
    }
}
