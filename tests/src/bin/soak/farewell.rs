//! How a client and the gateway take leave of each other.

use portcullis_tests::ends::Stream;
use portcullis_tests::websocket::{Socket, closed};

/// The client closes, and leaves with the answer.
pub fn part(mut socket: Socket<Stream>) {
    socket.close(None).expect("closes");
    assert_eq!(closed(&mut socket), None, "the answer to a close frame has a code");
}

/// The code of the gateway's close frame; the client answers it and leaves, for which the gateway waits.
pub fn told(mut socket: Socket<Stream>) -> Option<u16> {
    let told = closed(&mut socket);
    // Where it does not wait, its end is gone already.
    let _ = socket.flush();
    told.map(|(code, _)| code)
}
