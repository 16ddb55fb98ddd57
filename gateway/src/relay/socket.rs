//! Options of the sockets on both legs.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Unsent bytes that the kernel queues for a slow client: what the user sees is fresh.
const NOTSENT_LOWAT: u32 = 128 * 1024;

/// Bytes that the kernel takes from a target while its client reads slowly; it doubles this for its own needs
/// (socket(7), `SO_RCVBUF`). A target that may send no more ahead has no reason to queue more either.
///
/// With 64 KiB the buffer of one that sends by loopback grew once more, by a megabyte.
const LEAD: usize = 48 * 1024;
/// Farther away than this, [`LEAD`] would slow a target down: at most so much moves in a round trip.
const NEAR: Duration = Duration::from_millis(5);

/// No delay for small messages; a dead peer is noticed within `peer` (zero: when TCP gives up). What a listener
/// accepts from then on has its options (Linux copies the listening socket).
///
/// # Errors
/// The connection ended meanwhile.
pub fn prepare(socket: &impl AsFd, peer: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    if !peer.is_zero() {
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

/// Bounds what is queued for a client that reads slowly: on a listener, for those that it accepts from then on.
///
/// # Errors
/// The kernel does not know the option.
pub fn bound_queue(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_notsent_lowat(NOTSENT_LOWAT)
}

/// What is on the way to a client that takes much: as [`NOTSENT_LOWAT`] and [`LEAD`].
const NOTSENT_LOWAT_FAST: u32 = 512 * 1024;
const LEAD_FAST: usize = 256 * 1024;

/// What [`run_ahead`] changed.
#[derive(Debug)]
pub struct Ahead {
    /// The target may send more, too.
    lead: bool,
}

/// Lets more be on the way. A target that [`bound_lead`] left alone may send ahead what it likes already.
pub fn run_ahead(client: &TcpStream, target: &TcpStream) -> Ahead {
    // Without it, it is slower.
    let _ = SockRef::from(client).set_tcp_notsent_lowat(NOTSENT_LOWAT_FAST);
    let target = SockRef::from(target);
    let is_bound = target.recv_buffer_size().is_ok_and(|len| len == 2 * LEAD);
    Ahead { lead: is_bound && target.set_recv_buffer_size(LEAD_FAST).is_ok() }
}

/// Takes that back.
pub fn keep_close(client: &TcpStream, target: &TcpStream, ahead: Ahead) {
    // What fails on a connection that is there is the connection, which is noticed by whoever moves its bytes.
    let _ = bound_queue(client);
    if ahead.lead {
        let _ = SockRef::from(target).set_recv_buffer_size(LEAD);
    }
}

/// Whether the client has ended its side already. What it sent and is not read yet counts as being
/// there.
pub fn has_left(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    // The socket does not block: without anything to read this is an error, which is being there.
    SockRef::from(stream).peek(&mut byte).is_ok_and(|len| len == 0)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_is_accepted_has_the_options_of_its_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let peer = Duration::from_secs(30);
        prepare(&listener, peer).expect("a socket");
        bound_queue(&listener).expect("a socket");
        let _client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let (accepted, _) = listener.accept().expect("a connection");
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().expect("an option"));
        assert!(accepted.keepalive().expect("an option"));
        assert_eq!(accepted.tcp_keepalive_time().expect("an option"), peer / 3);
        assert_eq!(accepted.tcp_keepalive_interval().expect("an option"), peer / 3);
        assert_eq!(accepted.tcp_keepalive_retries().expect("an option"), 2);
        assert_eq!(accepted.tcp_user_timeout().expect("an option"), Some(peer));
        assert_eq!(accepted.tcp_notsent_lowat().expect("an option"), NOTSENT_LOWAT);
    }
}
