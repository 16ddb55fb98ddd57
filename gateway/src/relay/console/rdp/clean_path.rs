//! RDCleanPath: the one message that goes each way on a WebSocket before RDP (crate `ironrdp-rdcleanpath`, which a
//! browser's IronRDP speaks). A browser cannot do TLS inside of a WebSocket: the gateway does it with the server, and
//! shows the browser the certificates. Without I/O.

use ironrdp_rdcleanpath::der::asn1::OctetString;
use ironrdp_rdcleanpath::{RDCleanPathPdu, VERSION_1};

use super::x224;

/// Longest request, in bytes. Browsers send some hundreds.
pub const REQUEST_MAX: usize = 8 * 1024;

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// More than [`REQUEST_MAX`].
    #[error("a request of more than {REQUEST_MAX} bytes")]
    TooLong,
    /// No DER, another structure, another version, or more behind it.
    #[error("no request of RDCleanPath")]
    Malformed,
    /// What it asks the server is no connection request of RDP.
    #[error("no connection request of RDP inside")]
    NoPacket,
}

/// What a browser asks for. Its destination and its preconnection blob have no meaning here: where the machine is, is
/// the gateway's to know, and a blob would choose among the machines of a Hyper-V host.
#[derive(PartialEq, Eq)]
pub struct Request {
    ticket: String,
    /// X.224's connection request, as the server is to get it.
    pub packet: Vec<u8>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The ticket is in no log.
        write!(f, "Request({} bytes)", self.packet.len())
    }
}

impl Request {
    /// Reads a request that `bytes` are; `None` where more has to come.
    ///
    /// # Errors
    /// See [`BadRequest`].
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, BadRequest> {
        match whole(bytes)? {
            Some(length) if length > REQUEST_MAX => return Err(BadRequest::TooLong),
            Some(length) if bytes.len() >= length => {}
            _ => return Ok(None),
        }
        // Strict: what stands behind it, or in it and is unknown, is an error.
        let pdu = RDCleanPathPdu::from_der(bytes).map_err(|_| BadRequest::Malformed)?;
        if pdu.version != VERSION_1 {
            return Err(BadRequest::Malformed);
        }
        let is_answer = pdu.error.is_some() || pdu.server_cert_chain.is_some() || pdu.server_addr.is_some();
        if is_answer || pdu.destination.is_none() {
            return Err(BadRequest::Malformed);
        }
        let packet = pdu.x224_connection_pdu.ok_or(BadRequest::NoPacket)?;
        let packet = for_server(packet.as_bytes()).ok_or(BadRequest::NoPacket)?;
        Ok(Some(Self { ticket: pdu.proxy_auth.unwrap_or_default(), packet }))
    }

    /// The ticket that came along, if one did.
    pub fn ticket(&self) -> Option<&str> {
        Some(self.ticket.as_str()).filter(|ticket| !ticket.is_empty())
    }
}

/// How long the sequence is that `bytes` begin with, its header included, in the shortest form (X.690 sections 8.1.3
/// and 10.1); `None` where more has to come to tell.
fn whole(bytes: &[u8]) -> Result<Option<usize>, BadRequest> {
    match *bytes {
        [] | [SEQUENCE] | [SEQUENCE, 0x81] | [SEQUENCE, 0x82] | [SEQUENCE, 0x82, _] => Ok(None),
        [SEQUENCE, length @ 0..=0x7f, ..] => Ok(Some(2 + usize::from(length))),
        [SEQUENCE, 0x81, length @ 0x80..=0xff, ..] => Ok(Some(3 + usize::from(length))),
        [SEQUENCE, 0x82, high @ 1..=0xff, low, ..] => {
            Ok(Some(4 + usize::from(u16::from_be_bytes([high, low]))))
        }
        [SEQUENCE, 0x83 | 0x84, ..] => Err(BadRequest::TooLong),
        _ => Err(BadRequest::Malformed),
    }
}

/// Tag of a sequence (X.690 section 8.9).
const SEQUENCE: u8 = 0x30;

/// A connection request without what would steer a load balancer: a routing token only selects, and here is nothing
/// to select. A cookie names the user, and stays.
fn for_server(packet: &[u8]) -> Option<Vec<u8>> {
    let request = x224::Request::parse(packet).ok()??;
    if request.packet().len() != packet.len() {
        return None;
    }
    Some(if request.user().is_some() { packet.to_vec() } else { request.without_line() })
}

/// Why a browser does not get to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// For a reason that HTTP has a status for.
    Http(u16),
    /// The server confirmed no security that a browser has: this is what it said.
    Negotiation(Vec<u8>),
    /// TLS with the server ended with this alert (RFC 8446 section 6).
    Tls(u8),
}

impl Failure {
    /// The message.
    pub fn encode(self) -> Vec<u8> {
        let pdu = match self {
            Self::Http(status) => RDCleanPathPdu::new_http_error(status),
            Self::Negotiation(confirm) => {
                RDCleanPathPdu::new_negotiation_error(confirm).expect("it is short")
            }
            Self::Tls(alert) => RDCleanPathPdu::new_tls_error(alert),
        };
        pdu.to_der().expect("it is short")
    }
}

/// The message that lets a browser go on: what the server confirmed, its certificates in DER, its own first, and the
/// address that the browser may know it by.
///
/// # Errors
/// Certificates of more than DER can tell the length of.
pub fn response(
    confirm: Vec<u8>,
    chain: Vec<Vec<u8>>,
    address: String,
) -> Result<Vec<u8>, ironrdp_rdcleanpath::der::Error> {
    let chain = chain.into_iter().map(OctetString::new).collect::<Result<_, _>>()?;
    let pdu = RDCleanPathPdu {
        x224_connection_pdu: Some(OctetString::new(confirm)?),
        server_cert_chain: Some(chain),
        server_addr: Some(address),
        ..RDCleanPathPdu::default()
    };
    pdu.to_der()
}

#[cfg(test)]
mod tests;
