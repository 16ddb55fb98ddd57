//! A UTF-8 check for text that arrives in parts (RFC 6455 section 8.1).

/// What is left of a character that the last part began.
#[derive(Debug, Default)]
pub struct Utf8 {
    begun: [u8; 4],
    len: usize,
}

/// The text is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub struct NotUtf8;

impl Utf8 {
    /// Takes the next part of the text.
    pub fn feed(&mut self, mut part: &[u8]) -> Result<(), NotUtf8> {
        while self.len > 0 {
            let [next, rest @ ..] = part else { return Ok(()) };
            self.begun[self.len] = *next;
            self.len += 1;
            part = rest;
            match std::str::from_utf8(&self.begun[..self.len]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                // A character has at most four bytes, so `begun` is never overrun.
                Err(_) => {}
            }
        }
        if let Err(error) = std::str::from_utf8(part) {
            if error.error_len().is_some() {
                return Err(NotUtf8);
            }
            let begun = &part[error.valid_up_to()..];
            self.begun[..begun.len()].copy_from_slice(begun);
            self.len = begun.len();
        }
        Ok(())
    }

    /// The text is over; the next part begins another one.
    pub fn finish(&mut self) -> Result<(), NotUtf8> {
        if std::mem::take(&mut self.len) == 0 { Ok(()) } else { Err(NotUtf8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(parts: &[&[u8]]) -> bool {
        let mut utf8 = Utf8::default();
        parts.iter().all(|part| utf8.feed(part).is_ok()) && utf8.finish().is_ok()
    }

    proptest! {
        #[test]
        fn text_in_parts_equals_text_as_a_whole(
            bytes in prop_oneof![".*".prop_map(String::into_bytes), any::<Vec<u8>>()],
            cuts: [prop::sample::Index; 2],
        ) {
            let mut cuts = cuts.map(|cut| cut.index(bytes.len() + 1));
            cuts.sort_unstable();
            let parts = [&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]];
            prop_assert_eq!(check(&parts), std::str::from_utf8(&bytes).is_ok());
        }
    }

    #[test]
    fn every_cut_of_every_length_is_joined() {
        for text in ["a", "ä", "€", "😀", "a😀€äa"] {
            let bytes: Vec<[u8; 1]> = text.bytes().map(|byte| [byte]).collect();
            let parts: Vec<&[u8]> = bytes.iter().map(|byte| byte.as_slice()).collect();
            assert!(check(&parts), "{text}");
            assert!(!check(&parts[..parts.len() - 1]) || text.is_ascii() || text.ends_with('a'), "{text}");
        }
    }
}
