//! Tickets: 256 random bits that let one session in. Only their hashes are kept.

use std::sync::Arc;
use std::time::Instant;

use rand::TryRng;
use sha2::{Digest, Sha256};

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
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The tickets of one broker.
#[derive(Debug, Default)]
pub(super) struct Tickets(Vec<Ticket>);

#[derive(Debug)]
struct Ticket {
    hash: [u8; 32],
    expires: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    /// A session is on its way in: target not dialled yet, use not recorded yet.
    Claimed,
    Used,
}

impl Tickets {
    pub(super) fn add(&mut self, hash: [u8; 32], expires: Instant) {
        self.0.push(Ticket { hash, expires, state: State::Fresh });
    }

    /// Compares hashes: how far two hashes agree tells nothing about the ticket.
    pub(super) fn check(&self, hash: [u8; 32], now: Instant) -> Result<(), Refusal> {
        match self.0.iter().find(|ticket| ticket.hash == hash) {
            None => Err(Refusal::WrongTicket),
            Some(ticket) if ticket.state != State::Fresh => Err(Refusal::TicketUsed),
            Some(ticket) if ticket.expires <= now => Err(Refusal::TicketExpired),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn claim(&mut self, hash: [u8; 32], now: Instant) -> Result<(), Refusal> {
        self.check(hash, now)?;
        self.set(hash, State::Claimed);
        Ok(())
    }

    fn set(&mut self, hash: [u8; 32], state: State) {
        if let Some(ticket) = self.0.iter_mut().find(|ticket| ticket.hash == hash) {
            ticket.state = state;
        }
    }
}

/// A ticket that one session holds on its way in.
#[derive(Debug)]
pub struct Claim {
    broker: Arc<Broker>,
    hash: [u8; 32],
    used: bool,
}

impl Claim {
    pub(super) const fn new(broker: Arc<Broker>, hash: [u8; 32]) -> Self {
        Self { broker, hash, used: false }
    }

    /// Hash of the ticket.
    pub const fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The session began: the ticket is used for good.
    pub fn use_up(mut self) {
        self.used = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let state = if self.used { State::Used } else { State::Fresh };
        lock(&self.broker.tickets).set(self.hash, state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::{Protocol, Target};

    fn broker() -> Arc<Broker> {
        let target = Target::new("127.0.0.1", 5900, Protocol::Vnc);
        let endpoint = "127.0.80.1:10000".parse().expect("an endpoint");
        Arc::new(Broker::new("b-1".into(), endpoint, "i-1".into(), target, Instant::now()))
    }

    fn ticket(broker: &Broker) -> (Token, Instant) {
        let now = Instant::now();
        let token = Token::random().expect("random numbers");
        broker.add_ticket(&token, now + Duration::from_secs(60));
        (token, now)
    }

    #[test]
    fn a_ticket_lets_one_session_in() {
        let broker = broker();
        let (token, now) = ticket(&broker);
        let claim = broker.claim(&token, now).expect("a fresh ticket");
        assert_eq!(broker.claim(&token, now).err(), Some(Refusal::TicketUsed));
        claim.use_up();
        assert_eq!(broker.claim(&token, now).err(), Some(Refusal::TicketUsed));
    }

    #[test]
    fn a_session_that_did_not_begin_gives_its_ticket_back() {
        let broker = broker();
        let (token, now) = ticket(&broker);
        drop(broker.claim(&token, now).expect("a fresh ticket"));
        assert!(broker.claim(&token, now).is_ok());
    }

    #[test]
    fn a_ticket_is_of_one_broker_and_for_a_time() {
        let (broker, other) = (broker(), broker());
        let (token, now) = ticket(&broker);
        assert_eq!(other.claim(&token, now).err(), Some(Refusal::WrongTicket));
        assert_eq!(broker.claim(&Token::from_client(""), now).err(), Some(Refusal::WrongTicket));
        let late = now + Duration::from_secs(60);
        assert_eq!(broker.claim(&token, late).err(), Some(Refusal::TicketExpired));
    }

    #[test]
    fn a_ticket_is_not_in_any_log() {
        let token = Token::from_client("secret");
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
