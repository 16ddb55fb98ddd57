//! What a browser says before RDP: a request that is whole is whole at its end and not before, and what the server is
//! asked by it is one packet of RDP without a routing token.

use portcullis::relay::console::rdp::clean_path::{REQUEST_MAX, Request};
use portcullis::relay::console::rdp::x224;

/// A request.
pub fn run(bytes: &[u8]) {
    let Ok(Some(request)) = Request::parse(bytes) else { return };
    assert!(bytes.len() <= REQUEST_MAX);
    let packet = x224::Request::parse(&request.packet).expect("a packet").expect("a whole one");
    assert!(packet.routing_token().is_none() && packet.packet().len() == request.packet.len());
    for cut in 0..bytes.len() {
        assert_eq!(Request::parse(&bytes[..cut]), Ok(None), "{cut} bytes");
    }
}
