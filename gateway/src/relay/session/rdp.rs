//! A native client of RDP: it shows its ticket in the opening of each connection, as the text of a preconnection blob
//! or as a routing token, and the target does not see that.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tracing::info;

use crate::broker::ticket::{Claim, Token};
use crate::broker::{Broker, Refusal};
use crate::relay::console::rdp::{OPENING_MAX, Opening};

use super::{Caller, Greeting, Otherwise, Reached, Shared, Welcome};

impl Caller {
    /// Opening, ticket, and the way in. Nothing is dialled before.
    pub(super) async fn ask_by_opening(
        &mut self,
        mut early: Vec<u8>,
        broker: &Arc<Broker>,
        shared: &Shared,
    ) -> Result<Reached, Otherwise> {
        let opening = timeout(shared.head.head, self.whole_opening(&mut early, broker));
        let opening = opening.await.map_err(|_| Refusal::Slow)??;
        let ticket = opening.shown().find(|shown| Token::is_like(shown));
        let claim = match &ticket {
            Some(ticket) => self.claim(broker, Some(&Token::from_client(ticket)), shared)?,
            None => self.claim_without_ticket(opening.shown().next(), broker, shared)?,
        };
        let early = opening.without(ticket.as_deref());
        let greeting = Greeting::Nothing;
        let welcome = Welcome { broker: broker.clone(), claim, greeting, early, dialled: None };
        self.reach(welcome, shared).await
    }

    /// By its address, where a client may come so: what it shows is for the target then. Elsewhere it is nothing
    /// but a wrong ticket.
    fn claim_without_ticket(
        &self,
        shown: Option<String>,
        broker: &Arc<Broker>,
        shared: &Shared,
    ) -> Result<Claim, Refusal> {
        match shown.filter(|_| !broker.is_native()) {
            Some(shown) => self.claim(broker, Some(&Token::from_client(&shown)), shared),
            None => broker.claim_native(self.client.ip(), Instant::now()),
        }
    }

    /// Reads on until all of the opening is there.
    async fn whole_opening<'a>(
        &mut self,
        bytes: &'a mut Vec<u8>,
        broker: &Broker,
    ) -> Result<Opening<'a>, Otherwise> {
        let malformed = |error| {
            info!(broker_id = broker.id, %error, "no opening of RDP");
            Refusal::BadHandshake
        };
        while Opening::parse(bytes).map_err(malformed)?.is_none() {
            let room = OPENING_MAX.saturating_sub(bytes.len()) as u64;
            if (&mut self.stream).take(room).read_buf(bytes).await.unwrap_or(0) == 0 {
                return Err(Otherwise::Gone);
            }
        }
        Ok(Opening::parse(bytes).map_err(malformed)?.ok_or(Refusal::BadHandshake)?)
    }
}
