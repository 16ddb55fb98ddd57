//! Link messages of SPICE, of both sides: what was read, and is written again, says the same.

use portcullis::relay::console::spice::link::{Ask, Reply};

/// A message, and what may follow it.
pub fn run(bytes: &[u8]) {
    if let Ok(Some((len, ask))) = Ask::parse(bytes) {
        assert!(len <= bytes.len());
        let again = ask.encode();
        assert_eq!(Ask::parse(&again), Ok(Some((again.len(), ask))));
    }
    if let Ok(Some((len, reply))) = Reply::parse(bytes) {
        assert!(len <= bytes.len());
        let again = reply.encode();
        assert_eq!(Reply::parse(&again), Ok(Some((again.len(), reply))));
    }
}
