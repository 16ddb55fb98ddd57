//! Preconnection blobs ([MS-RDPEPS] section 2.2.1): what a client may say before its connection request, for a server
//! that has several machines behind one port. Without I/O; little endian throughout.

use crate::relay::sniff::BLOB;

/// Bytes of version 1, and in front of the text of version 2: size, flags, version, id.
const FIXED_LEN: usize = 16;
/// Most bytes of a blob.
pub const PACKET_MAX: usize = *BLOB.end() as usize;

/// A preconnection blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob<'a> {
    packet: &'a [u8],
    /// A number that somebody may know the machine by; 0 where none does.
    pub id: u32,
    /// UTF-16, of version 2 only.
    text: Option<&'a [u8]>,
}

/// Why bytes are no preconnection blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Of another version than 1 and 2, or with flags.
    #[error("a preconnection blob of another kind")]
    Kind,
    /// A size that cannot be, or is not that of what is inside.
    #[error("a malformed preconnection blob")]
    Malformed,
}

impl<'a> Blob<'a> {
    /// Reads a blob from the front of `bytes`; `None` where more has to come first. None has more than [`PACKET_MAX`]
    /// bytes.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, BlobError> {
        let Some(size) = word(bytes, 0) else { return Ok(None) };
        if !BLOB.contains(&size) {
            return Err(BlobError::Malformed);
        }
        if word(bytes, 4).is_some_and(|flags| flags != 0) {
            return Err(BlobError::Kind);
        }
        let size = size as usize;
        let Some(version) = word(bytes, 8) else { return Ok(None) };
        match version {
            1 if size == FIXED_LEN => {}
            2 if size >= FIXED_LEN + 2 => {}
            1 | 2 => return Err(BlobError::Malformed),
            _ => return Err(BlobError::Kind),
        }
        let Some(packet) = bytes.get(..size) else { return Ok(None) };
        let text = (version == 2).then(|| text(packet)).transpose()?;
        let id = word(packet, 12).ok_or(BlobError::Malformed)?;
        Ok(Some(Self { packet, id, text }))
    }

    /// All of its bytes.
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Its text without the zeros at its end, of which there should be one; `None` where there is none, or it is no
    /// text.
    pub fn text(&self) -> Option<String> {
        let units: Vec<_> = self.text?.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        let end = units.iter().rposition(|unit| *unit != 0).map_or(0, |last| last + 1);
        String::from_utf16(&units[..end]).ok()
    }

    /// A blob of version 2.
    pub fn encode(id: u32, text: &str) -> Vec<u8> {
        let units: Vec<_> = text.encode_utf16().chain([0]).collect();
        let size = FIXED_LEN + 2 + 2 * units.len();
        let mut packet = Vec::with_capacity(size);
        for word in [size as u32, 0, 2, id] {
            packet.extend(word.to_le_bytes());
        }
        packet.extend((units.len() as u16).to_le_bytes());
        packet.extend(units.into_iter().flat_map(u16::to_le_bytes));
        packet
    }
}

/// What stands behind a count of its units, and fills all of the packet.
fn text(packet: &[u8]) -> Result<&[u8], BlobError> {
    let (count, text) = packet[FIXED_LEN..].split_first_chunk().ok_or(BlobError::Malformed)?;
    if text.len() == 2 * usize::from(u16::from_le_bytes(*count)) {
        Ok(text)
    } else {
        Err(BlobError::Malformed)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn check(packet: &[u8], error: BlobError) {
        assert_eq!(Blob::parse(packet), Err(error), "{packet:x?}");
    }

    #[test]
    fn both_versions_are_understood() {
        let packet = [16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 99];
        let blob = Blob::parse(&packet).expect("a blob").expect("all of it");
        assert_eq!((blob.id, blob.text(), blob.packet()), (7, None, &packet[..16]));
        let packet = Blob::encode(0, "a machine");
        let blob = Blob::parse(&packet).expect("a blob").expect("all of it");
        assert_eq!((blob.id, blob.text().as_deref()), (0, Some("a machine")));
    }

    /// FreeRDP 2.11 ends a text of an even number of units with two zeros.
    #[test]
    fn zeros_at_the_end_are_no_text() {
        let packet = b"\x18\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0a\0\0\0\0\0";
        let blob = Blob::parse(packet).expect("a blob").expect("all of it");
        assert_eq!(blob.text().as_deref(), Some("a"));
        let half = b"\x14\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x01\xd8";
        assert_eq!(Blob::parse(half).expect("a blob").expect("all of it").text(), None);
    }

    #[test]
    fn what_is_wrong_is_found() {
        let packet = Blob::encode(1, "text");
        let changed = |at: usize, value: u8| {
            let mut packet = packet.clone();
            packet[at] = value;
            packet
        };
        // Larger and smaller than what is inside, and than any.
        for at_0 in [27, 29, 17, 15, 0] {
            check(&[&changed(0, at_0)[..], &[0; 9]].concat(), BlobError::Malformed);
        }
        check(&changed(1, 0x11)[..4], BlobError::Malformed);
        check(&changed(16, 4), BlobError::Malformed);
        check(&changed(17, 0xff), BlobError::Malformed);
        check(&changed(8, 1), BlobError::Malformed);
        check(&changed(4, 1)[..8], BlobError::Kind);
        for version in [0, 3] {
            check(&changed(8, version)[..12], BlobError::Kind);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(id: u32, text in "[^\0]{0,80}", more in vec(any::<u8>(), 0..9)) {
            let packet = Blob::encode(id, &text);
            let bytes = [&packet[..], &more].concat();
            let blob = Blob::parse(&bytes).expect("a blob").expect("all of it");
            prop_assert_eq!((blob.id, blob.packet()), (id, &packet[..]));
            prop_assert_eq!(blob.text(), Some(text));
            for len in 0..packet.len() {
                prop_assert_eq!(Blob::parse(&packet[..len]), Ok(None));
            }
        }

        #[test]
        fn anything_may_come(mut bytes in vec(any::<u8>(), 0..100), size in 0_u8..100, version in 0_u8..4) {
            // Nearly a blob: what is not looked at by chance is looked at.
            for (at, byte) in [size, 0, 0, 0, 0, 0, 0, 0, version, 0, 0, 0].iter().enumerate().take(bytes.len()) {
                bytes[at] = *byte;
            }
            if let Ok(Some(blob)) = Blob::parse(&bytes) {
                prop_assert_eq!(blob.packet().len(), usize::from(size));
                let _ = blob.text();
            }
        }
    }
}
