//! What a proxy says of its client: a header that is whole is whole at its length and not before.

use portcullis::relay::forwarded::{Begin, HEADER_MAX, Proxies, header};

/// The first bytes of a connection, or the value of a header.
pub fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let proxies = Proxies(vec!["10.0.0.0/8".parse().expect("a network")]);
        assert!(proxies.client(text.split('\n')).is_none_or(|client| !proxies.has(client)));
    }
    if let Begin::Header(len, client) = header(bytes) {
        assert!(len <= bytes.len().min(HEADER_MAX));
        assert_eq!(header(&bytes[..len]), Begin::Header(len, client));
        for cut in 0..len {
            assert!(matches!(header(&bytes[..cut]), Begin::Partial(more) if more > 0 && cut + more <= len));
        }
    }
}
