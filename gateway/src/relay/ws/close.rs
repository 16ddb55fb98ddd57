//! Close frames: codes and reasons (RFC 6455 sections 5.5.1 and 7.4).

use super::frame::{CONTROL_MAX, Control, ProtocolError};

/// A status code of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// An endpoint goes away.
    pub const GOING_AWAY: Self = Self(1001);
    /// A protocol error.
    pub const PROTOCOL: Self = Self(1002);
    /// A text message that is not UTF-8.
    pub const NOT_UTF8: Self = Self(1007);
    /// What was received is against the server's policy.
    pub const POLICY: Self = Self(1008);
    /// The server met a condition that it did not expect.
    pub const INTERNAL: Self = Self(1011);
    /// The server is overloaded (IANA's registry of close codes).
    pub const AGAIN_LATER: Self = Self(1013);

    /// Whether the code may stand in a frame. 1004 to 1006 and 1015 are reserved (section 7.4.1),
    /// 1012 to 1014 are registered with IANA, 3000 to 4999 belong to libraries and applications.
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What a close frame says; an empty frame is `None` where one of these is optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The status code.
    pub code: CloseCode,
    /// Text for people, at most 123 bytes; more is cut at a character's border.
    pub reason: String,
}

impl Close {
    /// A close frame with `code` and `reason`.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// Reads the payload of a close frame.
    ///
    /// # Errors
    /// One byte, or a code that may not be sent: [`ProtocolError::CloseCode`]. A reason that is not
    /// UTF-8: [`ProtocolError::NotUtf8`].
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        match payload {
            [] => Ok(None),
            [only] => Err(ProtocolError::CloseCode(u16::from(*only))),
            [high, low, reason @ ..] => {
                let code = CloseCode(u16::from_be_bytes([*high, *low]));
                if !code.may_be_sent() {
                    return Err(ProtocolError::CloseCode(code.0));
                }
                let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::NotUtf8)?;
                Ok(Some(Self::new(code, reason)))
            }
        }
    }

    /// The payload of a close frame that says this.
    pub fn payload(&self) -> Control {
        let reason = &self.reason[..self.reason.floor_char_boundary(CONTROL_MAX - 2)];
        let mut payload = Control::default();
        payload.extend(&self.code.0.to_be_bytes());
        payload.extend(reason.as_bytes());
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_reads_back() {
        for (code, reason) in [(1000, ""), (1001, "going away"), (4999, "ä")] {
            let close = Close::new(CloseCode(code), reason);
            assert_eq!(Close::parse(close.payload().as_ref()), Ok(Some(close)));
        }
        assert_eq!(Close::parse(&[]), Ok(None));
    }

    #[test]
    fn codes_that_may_not_be_sent_are_refused() {
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            assert_eq!(Close::parse(&code.to_be_bytes()), Err(ProtocolError::CloseCode(code)));
        }
        assert_eq!(Close::parse(&[3]), Err(ProtocolError::CloseCode(3)));
    }

    #[test]
    fn a_reason_is_utf8() {
        assert_eq!(Close::parse(&[3, 232, 0xff]), Err(ProtocolError::NotUtf8));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let close = Close::new(CloseCode::NORMAL, "ä".repeat(100));
        let payload = close.payload();
        assert_eq!(payload.as_ref().len(), 124);
        assert!(Close::parse(payload.as_ref()).is_ok());
    }
}
