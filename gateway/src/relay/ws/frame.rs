//! Frames: the decoder of what a client sends, and the header of what a server sends.

use std::ops::Range;

use super::{Close, CloseCode, mask, utf8::Utf8};

/// Opcodes (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with the message that an earlier frame began.
    Continuation = 0,
    /// Begins a text message.
    Text = 1,
    /// Begins a binary message.
    Binary = 2,
    /// Closes the connection.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

impl Opcode {
    fn parse(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => return Err(ProtocolError::Opcode(other)),
        })
    }

    const fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// What a client did against RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A reserved bit is set, and no extension was agreed on (section 5.2).
    #[error("reserved bit set")]
    ReservedBit,
    /// An opcode that is not defined (section 5.2).
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// A client's frame without a mask (section 5.1).
    #[error("frame without a mask")]
    Unmasked,
    /// A length in more bytes than it needs, or with the highest bit set (section 5.2).
    #[error("bad frame length")]
    Length,
    /// A control frame that is fragmented or longer than 125 bytes (section 5.5).
    #[error("fragmented or oversized control frame")]
    Control,
    /// A continuation without a message, or a new message inside another (section 5.4).
    #[error("fragments out of order")]
    Fragments,
    /// A close frame with a code that may not be sent (section 7.4).
    #[error("bad close code {0}")]
    CloseCode(u16),
    /// A text message or a close reason that is not UTF-8 (section 8.1).
    #[error("text is not UTF-8")]
    NotUtf8,
    /// What the frames carry breaks the protocol of the console. Nobody here looks at that: it is what stands
    /// in front of a target that does, and says so with this inside of an [`std::io::Error`].
    #[error("{0}")]
    Console(&'static str),
}

impl ProtocolError {
    /// The code to close with.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::NotUtf8 => CloseCode::NOT_UTF8,
            _ => CloseCode::PROTOCOL,
        }
    }
}

/// Longest payload of a control frame (section 5.5).
pub const CONTROL_MAX: usize = 125;

/// The payload of a control frame. Few sessions have one under way, so that it stands apart.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Control(Vec<u8>);

impl Control {
    /// Appends `bytes`; what does not fit is left out.
    pub fn extend(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(CONTROL_MAX - self.0.len());
        self.0.extend_from_slice(&bytes[..taken]);
    }
}

impl AsRef<[u8]> for Control {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What users type is not for logs.
        write!(f, "Control({} bytes)", self.0.len())
    }
}

/// The two kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8, checked.
    Text,
    /// Bytes.
    Binary,
}

/// What the decoder found in the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A part of a message, unmasked, at this place of the input. Empty only for an empty message
    /// or an empty last fragment.
    Data {
        /// Where in the input.
        payload: Range<usize>,
        /// What the message is.
        kind: Kind,
        /// Whether the message ends here.
        last: bool,
    },
    /// A ping; its payload goes back in a pong.
    Ping(Control),
    /// A pong.
    Pong(Control),
    /// A close frame; what the client sends after it is not looked at.
    Close(Option<Close>),
}

/// Decodes what a client sends. Takes bytes as they arrive and hands on what they hold; a frame
/// need not be complete before its first byte moves on, so memory does not depend on its length.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// The message that is open between fragments.
    message: Option<Kind>,
    utf8: Utf8,
}

#[derive(Debug)]
enum State {
    /// Between frames, or inside a header of which `len` bytes have come.
    Header { bytes: [u8; CLIENT_HEADER_LEN], len: u8 },
    /// Inside the payload of a data frame.
    Data { left: u64, key: [u8; 4], kind: Kind, last: bool },
    /// Inside the payload of a control frame.
    Control { opcode: Opcode, left: usize, key: [u8; 4], payload: Control },
    /// Behind a close frame.
    Closed,
}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; CLIENT_HEADER_LEN], len: 0 }
    }
}

/// Longest header that a client sends: two bytes, eight of length, four of mask.
const CLIENT_HEADER_LEN: usize = 14;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

impl Decoder {
    /// The next piece in `input`, and how many bytes of it are used up with that piece. `None`:
    /// all of `input` is used up, and more bytes are needed.
    ///
    /// # Errors
    /// What the client did wrong. The decoder is of no further use then.
    pub fn next(&mut self, input: &mut [u8]) -> Result<Option<(usize, Piece)>, ProtocolError> {
        let mut at = 0;
        loop {
            match &mut self.state {
                State::Header { bytes, len } => {
                    let have = usize::from(*len);
                    let need = header_len(&bytes[..have]);
                    let taken = (need - have).min(input.len() - at);
                    bytes[have..have + taken].copy_from_slice(&input[at..at + taken]);
                    *len += taken as u8;
                    at += taken;
                    if usize::from(*len) < need {
                        return Ok(None);
                    }
                    if header_len(&bytes[..need]) == need {
                        let header = Header::parse(&bytes[..need])?;
                        if let Some(piece) = self.begin(header)? {
                            return Ok(Some((at, piece)));
                        }
                    }
                }
                State::Data { left, key, kind, last } => {
                    let available = (input.len() - at) as u64;
                    if available == 0 {
                        return Ok(None);
                    }
                    let taken = available.min(*left) as usize;
                    let payload = at..at + taken;
                    *key = mask::apply(&mut input[payload.clone()], *key);
                    *left -= taken as u64;
                    let (kind, ended, last) = (*kind, *left == 0, *left == 0 && *last);
                    if ended {
                        self.state = State::default();
                    }
                    self.check_text(kind, &input[payload.clone()], last)?;
                    return Ok(Some((payload.end, Piece::Data { payload, kind, last })));
                }
                State::Control { opcode, left, key, payload } => {
                    let taken = (*left).min(input.len() - at);
                    let part = &mut input[at..at + taken];
                    *key = mask::apply(part, *key);
                    payload.extend(part);
                    *left -= taken;
                    at += taken;
                    if *left > 0 {
                        return Ok(None);
                    }
                    let piece = control(*opcode, std::mem::take(payload))?;
                    self.state = if let Piece::Close(_) = piece { State::Closed } else { State::default() };
                    return Ok(Some((at, piece)));
                }
                State::Closed => return Ok(None),
            }
        }
    }

    /// Whether the bytes so far end at a frame's border.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header { len: 0, .. } | State::Closed)
    }

    /// Enters the frame that `header` begins. An empty last data frame is a piece at once.
    fn begin(&mut self, header: Header) -> Result<Option<Piece>, ProtocolError> {
        let Header { fin, opcode, len, key } = header;
        if opcode.is_control() {
            if !fin || len > CONTROL_MAX as u64 {
                return Err(ProtocolError::Control);
            }
            self.state = State::Control { opcode, left: len as usize, key, payload: Control::default() };
            return Ok(None);
        }
        let kind = match (opcode, self.message) {
            (Opcode::Continuation, Some(kind)) => kind,
            (Opcode::Text, None) => Kind::Text,
            (Opcode::Binary, None) => Kind::Binary,
            _ => return Err(ProtocolError::Fragments),
        };
        self.message = (!fin).then_some(kind);
        if len > 0 {
            self.state = State::Data { left: len, key, kind, last: fin };
            return Ok(None);
        }
        self.state = State::default();
        self.check_text(kind, &[], fin)?;
        Ok(fin.then_some(Piece::Data { payload: 0..0, kind, last: true }))
    }

    fn check_text(&mut self, kind: Kind, part: &[u8], last: bool) -> Result<(), ProtocolError> {
        if kind == Kind::Text {
            self.utf8.feed(part).map_err(|_| ProtocolError::NotUtf8)?;
            if last {
                self.utf8.finish().map_err(|_| ProtocolError::NotUtf8)?;
            }
        }
        Ok(())
    }
}

fn control(opcode: Opcode, payload: Control) -> Result<Piece, ProtocolError> {
    Ok(match opcode {
        Opcode::Ping => Piece::Ping(payload),
        Opcode::Pong => Piece::Pong(payload),
        _ => Piece::Close(Close::parse(payload.as_ref())?),
    })
}

/// How long the header that starts with `bytes` is, as far as they tell.
fn header_len(bytes: &[u8]) -> usize {
    let [_, second, ..] = bytes else { return 2 };
    let extended = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & MASKED == 0 { 0 } else { 4 }
}

struct Header {
    fin: bool,
    opcode: Opcode,
    len: u64,
    key: [u8; 4],
}

impl Header {
    /// Reads a complete header.
    fn parse(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let (first, second) = (bytes[0], bytes[1]);
        if first & 0x70 != 0 {
            return Err(ProtocolError::ReservedBit);
        }
        let opcode = Opcode::parse(first & 0x0f)?;
        if second & MASKED == 0 {
            return Err(ProtocolError::Unmasked);
        }
        let (extended, key) = bytes[2..].split_at(bytes.len() - 6);
        let len = extended.iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        let len = match extended.len() {
            0 => u64::from(second & !MASKED),
            2 if len > 125 => len,
            8 if len > 0xffff && len >> 63 == 0 => len,
            _ => return Err(ProtocolError::Length),
        };
        Ok(Self { fin: first & FIN != 0, opcode, len, key: [key[0], key[1], key[2], key[3]] })
    }
}

/// Longest header that a server sends: two bytes and eight of length.
pub const SERVER_HEADER_LEN: usize = 10;

/// Writes the header of an unfragmented, unmasked frame with `len` bytes of payload to the end of
/// `room`, so that it stands right before a payload that follows `room`. Returns where it starts.
///
/// `room` must hold at least [`SERVER_HEADER_LEN`] bytes.
pub fn put_header(room: &mut [u8], opcode: Opcode, len: usize) -> usize {
    let end = room.len();
    let (start, short) = match len {
        0..=125 => (end - 2, len as u8),
        126..=0xffff => (end - 4, 126),
        _ => (end - 10, 127),
    };
    room[start] = FIN | opcode as u8;
    room[start + 1] = short;
    let extended = (len as u64).to_be_bytes();
    let extended_len = end - start - 2;
    room[start + 2..].copy_from_slice(&extended[8 - extended_len..]);
    start
}

/// A whole message of a server, in one frame.
pub fn message(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; SERVER_HEADER_LEN];
    let start = put_header(&mut header, opcode, payload.len());
    [&header[start..], payload].concat()
}

#[cfg(test)]
mod tests;
