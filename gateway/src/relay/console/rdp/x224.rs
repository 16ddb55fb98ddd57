//! How a connection of RDP begins ([MS-RDPBCGR] sections 2.2.1.1 and 2.2.1.2): the client's connection request and
//! the server's confirm, each one packet of X.224 in one of TPKT. Without I/O.

/// Bytes of TPKT's header: version 3, nothing, and the length of the whole packet in two bytes, the high one first
/// (RFC 1006 section 6).
const TPKT_LEN: usize = 4;
/// Fixed part of both packets, behind the byte that says how long X.224's part is: code, two references, class
/// (X.224 sections 13.3 and 13.4).
const FIXED_LEN: usize = 6;
/// Bytes in front of what is of RDP.
const HEADER_LEN: usize = TPKT_LEN + 1 + FIXED_LEN;
/// Most bytes of a packet: X.224's part says its length in one byte, which is never 255 (X.224 section 13.2.1).
pub const PACKET_MAX: usize = TPKT_LEN + 1 + 254;
/// What a client sends first, without credit.
const REQUEST: u8 = 0xe0;
/// What a server says to it.
const CONFIRM: u8 = 0xd0;
/// What either side says instead of going on.
const DISCONNECT: u8 = 0x80;

/// X.224's disconnect request, without a reason (X.224 section 13.5; [MS-RDPBCGR] has no other word before a
/// connection stands).
pub const GOODBYE: [u8; 11] = [3, 0, 0, 11, 6, DISCONNECT, 0, 0, 0, 0, 0];

/// Security that a client can do and a server selects, as bits; none of them is RDP's own.
pub mod protocol {
    /// TLS (`PROTOCOL_SSL`).
    pub const TLS: u32 = 1;
    /// CredSSP in TLS (`PROTOCOL_HYBRID`).
    pub const HYBRID: u32 = 2;
    /// CredSSP in TLS, with an early answer to the user's authorization (`PROTOCOL_HYBRID_EX`).
    pub const HYBRID_EX: u32 = 8;
}

/// Why bytes are no connection request, or no confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum X224Error {
    /// They do not begin with TPKT's header.
    #[error("no packet of TPKT")]
    Tpkt,
    /// It is another packet of X.224.
    #[error("a packet of X.224 with code {code:#04x} where a connection begins")]
    Code {
        /// What stands there.
        code: u8,
    },
    /// The other side does not want to.
    #[error("disconnected")]
    Disconnect,
    /// Lengths that cannot be, or parts that are none or in another order.
    #[error("a malformed packet where a connection begins")]
    Malformed,
}

/// A client's connection request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    packet: &'a [u8],
    line: Option<&'a [u8]>,
    /// What it can do; `None` of a client that knows RDP's own security only.
    pub negotiation: Option<Negotiation>,
}

/// What a client can do (`RDP_NEG_REQ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiation {
    /// Administration without credentials, and whether correlation information follows.
    pub flags: u8,
    /// See [`protocol`].
    pub protocols: u32,
}

/// A server's answer to a connection request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// RDP's own security: of a server that knows no other, or was asked for no other.
    Plain,
    /// One of what was asked for (`RDP_NEG_RSP`).
    Selected {
        /// What it can do.
        flags: u8,
        /// See [`protocol`]; 0 is RDP's own.
        protocol: u32,
    },
    /// None (`RDP_NEG_FAILURE`), and why.
    Failed {
        /// As [MS-RDPBCGR] section 2.2.1.2.2 numbers the reasons.
        code: u32,
    },
}

/// Begins what a client tells load balancers of itself; the name of a user follows.
const COOKIE: &[u8] = b"Cookie: mstshash=";
/// Begins where it was sent by one.
const ROUTING_TOKEN: &[u8] = b"Cookie: msts=";

impl<'a> Request<'a> {
    /// Reads a packet from the front of `bytes`; `None` where more has to come first. What is wrong is known as soon
    /// as it is there, and no packet has more than [`PACKET_MAX`] bytes.
    ///
    /// # Errors
    /// See [`X224Error`].
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, X224Error> {
        let Some(packet) = packet(bytes, REQUEST)? else { return Ok(None) };
        let (line, rest) = line(&packet[HEADER_LEN..])?;
        let negotiation = negotiation(rest)?;
        Ok(Some(Self { packet, line, negotiation }))
    }

    /// All of its bytes.
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// What it says to load balancers, without the end of the line: a cookie, or a routing token of any shape.
    pub const fn line(&self) -> Option<&'a [u8]> {
        self.line
    }

    /// The routing token, where it has the usual shape.
    pub fn routing_token(&self) -> Option<&'a [u8]> {
        self.line?.strip_prefix(ROUTING_TOKEN)
    }

    /// The user of a cookie; mstsc cuts it off at nine characters.
    pub fn user(&self) -> Option<&'a [u8]> {
        self.line?.strip_prefix(COOKIE)
    }

    /// The packet as it would be without that line.
    pub fn without_line(&self) -> Vec<u8> {
        let line_len = self.line.map_or(0, |line| line.len() + 2);
        let mut packet = self.packet[..HEADER_LEN].to_vec();
        packet.extend(&self.packet[HEADER_LEN + line_len..]);
        let [high, low] = (packet.len() as u16).to_be_bytes();
        (packet[2], packet[3]) = (high, low);
        packet[4] = (packet.len() - TPKT_LEN - 1) as u8;
        packet
    }
}

impl Confirm {
    /// Reads a packet from the front of `bytes`: how long it is, and what it says; `None` where more has to come
    /// first.
    ///
    /// # Errors
    /// See [`X224Error`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(usize, Self)>, X224Error> {
        let Some(packet) = packet(bytes, CONFIRM)? else { return Ok(None) };
        let confirm = match packet[HEADER_LEN..] {
            [] => Self::Plain,
            [SELECTED, flags, 8, 0, a, b, c, d] => {
                Self::Selected { flags, protocol: u32::from_le_bytes([a, b, c, d]) }
            }
            [FAILURE, _, 8, 0, a, b, c, d] => Self::Failed { code: u32::from_le_bytes([a, b, c, d]) },
            _ => return Err(X224Error::Malformed),
        };
        Ok(Some((packet.len(), confirm)))
    }

    /// The packet.
    pub fn encode(self) -> Vec<u8> {
        let variable = match self {
            Self::Plain => Vec::new(),
            Self::Selected { flags, protocol } => part(SELECTED, flags, protocol),
            Self::Failed { code } => part(FAILURE, 0, code),
        };
        let length = (HEADER_LEN + variable.len()) as u8;
        let mut packet = vec![3, 0, 0, length, length - TPKT_LEN as u8 - 1, CONFIRM, 0, 0, 0, 0, 0];
        packet.extend(variable);
        packet
    }
}

/// Whether `bytes` begin as a packet of TPKT does, as far as they go.
pub fn begins(bytes: &[u8]) -> bool {
    bytes.iter().zip([3, 0]).all(|(byte, wanted)| *byte == wanted)
}

/// Types of RDP's parts of the packets.
const NEGOTIATION: u8 = 1;
const SELECTED: u8 = 2;
const FAILURE: u8 = 3;
const CORRELATION: u8 = 6;
/// Correlation information follows (`CORRELATION_INFO_PRESENT`).
const CORRELATED: u8 = 8;
/// Bytes of it ([MS-RDPBCGR] section 2.2.1.1.2).
const CORRELATION_LEN: usize = 36;

/// Type, flags, length, and a number; little endian.
fn part(kind: u8, flags: u8, number: u32) -> Vec<u8> {
    let mut part = vec![kind, flags, 8, 0];
    part.extend(number.to_le_bytes());
    part
}

/// A whole packet with this code, if all of it has come; at least [`HEADER_LEN`] bytes.
fn packet(bytes: &[u8], code: u8) -> Result<Option<&[u8]>, X224Error> {
    if !begins(bytes) {
        return Err(X224Error::Tpkt);
    }
    let Some(length) = bytes.get(2..TPKT_LEN) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if !(HEADER_LEN..=PACKET_MAX).contains(&length) {
        return Err(X224Error::Malformed);
    }
    if bytes.get(TPKT_LEN).is_some_and(|own| usize::from(*own) != length - TPKT_LEN - 1) {
        return Err(X224Error::Malformed);
    }
    match bytes.get(TPKT_LEN + 1) {
        Some(&DISCONNECT) => return Err(X224Error::Disconnect),
        Some(&other) if other != code => return Err(X224Error::Code { code: other }),
        _ => {}
    }
    Ok(bytes.get(..length))
}

/// The line that RDP's part may begin with, and what follows it.
fn line(variable: &[u8]) -> Result<(Option<&[u8]>, &[u8]), X224Error> {
    match variable.first() {
        None | Some(&(NEGOTIATION | CORRELATION)) => return Ok((None, variable)),
        Some(_) => {}
    }
    let end = variable.windows(2).position(|pair| pair == b"\r\n").ok_or(X224Error::Malformed)?;
    let line = &variable[..end];
    // It is text: anything else is a part that nobody knows.
    if !line.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Err(X224Error::Malformed);
    }
    Ok((Some(line), &variable[end + 2..]))
}

/// What a client can do, and what it says behind it.
fn negotiation(rest: &[u8]) -> Result<Option<Negotiation>, X224Error> {
    let (flags, protocols, rest) = match *rest {
        [] => return Ok(None),
        [NEGOTIATION, flags, 8, 0, a, b, c, d, ref rest @ ..] => {
            (flags, u32::from_le_bytes([a, b, c, d]), rest)
        }
        _ => return Err(X224Error::Malformed),
    };
    let is_correlation = |rest: &[u8]| {
        rest.len() == CORRELATION_LEN && rest.starts_with(&[CORRELATION, 0, CORRELATION_LEN as u8, 0])
    };
    if rest.is_empty() || flags & CORRELATED != 0 && is_correlation(rest) {
        Ok(Some(Negotiation { flags, protocols }))
    } else {
        Err(X224Error::Malformed)
    }
}

#[cfg(test)]
mod tests;
