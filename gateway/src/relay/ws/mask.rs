//! Masking (RFC 6455 section 5.3): the payload XORed with a repeated key of four bytes.

/// Masks or unmasks `payload` in place with `key`, whose first byte belongs to `payload[0]`.
/// Returns the key turned so that it goes on right behind `payload`.
pub fn apply(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let word = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    u32::from_le_bytes(key).rotate_right(payload.len() as u32 % 4 * 8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_byte_loop(payload: Vec<u8>, key: [u8; 4]) {
            let expected: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(p, k)| p ^ k).collect();
            let mut masked = payload;
            apply(&mut masked, key);
            prop_assert_eq!(masked, expected);
        }

        #[test]
        fn goes_on_where_it_stopped(payload: Vec<u8>, key: [u8; 4], cut: prop::sample::Index) {
            let cut = cut.index(payload.len() + 1);
            let mut whole = payload.clone();
            let end = apply(&mut whole, key);
            let mut parts = payload;
            let (head, tail) = parts.split_at_mut(cut);
            let turned = apply(head, key);
            prop_assert_eq!(apply(tail, turned), end);
            prop_assert_eq!(parts, whole);
        }
    }
}
