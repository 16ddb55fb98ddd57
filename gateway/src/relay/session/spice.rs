//! A native client of SPICE: it shows its ticket as the password of each channel, behind two messages that the
//! target has its part in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tracing::info;

use crate::broker::ticket::Token;
use crate::broker::{Broker, Refusal};
use crate::relay::answer::Answer;
use crate::relay::console::spice::{self, Welcome as Word, link};
use crate::relay::far::Far;

use super::{Caller, Greeting, Otherwise, Reached, Shared, Welcome, refused};

/// Whoever is not let in hears of it so long after it showed its ticket, whatever was wrong.
const VERDICT: Duration = Duration::from_millis(500);

impl Caller {
    /// Whether the ticket is in what such a client says later, and not to be asked for before.
    pub(super) fn shows_ticket_later(&self, shared: &Shared) -> bool {
        // Where machines' passwords are passed on, the one that it shows is the machine's.
        shared.reach.inject_secrets
    }

    /// Link, ticket, and the way in. The target has seen the client's link message by then, and nothing more.
    pub(super) async fn ask_by_link(
        &mut self,
        early: Vec<u8>,
        broker: &Arc<Broker>,
        shared: &Shared,
    ) -> Result<Reached, Otherwise> {
        let unanswered = |_| Refusal::Unavailable;
        let target =
            timeout(shared.answer, shared.desk.resolve(broker.clone())).await.map_err(unanswered)??;
        let mut linked = shared.reach.linked(&target, &broker.id, None).await?;
        let shown = spice::until_shown(&mut self.stream, &mut linked, &early);
        let shown = timeout(shared.head.head, shown).await.map_err(|_| Refusal::Slow)?;
        // Who was refused on the way was told why; who left wants to hear nothing.
        let Ok(Some(sealed)) = shown else { return Err(Otherwise::Gone) };
        let verdict = Instant::now() + VERDICT;
        let key = shared.reach.spice.0.key().await.map_err(|_| Refusal::Unavailable)?;
        let password = key.open(sealed).await;
        let now = std::time::Instant::now();
        let claim = if password.is_empty() && broker.awaits_native(self.client.ip(), now) {
            broker.claim_native(self.client.ip(), now)
        } else {
            self.claim(broker, Some(&Token::from_password(&password)), shared)
        };
        let claim = match claim {
            Ok(claim) => claim,
            Err(why) => {
                sleep_until(verdict).await;
                refused(why, Some(broker.clone()), self.client, shared);
                return Err(Otherwise::Answered(Answer::bare(
                    link::PERMISSION_DENIED.to_le_bytes().to_vec(),
                )));
            }
        };
        let password = shared.reach.password(&target);
        linked.welcome(Word { session: claim.session().clone(), password });
        let dialled = Some((target, Far::Linked(linked)));
        let welcome = Welcome {
            broker: broker.clone(),
            claim,
            greeting: Greeting::Nothing,
            early: Vec::new(),
            dialled,
        };
        let reached = self.reach(welcome, shared).await;
        if let Err(Otherwise::Refused(why)) = reached {
            info!(broker_id = broker.id, code = why.why.answer().1, "a channel's link ends");
            refused(why.why, Some(broker.clone()), self.client, shared);
            return Err(Otherwise::Answered(Answer::bare(link::ERROR.to_le_bytes().to_vec())));
        }
        reached
    }
}
