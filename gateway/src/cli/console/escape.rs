//! The key that leaves a console.

use std::fmt;
use std::str::FromStr;

/// A control character, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escape(Option<u8>);

impl Escape {
    /// What of `typed` is for the machine, and whether the person leaves behind it.
    pub fn split<'a>(&self, typed: &'a [u8]) -> (&'a [u8], bool) {
        let at = self.0.and_then(|key| typed.iter().position(|byte| *byte == key));
        (&typed[..at.unwrap_or(typed.len())], at.is_some())
    }
}

impl FromStr for Escape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_bytes() {
            b"NONE" => Ok(Self(None)),
            // A control character is a letter, or one of its neighbours, without two bits (ASCII).
            [b'^', key @ b'@'..=b'_'] => Ok(Self(Some(key & 0x1f))),
            _ => Err("^ and a letter, such as ^A; ^], ^^, ^_, ^\\, ^@; or none".to_owned()),
        }
    }
}

impl fmt::Display for Escape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "Ctrl-{}", char::from(key | 0x40)),
            None => f.write_str("No key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_sent() {
        let escape: Escape = "^]".parse().expect("a key");
        assert_eq!(escape.split(b"ls\r"), (&b"ls\r"[..], false));
        assert_eq!(escape.split(b"ls\x1dmore"), (&b"ls"[..], true));
        assert_eq!(escape.split(b"\x1d"), (&b""[..], true));
        let none: Escape = "none".parse().expect("none");
        assert_eq!(none.split(b"\x1d"), (&b"\x1d"[..], false));
    }

    #[test]
    fn keys_are_named_as_terminals_name_them() {
        for (text, key) in [("^]", "Ctrl-]"), ("^a", "Ctrl-A"), ("^@", "Ctrl-@"), ("none", "No key")] {
            assert_eq!(text.parse::<Escape>().map(|escape| escape.to_string()), Ok(key.to_owned()));
        }
        for text in ["", "^", "a", "^1", "^ab", "^\u{e4}"] {
            assert!(text.parse::<Escape>().is_err(), "{text}");
        }
    }
}
