//! Frames of a client: read in any portions they are the same, and no payload is made up or lost.

use portcullis::relay::ws::{Decoder, Piece, ProtocolError};

/// The first byte says how large the portions are.
pub fn run(bytes: &[u8]) {
    let Some((portion, bytes)) = bytes.split_first() else { return };
    let whole = decode(bytes, bytes.len());
    assert_eq!(decode(bytes, usize::from(*portion)), whole);
}

/// Payload, with each control frame in its place, and how it ended.
fn decode(bytes: &[u8], portion: usize) -> (Vec<u8>, Vec<Piece>, Option<ProtocolError>) {
    let (mut decoder, mut data, mut controls) = (Decoder::default(), Vec::new(), Vec::new());
    for part in bytes.chunks(portion.max(1)) {
        let (mut part, mut at) = (part.to_vec(), 0);
        loop {
            match decoder.next(&mut part[at..]) {
                Ok(None) => break,
                Ok(Some((used, Piece::Data { payload, .. }))) => {
                    assert!(payload.end <= used);
                    data.extend_from_slice(&part[at..][payload]);
                    at += used;
                }
                Ok(Some((used, control))) => {
                    controls.push(control);
                    at += used;
                }
                // What was told of text before it is refused depends on the portions.
                Err(error) => return (Vec::new(), controls, Some(error)),
            }
        }
    }
    (data, controls, None)
}
