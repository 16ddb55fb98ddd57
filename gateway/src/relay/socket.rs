//! Options of the sockets on both legs.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Unsent bytes that the kernel queues for a slow client: what the user sees is fresh.
const NOTSENT_LOWAT: u32 = 128 * 1024;

/// Bytes that the kernel takes from a target while its client reads slowly; it doubles this for its own needs
/// (socket(7), `SO_RCVBUF`). A target that may send no more ahead has no reason to queue more either.
const LEAD: usize = 64 * 1024;
/// Farther away than this, [`LEAD`] would slow a target down: at most so much moves in a round trip.
const NEAR: Duration = Duration::from_millis(5);

/// No delay for small messages; a dead peer is noticed within `peer` (zero: when TCP gives up).
///
/// # Errors
/// The connection ended meanwhile.
pub fn prepare(stream: &TcpStream, peer: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !peer.is_zero() {
        let socket = SockRef::from(stream);
        let third = (peer / 3).max(Duration::from_secs(1));
        socket
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(third).with_interval(third).with_retries(2))?;
        socket.set_tcp_user_timeout(Some(peer))?;
    }
    Ok(())
}

/// Bounds what a target may send ahead of a client that reads slowly, if it is near: `round_trip` is what its
/// handshake took.
///
/// # Errors
/// The connection ended meanwhile.
pub fn bound_lead(stream: &TcpStream, round_trip: Duration) -> io::Result<()> {
    if round_trip > NEAR { Ok(()) } else { SockRef::from(stream).set_recv_buffer_size(LEAD) }
}

/// Bounds what is queued for a client that reads slowly.
///
/// # Errors
/// The kernel does not know the option.
pub fn bound_queue(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_notsent_lowat(NOTSENT_LOWAT)
}

/// Whether the client has ended its side already. What it sent and is not read yet counts as being
/// there.
pub fn has_left(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    // The socket does not block: without anything to read this is an error, which is being there.
    SockRef::from(stream).peek(&mut byte).is_ok_and(|len| len == 0)
}
