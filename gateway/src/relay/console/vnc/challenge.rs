//! The answer to the challenge of VNC authentication (RFC 6143 section 7.2.2).

use des::Des;
use des::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// Bytes of a challenge, and of its answer.
pub const CHALLENGE_LEN: usize = 16;

/// Encrypts `challenge` by DES, each half for itself, with the first eight bytes of `password` as the key,
/// filled up with zeros.
pub fn answer(password: &[u8], challenge: [u8; CHALLENGE_LEN]) -> [u8; CHALLENGE_LEN] {
    let mut key = [0; 8];
    // Bits stand the other way round than DES counts them: not in the RFC (erratum 4951 was reported),
    // but in every VNC there is.
    for (to, from) in key.iter_mut().zip(password) {
        *to = from.reverse_bits();
    }
    let cipher = Des::new(&Array(key));
    let mut answer = challenge;
    for block in answer.as_chunks_mut::<8>().0 {
        let mut whole = Array(*block);
        cipher.encrypt_block(&mut whole);
        *block = whole.0;
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of FIPS 81, table B1: key 0123456789abcdef, text "Now is the time ".
    #[test]
    fn a_published_example_comes_out() {
        let password = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].map(u8::reverse_bits);
        let expected = 0x3fa4_0e8a_984d_4815_6a27_1787_ab88_83f9_u128.to_be_bytes();
        assert_eq!(answer(&password, *b"Now is the time "), expected);
    }

    #[test]
    fn eight_bytes_of_a_password_count() {
        let challenge = *b"sixteen bytes...";
        assert_eq!(answer(b"password", challenge), answer(b"password and more", challenge));
        assert_ne!(answer(b"password", challenge), answer(b"passwore", challenge));
        assert_eq!(answer(b"pass", challenge), answer(b"pass\0\0\0\0", challenge));
        assert_eq!(answer(b"", challenge), answer(&[0; 8], challenge));
    }
}
