//! What the byte side asks and tells: the implementation of [`Desk`].

use std::collections::VecDeque;
use std::future::ready;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, warn};

use crate::broker::session::Session;
use crate::broker::target::tls::Fingerprint;
use crate::broker::{Begun, BoxFuture, Broker, Desk, Refusal, Target};
use crate::metrics::Metrics;

use super::events::{Event, Events};
use super::inventory::{Inventory, InventoryError};
use super::store::{Store, StoreError};

/// No database connection is driven by a relay thread: what is to be recorded goes into the queue of the store's
/// writer, which runs on the control runtime, and comes to its end whether or not somebody waits for it.
pub struct ControlDesk {
    inventory: Inventory,
    store: Store,
    metrics: Arc<Metrics>,
    events: Events,
    notes: mpsc::UnboundedSender<(Arc<Session>, Note)>,
}

impl ControlDesk {
    /// Works on the runtime of the caller. The task records what becomes of sessions, one after the other;
    /// it is done when the desk is gone and all are recorded.
    pub fn new(
        inventory: Inventory,
        store: Store,
        metrics: Arc<Metrics>,
        events: Events,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (notes, queue) = mpsc::unbounded_channel();
        let recorder = tokio::spawn(record(queue, store.clone(), metrics.clone(), events.clone()));
        (Self { inventory, store, metrics, events, notes }, recorder)
    }
}

/// Pause before the store is asked again that would not record something.
const AGAIN: Duration = Duration::from_secs(1);

/// What becomes of a connection whose begin is recorded.
#[derive(Clone, Copy)]
enum Note {
    /// It is in.
    CameIn,
    /// It is not, and its record is to be taken back.
    StayedOut,
    /// It ended so.
    Ended(&'static str),
}

type Notes = VecDeque<(Arc<Session>, Note)>;

/// So many notes are told and recorded together at most.
const TOGETHER: usize = 512;
/// Nobody waits for notes: what comes within this is told and recorded together.
const GATHER: Duration = Duration::from_millis(50);

/// Tells and records what was noted, in its order. As long as the store takes nothing no session begins, so
/// that no more wait than sessions ran.
async fn record(
    mut queue: mpsc::UnboundedReceiver<(Arc<Session>, Note)>,
    store: Store,
    metrics: Arc<Metrics>,
    events: Events,
) {
    let mut waiting = Notes::new();
    let mut noted = Vec::with_capacity(TOGETHER);
    loop {
        tokio::select! {
            count = queue.recv_many(&mut noted, TOGETHER) => {
                if count == 0 {
                    break;
                }
                if count < TOGETHER {
                    sleep(GATHER).await;
                    noted.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(TOGETHER - count));
                }
                events.say_all(noted.iter().filter_map(|(session, note)| match note {
                    Note::CameIn => Some(Event::session_began(session)),
                    Note::StayedOut => None,
                    Note::Ended(end) => Some(Event::session_ended(session, end)),
                }));
                // The record of who came in stands already. Who came back may have done so while the end before
                // was being recorded, which is put right then.
                let is_new = |session: &Session| session.connections.load(Ordering::Relaxed) <= 1;
                let stands = |(session, note): &(Arc<Session>, Note)| {
                    matches!(note, Note::CameIn) && is_new(session)
                };
                waiting.extend(noted.drain(..).filter(|noted| !stands(noted)));
            }
            () = sleep(AGAIN), if !waiting.is_empty() => {}
        }
        if waiting.is_empty() {
            // Who came in may be in the journal only.
            store.settle().await;
        } else {
            record_all(&mut waiting, &store, &metrics).await;
        }
    }
    record_all(&mut waiting, &store, &metrics).await;
    for (session, _) in waiting {
        // The next start records that it ended with the daemon.
        metrics.record_lost();
        error!(session_id = session.id, "end of a session not recorded");
    }
}

/// Until the first that the store does not take; what was taken behind it is told to the store again.
async fn record_all(waiting: &mut Notes, store: &Store, metrics: &Metrics) {
    while !waiting.is_empty() {
        let together = waiting.iter().take(TOGETHER).map(|(session, note)| record_one(store, session, *note));
        let recorded = join_all(together).await;
        let taken = recorded.iter().take_while(|recorded| recorded.is_ok()).count();
        waiting.drain(..taken);
        if let (Some(Err(error)), Some((session, _))) = (recorded.get(taken), waiting.front()) {
            metrics.store_failed();
            warn!(session_id = session.id, %error, "end of a session not recorded, to be tried again");
            return;
        }
    }
}

async fn record_one(store: &Store, session: &Session, note: Note) -> Result<(), StoreError> {
    match note {
        Note::CameIn => store.end_session(session, session.last_end().unwrap_or_default()).await,
        Note::StayedOut => store.take_session_back(session).await,
        Note::Ended(end) => store.end_session(session, end).await,
    }
}

impl Desk for ControlDesk {
    fn resolve(&self, broker: Arc<Broker>) -> BoxFuture<'static, Result<Target, Refusal>> {
        // The inventory is our own, and the lifecycle points brokers at what is written to it. One that others
        // write to would have to be asked each time.
        if let Some(target) = broker.sure_target() {
            return Box::pin(ready(Ok(target)));
        }
        let (inventory, metrics) = (self.inventory.clone(), self.metrics.clone());
        // It only asks: who does not wait any more leaves nothing behind.
        Box::pin(async move {
            match inventory.find(&broker.instance_id).await {
                Ok(target) if broker.is_at(&target) => Ok(target),
                // It moved behind our back: who asks for a new broker gets the right place.
                Ok(_) | Err(InventoryError::Unknown(_)) => Err(Refusal::InstanceGone),
                Err(error) => {
                    warn!(broker_id = broker.id, %error, "instance not resolved");
                    metrics.store_failed();
                    Err(Refusal::Unavailable)
                }
            }
        })
    }

    fn recognise(
        &self,
        instance_id: String,
        shown: Fingerprint,
    ) -> BoxFuture<'static, Result<Fingerprint, Refusal>> {
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        Box::pin(async move {
            let known = store.meet_certificate(&instance_id, &shown.to_string()).await.map_err(|error| {
                warn!(instance_id, %error, "certificate not looked up");
                metrics.store_failed();
                Refusal::Unavailable
            })?;
            // What another program wrote there is no certificate of anybody.
            known.ok_or(Refusal::InstanceGone)?.parse().map_err(|_| Refusal::TargetChanged)
        })
    }

    fn begin(
        &self,
        session: Arc<Session>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'static, Result<Begun, Refusal>> {
        let (of, metrics, notes) = (session.clone(), self.metrics.clone(), self.notes.clone());
        let begun = self.store.begin_session(&session, hash.as_ref(), move |begun| match begun {
            Ok(true) => Ok(Begun::new(move |is_in| {
                let note = if is_in { Note::CameIn } else { Note::StayedOut };
                // Nobody records any more when the daemon is gone.
                let _ = notes.send((of, note));
            })),
            Ok(false) => Err(Refusal::TicketUsed),
            Err(error) => {
                error!(session_id = of.id, %error, "begin of a session not recorded");
                metrics.store_failed();
                Err(Refusal::Unavailable)
            }
        });
        // A writer that is gone means that the daemon stops.
        Box::pin(async { begun.await.unwrap_or(Err(Refusal::Stopping)) })
    }

    fn end(&self, session: Arc<Session>, end: &'static str) {
        // Nobody records any more when the daemon is gone.
        let _ = self.notes.send((session, Note::Ended(end)));
    }

    fn refused(&self, broker: Option<Arc<Broker>>, client: IpAddr, refusal: Refusal) {
        use Refusal::{BadHandshake, HeadTooLong, NoPage, OtherProtocol, Slow, TooMany};
        // What anybody can cause without a ticket is counted in metrics; the audit log would be a way to
        // fill the disk.
        if !matches!(refusal, BadHandshake | HeadTooLong | NoPage | OtherProtocol | Slow | TooMany) {
            self.events.say(Event::refused(broker.as_deref(), client, refusal));
        }
    }
}
