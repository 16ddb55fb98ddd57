//! After a start: store, kernel and sockets are made equal. What is still valid goes on with its port and
//! its tickets, what is not is closed and recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::broker::session::{Origin, Session};
use crate::broker::ticket::Ticket;
use crate::broker::{Broker, Target};
use crate::control::inventory::InventoryError;
use crate::control::store::{BrokerRow, LastSession, StoreError, TicketRow, WallTime};

use super::Lifecycle;

/// What became of the brokers that the store had open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// They go on.
    pub open: usize,
    /// They were closed.
    pub closed: usize,
}

/// Wall clock and monotonic clock at one moment. Running deadlines are monotonic; only here, once, are
/// they made from the wall clock of the store.
struct Now {
    wall: WallTime,
    monotonic: Instant,
}

impl Now {
    /// When `time` of the wall clock will be, at most `longest` from now: a clock that was set back must
    /// not make a ticket last.
    fn deadline(&self, time: WallTime, longest: Duration) -> Instant {
        let left = Duration::from_millis(time.0.saturating_sub(self.wall.0).max(0).unsigned_abs());
        self.monotonic + left.min(longest)
    }

    /// When `time` of the wall clock was.
    fn past(&self, time: WallTime) -> Instant {
        let ago = Duration::from_millis(self.wall.0.saturating_sub(time.0).max(0).unsigned_abs());
        self.monotonic.checked_sub(ago).unwrap_or(self.monotonic)
    }
}

impl Lifecycle {
    /// Goes on with what is valid of the brokers that the store has open, and lets the ports rest that
    /// closed lately. Called once, before anything else.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn recover(self: &Arc<Self>, rest: Duration) -> Result<Recovered, StoreError> {
        let store = &self.parts.store;
        let lost = store.end_all_sessions().await?;
        if lost > 0 {
            info!(sessions = lost, "sessions of the daemon before this one ended with it");
        }
        let now = Now { wall: WallTime::now(), monotonic: Instant::now() };
        for resting in store.resting(rest).await? {
            self.parts.allocator.rest(resting.endpoint, resting.left, now.monotonic);
        }
        let mut recovered = Recovered::default();
        for row in store.open_brokers().await? {
            match self.reopen(&row, &now).await? {
                Ok(()) => recovered.open += 1,
                Err(why) => {
                    store.close_broker(&row.broker_id, why).await?;
                    self.parts.allocator.rest(row.endpoint, rest, now.monotonic);
                    recovered.closed += 1;
                }
            }
        }
        Ok(recovered)
    }

    /// Opens the broker again, or says why not. Its steps are those of opening, but for the record.
    async fn reopen(
        self: &Arc<Self>,
        row: &BrokerRow,
        now: &Now,
    ) -> Result<Result<(), &'static str>, StoreError> {
        let target = match self.parts.inventory.find(&row.instance_id).await {
            Ok(target) => target,
            Err(InventoryError::Store(error)) => return Err(error),
            Err(_) => return Ok(Err("instance removed")),
        };
        let tickets = self.parts.store.tickets(&row.broker_id).await?;
        let broker = Arc::new(self.revive(row, target, tickets, now));
        if let Some(reason) = broker.over(now.monotonic) {
            return Ok(Err(reason));
        }
        let Some(lease) = self.parts.allocator.lease_again(row.endpoint) else {
            return Ok(Err("port not ours"));
        };
        let door = match self.parts.doors.open(row.endpoint).await {
            Ok(door) => door,
            Err(error) => {
                warn!(broker_id = row.broker_id, endpoint = %row.endpoint, %error, "port not opened again");
                return Ok(Err("port taken"));
            }
        };
        if let Err(error) = self.let_in(&broker).await {
            warn!(broker_id = row.broker_id, %error, "filter not opened again");
            return Ok(Err("not opened"));
        }
        self.hold(broker, door, lease, row.expires_at);
        Ok(Ok(()))
    }

    fn revive(&self, row: &BrokerRow, target: Target, tickets: Vec<TicketRow>, now: &Now) -> Broker {
        let whole = row.expires_at.0.saturating_sub(row.created_at.0).max(0).unsigned_abs();
        let longest = Duration::from_millis(whole);
        let expires = now.deadline(row.expires_at, longest);
        let broker = self.broker_of(row, target, expires);
        for TicketRow { hash, expires_at, session } in tickets {
            let session = session.map(|LastSession { id, client, ended_at, killed }| {
                let origin = Origin {
                    broker_id: broker.id.clone(),
                    instance_id: broker.instance_id.clone(),
                    protocol: broker.protocol,
                    // Only who has a ticket comes back to a daemon that was started again.
                    by_address: false,
                };
                let session = Session::recovered(id, origin, client, now.past(ended_at));
                if killed {
                    session.kill();
                }
                session
            });
            let ticket = Ticket { hash, expires: now.deadline(expires_at, longest), session };
            broker.restore_ticket(ticket, now.monotonic);
        }
        broker
    }
}
