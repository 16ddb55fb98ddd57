//! Link messages of SPICE (spice-protocol, `spice/protocol.h`): what each side of a channel says first. Without
//! I/O; little endian throughout.

/// The first bytes of both messages.
pub const MAGIC: [u8; 4] = *b"REDQ";
/// The version that is spoken: 2.2 has been the only one since 2010.
const VERSION: [u32; 2] = [2, 2];
/// Magic, version and size.
const HEADER_LEN: usize = 16;
/// Fixed part of a client's message: connection, channel, three words about capabilities.
const ASK_LEN: usize = 18;
/// Fixed part of a server's: error, key, three words about capabilities.
const REPLY_LEN: usize = 4 + KEY_LEN + 12;
/// Bytes of the server's public key: RSA of 1024 bits, as SubjectPublicKeyInfo in DER.
pub const KEY_LEN: usize = 162;
/// Common capability: messages with headers of six bytes (`SPICE_COMMON_CAP_MINI_HEADER`).
pub const MINI_HEADER: u32 = 3;
/// Most bytes behind a header; spice-server reads no more either.
pub const SIZE_MAX: usize = 4096;

/// A client's first message (`SpiceLinkMess`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// 0 for the main channel; the others name the connection that it was given.
    pub connection_id: u32,
    /// What the channel is for.
    pub channel_type: u8,
    /// Which of several.
    pub channel_id: u8,
    /// What the client can do on any channel, 32 to a word.
    pub common: Vec<u32>,
    /// The same on this one.
    pub channel: Vec<u32>,
}

/// A server's first message (`SpiceLinkReply`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 0, or why there is no link.
    pub error: u32,
    /// What the client encrypts its ticket with.
    pub key: [u8; KEY_LEN],
    /// What the server can do on any channel, 32 to a word.
    pub common: Vec<u32>,
    /// The same on this one.
    pub channel: Vec<u32>,
}

/// Why bytes are no link message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// They do not begin with the magic.
    #[error("no SPICE")]
    Magic,
    /// Another major version.
    #[error("another version of SPICE")]
    Version,
    /// A size that cannot be, or capabilities outside of the message.
    #[error("a malformed link message of SPICE")]
    Malformed,
}

/// No error (`SPICE_LINK_ERR_OK`).
pub const OK: u32 = 0;
/// `SPICE_LINK_ERR_ERROR`.
pub const ERROR: u32 = 1;
/// `SPICE_LINK_ERR_INVALID_DATA`.
pub const INVALID_DATA: u32 = 3;
/// `SPICE_LINK_ERR_VERSION_MISMATCH`.
pub const VERSION_MISMATCH: u32 = 4;
/// `SPICE_LINK_ERR_PERMISSION_DENIED`.
pub const PERMISSION_DENIED: u32 = 7;
/// `SPICE_LINK_ERR_BAD_CONNECTION_ID`.
pub const BAD_CONNECTION_ID: u32 = 8;
/// `SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE`.
pub const CHANNEL_NOT_AVAILABLE: u32 = 9;

impl LinkError {
    /// The error that a server answers with.
    pub const fn code(self) -> u32 {
        match self {
            Self::Magic | Self::Malformed => INVALID_DATA,
            Self::Version => VERSION_MISMATCH,
        }
    }
}

impl Ask {
    /// Reads a message from the front of `bytes`: how long it is, and what it says; `None` where more has to
    /// come first.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(usize, Self)>, LinkError> {
        let Some(body) = body(bytes, ASK_LEN)? else { return Ok(None) };
        let (common, channel) = capabilities(body, 6)?;
        let connection_id = word(body, 0).ok_or(LinkError::Malformed)?;
        let ask = Self { connection_id, channel_type: body[4], channel_id: body[5], common, channel };
        Ok(Some((HEADER_LEN + body.len(), ask)))
    }

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut fixed = self.connection_id.to_le_bytes().to_vec();
        fixed.extend([self.channel_type, self.channel_id]);
        message(fixed, &self.common, &self.channel)
    }

    /// Whether `number` is among the common capabilities.
    pub fn can(&self, number: u32) -> bool {
        has(&self.common, number)
    }
}

impl Reply {
    /// Nothing but an error.
    pub const fn error(error: u32) -> Self {
        Self { error, key: [0; KEY_LEN], common: Vec::new(), channel: Vec::new() }
    }

    /// See [`Ask::parse`].
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(usize, Self)>, LinkError> {
        let Some(body) = body(bytes, REPLY_LEN)? else { return Ok(None) };
        let (common, channel) = capabilities(body, 4 + KEY_LEN)?;
        let error = word(body, 0).ok_or(LinkError::Malformed)?;
        let key = body[4..].first_chunk().ok_or(LinkError::Malformed)?;
        Ok(Some((HEADER_LEN + body.len(), Self { error, key: *key, common, channel })))
    }

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut fixed = self.error.to_le_bytes().to_vec();
        fixed.extend(self.key);
        message(fixed, &self.common, &self.channel)
    }

    /// Whether `number` is among the common capabilities.
    pub fn can(&self, number: u32) -> bool {
        has(&self.common, number)
    }
}

fn has(capabilities: &[u32], number: u32) -> bool {
    capabilities.get(number as usize / 32).is_some_and(|word| word & (1 << (number % 32)) != 0)
}

/// What stands behind a good header, if all of it has come; at least `fixed` bytes.
fn body(bytes: &[u8], fixed: usize) -> Result<Option<&[u8]>, LinkError> {
    if !bytes.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic) {
        return Err(LinkError::Magic);
    }
    if word(bytes, 4).is_some_and(|major| major != VERSION[0]) {
        return Err(LinkError::Version);
    }
    let Some(size) = word(bytes, 12) else { return Ok(None) };
    let size = size as usize;
    if size < fixed || size > SIZE_MAX {
        return Err(LinkError::Malformed);
    }
    Ok(bytes.get(HEADER_LEN..HEADER_LEN + size))
}

/// Two lists of words: their lengths and the place of the first stand at `at`, the second is right behind it.
fn capabilities(body: &[u8], at: usize) -> Result<(Vec<u32>, Vec<u32>), LinkError> {
    let number = |nth: usize| word(body, at + 4 * nth).map(|number| number as usize);
    let read = || {
        let (common, channel, offset) = (number(0)?, number(1)?, number(2)?);
        let list = |from: usize, count: usize| -> Option<Vec<u32>> {
            let end = count.checked_mul(4)?.checked_add(from)?;
            Some(body.get(from..end)?.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
        };
        let second = common.checked_mul(4)?.checked_add(offset)?;
        Some((list(offset, common)?, list(second, channel)?))
    };
    read().ok_or(LinkError::Malformed)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// Header, fixed part, and capabilities right behind it.
fn message(mut fixed: Vec<u8>, common: &[u32], channel: &[u32]) -> Vec<u8> {
    let offset = fixed.len() + 12;
    for number in [common.len(), channel.len(), offset] {
        fixed.extend((number as u32).to_le_bytes());
    }
    for word in common.iter().chain(channel) {
        fixed.extend(word.to_le_bytes());
    }
    let mut message = MAGIC.to_vec();
    for number in [VERSION[0], VERSION[1], fixed.len() as u32] {
        message.extend(number.to_le_bytes());
    }
    message.append(&mut fixed);
    message
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn asks()(
            connection_id: u32, channel_type: u8, channel_id: u8,
            common in vec(any::<u32>(), 0..8), channel in vec(any::<u32>(), 0..8),
        ) -> Ask {
            Ask { connection_id, channel_type, channel_id, common, channel }
        }
    }

    prop_compose! {
        fn replies()(
            error: u32, key in vec(any::<u8>(), KEY_LEN),
            common in vec(any::<u32>(), 0..8), channel in vec(any::<u32>(), 0..8),
        ) -> Reply {
            Reply { error, key: key.try_into().expect("its length"), common, channel }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ask in asks(), reply in replies(), more in vec(any::<u8>(), 0..9)) {
            let (mut asked, mut replied) = (ask.encode(), reply.encode());
            let (ask_len, reply_len) = (asked.len(), replied.len());
            asked.extend(&more);
            replied.extend(&more);
            prop_assert_eq!(Ask::parse(&asked), Ok(Some((ask_len, ask))));
            prop_assert_eq!(Reply::parse(&replied), Ok(Some((reply_len, reply))));
        }

        #[test]
        fn a_part_is_not_a_message_yet(ask in asks(), reply in replies(), at: proptest::sample::Index) {
            let (asked, replied) = (ask.encode(), reply.encode());
            prop_assert_eq!(Ask::parse(&asked[..at.index(asked.len())]), Ok(None));
            prop_assert_eq!(Reply::parse(&replied[..at.index(replied.len())]), Ok(None));
        }

        #[test]
        fn anything_may_come(mut bytes in vec(any::<u8>(), 0..400), words in vec((0_usize..80, any::<u32>()), 0..4)) {
            // Nearly a message: what is not looked at by chance is looked at.
            for (at, byte) in b"REDQ\x02\0\0\0\x02\0\0\0".iter().enumerate().take(bytes.len()) {
                bytes[at] = *byte;
            }
            for (at, word) in words {
                if let Some(place) = bytes.get_mut(4 * at..4 * at + 4) {
                    place.copy_from_slice(&(word % 300).to_le_bytes());
                }
            }
            for (len, longest) in [
                Ask::parse(&bytes).ok().flatten().map(|(len, _)| (len, bytes.len())),
                Reply::parse(&bytes).ok().flatten().map(|(len, _)| (len, bytes.len())),
            ].into_iter().flatten() {
                prop_assert!(len <= longest);
            }
        }
    }

    /// The first message of spice-gtk 0.42's main channel.
    #[test]
    fn a_real_one_is_understood() {
        let bytes = b"REDQ\x02\0\0\0\x02\0\0\0\x1a\0\0\0\0\0\0\0\x01\0\x01\0\0\0\x01\0\0\0\x12\0\0\0\
            \x0b\0\0\0\x0f\0\0\0";
        let (len, ask) = Ask::parse(bytes).expect("SPICE").expect("all of it");
        assert_eq!(len, bytes.len());
        assert_eq!((ask.connection_id, ask.channel_type, ask.channel_id), (0, 1, 0));
        assert!(ask.can(0) && ask.can(1) && !ask.can(2) && ask.can(3) && !ask.can(64));
        assert_eq!(ask.encode(), bytes);
    }

    fn check(change: impl FnOnce(&mut Vec<u8>), error: LinkError) {
        let ask = Ask { connection_id: 1, channel_type: 2, channel_id: 0, common: vec![9], channel: vec![] };
        let mut bytes = ask.encode();
        change(&mut bytes);
        assert_eq!(Ask::parse(&bytes), Err(error), "{bytes:x?}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(|bytes| bytes[3] = b'q', LinkError::Magic);
        check(|bytes| bytes[4] = 1, LinkError::Version);
        check(|bytes| bytes[12] = 17, LinkError::Malformed);
        check(|bytes| bytes[13] = 0x10, LinkError::Malformed);
        // More capabilities than there are, so many that their bytes cannot be counted, and far away.
        check(|bytes| bytes[22] = 2, LinkError::Malformed);
        check(|bytes| bytes[22..26].fill(0xff), LinkError::Malformed);
        check(|bytes| bytes[30..34].fill(0xff), LinkError::Malformed);
        // Known before all of it is there.
        check(|bytes| bytes.splice(4.., [3, 0, 0, 0]).for_each(drop), LinkError::Version);
    }
}
