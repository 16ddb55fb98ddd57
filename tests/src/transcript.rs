//! What real peers said, in `tests/transcripts`: bytes in hexadecimal, and comments from `#` to the end of a line.

use std::path::Path;

/// The bytes of a transcript.
///
/// # Panics
/// There is none, or it is no hexadecimal.
pub fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let words = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    words.map(|word| u8::from_str_radix(word, 16).unwrap_or_else(|_| panic!("{word}"))).collect()
}
