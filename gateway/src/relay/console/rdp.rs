//! RDP: the opening that each connection begins with, a preconnection blob (`blob`) where there is one and the
//! connection request (`x224`). It may carry a ticket, which stays inside; what follows is copied as it is, and no
//! picture is ever decoded. Without I/O.

pub mod blob;
pub mod clean_path;
pub mod x224;

use blob::{Blob, BlobError};
use x224::{Request, X224Error};

/// Most bytes of an opening.
pub const OPENING_MAX: usize = blob::PACKET_MAX + x224::PACKET_MAX;

/// What a client says before the server says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<'a> {
    /// What it prepares the server with, if it does.
    pub blob: Option<Blob<'a>>,
    /// How it wants to connect.
    pub request: Request<'a>,
    rest: &'a [u8],
}

/// Why bytes are no opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// In the blob.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// In the connection request.
    #[error(transparent)]
    Request(#[from] X224Error),
}

impl<'a> Opening<'a> {
    /// Reads an opening, and what a client sent behind it without waiting for an answer; `None` where more has to come
    /// first. [`OPENING_MAX`] bytes are always enough to tell.
    ///
    /// # Errors
    /// See [`OpeningError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, OpeningError> {
        // A packet of TPKT begins with 3; no blob has so few bytes with an empty byte behind.
        let (blob, behind) = if x224::begins(bytes) {
            (None, bytes)
        } else {
            match Blob::parse(bytes)? {
                Some(blob) => (Some(blob), &bytes[blob.packet().len()..]),
                None => return Ok(None),
            }
        };
        let request = Request::parse(behind)?;
        Ok(request.map(|request| Self { blob, request, rest: &behind[request.packet().len()..] }))
    }

    /// What may be a ticket, in the order in which it counts: the blob's text, and the routing token.
    pub fn shown(&self) -> impl Iterator<Item = String> {
        let token = self.request.routing_token().map(|token| String::from_utf8_lossy(token).into_owned());
        let text = self.blob.and_then(|blob| blob.text());
        text.into_iter().chain(token).filter(|shown| !shown.is_empty())
    }

    /// The bytes for the target: all of them, but for the blob or the line that say `ticket` and nothing else.
    pub fn without(&self, ticket: Option<&str>) -> Vec<u8> {
        let is_ticket = |shown: &str| ticket == Some(shown);
        let blob = self.blob.filter(|blob| !blob.text().is_some_and(|text| is_ticket(&text)));
        let mut bytes = blob.map(|blob| blob.packet().to_vec()).unwrap_or_default();
        match self.request.routing_token().and_then(|token| std::str::from_utf8(token).ok()) {
            Some(token) if is_ticket(token) => bytes.extend(self.request.without_line()),
            _ => bytes.extend(self.request.packet()),
        }
        bytes.extend(self.rest);
        bytes
    }
}

#[cfg(test)]
mod tests;
