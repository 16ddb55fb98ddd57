//! Tickets: 256 random bits that let one session in. Only their hashes are kept.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::TryRng;
use sha2::{Digest, Sha256};

use super::session::{Connection, Session};
use super::{Broker, Refusal, lock};

/// A ticket as its holder has it: 64 hexadecimal digits, which every place that may carry one
/// (subprotocol, header, query, cookie) takes as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new ticket.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> std::io::Result<Self> {
        Ok(Self(random_hex::<32>()?))
    }

    /// Takes what a client shows. Anything may be shown; only a real ticket has the right hash.
    pub fn from_client(shown: &str) -> Self {
        Self(shown.to_owned())
    }

    /// Whether what a client shows has the look of a ticket. Anything else can be meant for somebody else.
    pub fn is_like(shown: &str) -> bool {
        shown.len() == 64 && shown.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }

    /// Takes what a client shows as a password of SPICE, which has room for 60 bytes: the same bits in base64.
    pub fn from_password(shown: &str) -> Self {
        let bits = BASE64_URL_SAFE_NO_PAD.decode(shown).unwrap_or_default();
        // What is not of a ticket's length is nobody's, as no ticket is empty.
        Self(if bits.len() == 32 { hex(&bits) } else { String::new() })
    }

    /// The ticket as a password of SPICE, in 43 characters.
    pub fn password(&self) -> String {
        let bits: Vec<u8> = (0..self.0.len() / 2)
            .filter_map(|at| u8::from_str_radix(self.0.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        BASE64_URL_SAFE_NO_PAD.encode(bits)
    }

    /// What the store and the broker keep.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The secret itself, to be handed to its holder and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// `N` random bytes as hexadecimal digits.
///
/// # Errors
/// The system has no random numbers.
pub fn random_hex<const N: usize>() -> std::io::Result<String> {
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex(&bytes))
}

/// A name for what is recorded, behind `kind` and a dash: the second in which it was made, and 48 random bits. What is
/// recorded together stands together in the store, which has fewer pages to write then.
///
/// # Errors
/// The system has no random numbers.
pub fn new_id(kind: char) -> std::io::Result<String> {
    let second = jiff::Timestamp::now().as_second() as u32;
    Ok(format!("{kind}-{second:08x}{}", random_hex::<6>()?))
}

/// `bytes` as hexadecimal digits, two for each.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// A ticket as the broker keeps it.
#[derive(Debug)]
pub struct Ticket {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Its session has to begin before.
    pub expires: Instant,
    /// The session that it let in.
    pub session: Option<Arc<Session>>,
}

/// The tickets of one broker, and the sessions that came in without one.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    /// By their hashes.
    tickets: Vec<Ticket>,
    /// With so many, those that nobody can use any more are looked for again.
    sweep_at: usize,
    /// One for each client address, on brokers whose tickets are optional.
    ticketless: Vec<Arc<Session>>,
    /// In a box: few brokers have it.
    native: Option<Box<Native>>,
}

/// The one session that may come in by its address alone.
#[derive(Debug)]
struct Native {
    /// It has to begin before.
    until: Instant,
    session: Option<Arc<Session>>,
}

impl Native {
    fn is_over(&self, now: Instant, window: Duration) -> bool {
        self.session.as_ref().map_or(self.until <= now, |session| session.is_over(now, window))
    }
}

impl Tickets {
    /// Adds a ticket, and forgets those that nobody can use any more.
    pub(super) fn add(&mut self, ticket: Ticket, now: Instant, window: Duration) {
        if self.tickets.len() >= self.sweep_at {
            self.tickets.retain(|ticket| !ticket.is_over(now, window));
            // Twice what is left: however many there are, each is looked at a few times.
            self.sweep_at = 2 * self.tickets.len();
        }
        if self.tickets.len() == self.tickets.capacity() {
            // Most brokers have one.
            self.tickets.reserve_exact(self.tickets.len().max(1));
        }
        match self.position(ticket.hash) {
            Ok(at) => self.tickets[at] = ticket,
            Err(at) => self.tickets.insert(at, ticket),
        }
    }

    /// Removes a ticket. Returns whether anybody else has a ticket or a session.
    pub(super) fn withdraw(&mut self, hash: [u8; 32]) -> bool {
        self.tickets.retain(|ticket| ticket.hash != hash);
        !self.tickets.is_empty() || !self.ticketless.is_empty() || self.native.is_some()
    }

    /// Compares hashes: how far two hashes agree tells nothing about the ticket.
    fn find(&mut self, hash: [u8; 32]) -> Result<&mut Ticket, Refusal> {
        let at = self.position(hash).map_err(|_| Refusal::WrongTicket)?;
        Ok(&mut self.tickets[at])
    }

    /// Where the ticket is, or where it would be.
    fn position(&self, hash: [u8; 32]) -> Result<usize, usize> {
        self.tickets.binary_search_by_key(&hash, |ticket| ticket.hash)
    }

    /// The session that the ticket lets a connection of `client` into, a new one or its own.
    pub(super) fn claim(
        &mut self,
        hash: [u8; 32],
        client: IpAddr,
        now: Instant,
        window: Duration,
        new: impl FnOnce() -> Result<Arc<Session>, Refusal>,
    ) -> Result<Arc<Session>, Refusal> {
        let ticket = self.find(hash)?;
        let session = match &ticket.session {
            Some(session) => session.clone(),
            None if ticket.expires <= now => return Err(Refusal::TicketExpired),
            None => new()?,
        };
        session.join(client, now, window)?;
        ticket.session = Some(session.clone());
        Ok(session)
    }

    /// The session of a client without a ticket: the one that it can come back to, or a new one.
    pub(super) fn claim_without(
        &mut self,
        client: IpAddr,
        now: Instant,
        window: Duration,
        new: impl FnOnce() -> Result<Arc<Session>, Refusal>,
    ) -> Result<Arc<Session>, Refusal> {
        self.ticketless.retain(|session| !session.is_over(now, window));
        let own = self.ticketless.iter().position(|session| session.client == client);
        if let Some(own) = own.map(|at| &self.ticketless[at])
            && own.join(client, now, window).is_ok()
        {
            return Ok(own.clone());
        }
        let session = new()?;
        session.join(client, now, window)?;
        match own {
            Some(at) => self.ticketless[at] = session.clone(),
            None => self.ticketless.push(session.clone()),
        }
        Ok(session)
    }

    /// From now on, one session may come in by its address, if it begins before `until`.
    pub(super) fn admit_native(&mut self, until: Instant) {
        self.native = Some(Box::new(Native { until, session: None }));
    }

    /// Whether one session may come in by its address, or might have.
    pub(super) const fn is_native(&self) -> bool {
        self.native.is_some()
    }

    /// Whether [`Self::claim_native`] would let `client` in.
    pub(super) fn awaits_native(&self, client: IpAddr, now: Instant, window: Duration) -> bool {
        self.native.as_deref().is_some_and(|native| {
            !native.is_over(now, window)
                && native.session.as_ref().is_none_or(|session| session.client == client)
        })
    }

    /// The session that may come in by its address: a new one, or the one that `client` can come back to.
    pub(super) fn claim_native(
        &mut self,
        client: IpAddr,
        now: Instant,
        window: Duration,
        new: impl FnOnce() -> Result<Arc<Session>, Refusal>,
    ) -> Result<Arc<Session>, Refusal> {
        let native = self.native.as_deref_mut().ok_or(Refusal::NoTicket)?;
        let session = match &native.session {
            Some(session) => session.clone(),
            None if native.until <= now => return Err(Refusal::TicketExpired),
            None => new()?,
        };
        session.join(client, now, window)?;
        native.session = Some(session.clone());
        Ok(session)
    }

    /// Takes back a session that never was: its ticket is fresh again.
    pub(super) fn forget(&mut self, session: &Arc<Session>) {
        for ticket in &mut self.tickets {
            if ticket.session.as_ref().is_some_and(|other| Arc::ptr_eq(other, session)) {
                ticket.session = None;
            }
        }
        self.ticketless.retain(|other| !Arc::ptr_eq(other, session));
        if let Some(native) = self.native.as_deref_mut()
            && native.session.as_ref().is_some_and(|other| Arc::ptr_eq(other, session))
        {
            native.session = None;
        }
    }

    /// Whether no ticket lets anybody in any more.
    pub(super) fn are_over(&self, now: Instant, window: Duration) -> bool {
        self.tickets.iter().all(|ticket| ticket.is_over(now, window))
            && self.ticketless.iter().all(|session| session.is_over(now, window))
            && self.native.as_deref().is_none_or(|native| native.is_over(now, window))
    }

    /// All sessions that are not over yet.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        let native = self.native.as_deref().and_then(|native| native.session.as_ref());
        let ticketed = self.tickets.iter().filter_map(|ticket| ticket.session.as_ref());
        ticketed.chain(&self.ticketless).chain(native)
    }
}

impl Ticket {
    fn is_over(&self, now: Instant, window: Duration) -> bool {
        self.session.as_ref().map_or(self.expires <= now, |session| session.is_over(now, window))
    }
}

/// A connection on its way in. Dropped, it gives its place back; a session that never was is gone, and
/// its ticket fresh again.
#[derive(Debug)]
pub struct Claim {
    broker: Arc<Broker>,
    session: Arc<Session>,
    /// Hash of the ticket, if one was shown.
    hash: Option<[u8; 32]>,
    native: bool,
    entered: bool,
}

impl Claim {
    pub(super) const fn new(broker: Arc<Broker>, session: Arc<Session>, hash: Option<[u8; 32]>) -> Self {
        Self { broker, session, hash, native: false, entered: false }
    }

    /// By the rule for native clients.
    pub(super) const fn new_native(broker: Arc<Broker>, session: Arc<Session>) -> Self {
        Self { broker, session, hash: None, native: true, entered: false }
    }

    /// Hash of the ticket, if one was shown.
    pub const fn hash(&self) -> Option<[u8; 32]> {
        self.hash
    }

    /// Whether it showed a ticket, or is the one that may come in by its address: for it, and for nobody else,
    /// the gateway uses a machine's secret.
    pub const fn may_have_secret(&self) -> bool {
        self.hash.is_some() || self.native
    }

    /// The session that the connection comes into.
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The connection is in: the ticket is used for good.
    pub fn enter(mut self) -> Connection {
        self.entered = true;
        self.session.enter()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.entered && self.session.give_up() {
            lock(&self.broker.tickets).forget(&self.session);
        }
    }
}

#[cfg(test)]
mod tests;
