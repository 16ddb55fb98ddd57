//! What a close frame says: what is read is written again as it was.

use portcullis::relay::ws::Close;

/// The payload of a close frame.
pub fn run(bytes: &[u8]) {
    if bytes.len() > 125 {
        return;
    }
    if let Ok(Some(close)) = Close::parse(bytes) {
        assert_eq!(close.payload().as_ref(), bytes);
    }
}
