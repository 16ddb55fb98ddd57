//! Names of hosts that are none: where a viewer asks its proxy for one, it says which broker it wants. Nothing of
//! it is ever resolved or dialled.

use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use sha2::Sha256;

use super::ticket::hex;

/// Bytes of the signature that a name has room for.
const SIGNATURE_LEN: usize = 16;
/// No such domain can be (RFC 2606 has nothing better that says who we are).
const SUFFIX: &str = ".portcullis.invalid";

/// Makes names, and knows its own: they are signed with a key that lives as long as the process.
pub struct Names(Hmac<Sha256>);

impl Names {
    /// With a new key.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> std::io::Result<Self> {
        let mut key = [0; 64];
        rand::rngs::SysRng.try_fill_bytes(&mut key).map_err(std::io::Error::other)?;
        Ok(Self(Hmac::new(&key.into())))
    }

    /// The name of the broker with this id. In lower case, because viewers make it so; two labels, each short enough
    /// for a host's name (RFC 1035 section 2.3.4).
    pub fn name(&self, broker_id: &str) -> String {
        let signature = self.signed(broker_id).finalize().into_bytes();
        format!("{broker_id}.{}{SUFFIX}", hex(&signature[..SIGNATURE_LEN]))
    }

    /// Whether `name` is the broker's. How long that takes tells nothing about its signature.
    pub fn is(&self, name: &str, broker_id: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let signature = || {
            let digits = name.strip_prefix(broker_id)?.strip_prefix('.')?.strip_suffix(SUFFIX)?;
            (digits.len() == 2 * SIGNATURE_LEN).then_some(())?;
            let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
            (0..SIGNATURE_LEN).map(byte).collect::<Option<Vec<_>>>()
        };
        signature().is_some_and(|signature| self.signed(broker_id).verify_truncated_left(&signature).is_ok())
    }

    fn signed(&self, broker_id: &str) -> Hmac<Sha256> {
        let mut signed = self.0.clone();
        signed.update(broker_id.as_bytes());
        signed
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_its_broker_and_nothing_else() {
        let (names, other) = (Names::new().expect("a key"), Names::new().expect("a key"));
        let name = names.name("b-e33af3a1fc989695");
        assert!(name.len() <= 100 && name.split('.').all(|label| label.len() <= 63), "{name}");
        assert_eq!(name, name.to_ascii_lowercase());
        assert!(names.is(&name, "b-e33af3a1fc989695"));
        assert!(names.is(&name.to_ascii_uppercase(), "b-e33af3a1fc989695"));
        assert!(!names.is(&name, "b-e33af3a1fc989696") && !names.is(&name, "b-e33af3a1fc98969"));
        assert!(!other.is(&name, "b-e33af3a1fc989695"), "another daemon's");
        let forged = name.replacen(".", ".0", 1);
        for none in ["", "b-e33af3a1fc989695", "10.0.0.7", &name[1..], &format!("{name}x"), &forged] {
            assert!(!names.is(none, "b-e33af3a1fc989695"), "{none}");
        }
        let short = format!("b-e33af3a1fc989695.{SUFFIX}");
        assert!(!names.is(&short, "b-e33af3a1fc989695"));
    }
}
