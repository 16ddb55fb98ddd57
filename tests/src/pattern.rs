//! Bytes whose every position can be checked: a different pattern for each seed, without a period
//! that buffers could hide in.

/// Fills `part` with the bytes of pattern `seed` from position `at` on.
pub fn fill(seed: u64, at: u64, part: &mut [u8]) {
    for (offset, byte) in (at..).zip(part) {
        *byte = word(seed, offset / 8).to_le_bytes()[(offset % 8) as usize];
    }
}

/// Where `part` first differs from pattern `seed` at position `at`.
pub fn differs(seed: u64, at: u64, part: &[u8]) -> Option<u64> {
    let mut expected = vec![0; part.len()];
    fill(seed, at, &mut expected);
    let first = part.iter().zip(&expected).position(|(byte, expected)| byte != expected)?;
    Some(at + first as u64)
}

/// splitmix64, which gives every index a word of its own.
fn word(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_and_a_wrong_byte_is_found() {
        let mut whole = [0; 1000];
        fill(7, 0, &mut whole);
        let mut part = [0; 100];
        fill(7, 333, &mut part);
        assert_eq!(whole[333..433], part);
        assert_eq!(differs(7, 0, &whole), None);
        whole[512] ^= 1;
        assert_eq!(differs(7, 0, &whole), Some(512));
        assert!(differs(8, 0, &whole).is_some());
    }
}
