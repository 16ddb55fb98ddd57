//! First bytes of a client: what it was told to be it stays, and enough bytes always tell.

use portcullis::relay::sniff::{ENOUGH, sniff};

/// All that came so far.
pub fn run(bytes: &[u8]) {
    let told: Vec<_> = (0..=bytes.len().min(2 * ENOUGH)).map(|len| sniff(&bytes[..len])).collect();
    assert!(told.windows(2).all(|pair| pair[0].is_none() || pair[0] == pair[1]), "{told:?}");
    assert!(told.len() <= ENOUGH || told[ENOUGH].is_some());
}
