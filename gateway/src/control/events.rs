//! What happens, told to whoever listens, and written to the audit log: who, from where, to what, bytes,
//! reason. No ticket, no password and no query string is ever part of it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;
use utoipa::ToSchema;

use crate::broker::session::Session;
use crate::broker::{Broker, Refusal};
use crate::metrics::Metrics;

use super::store::WallTime;

/// Something that happened. Fields that say nothing are left out.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Event {
    /// `broker.opened`, `broker.closed`, `session.began`, `session.ended`, `session.refused`,
    /// `session.killed`, `instance.put`, `instance.removed`, `certificate.forgotten`, `passwords.revealed`.
    pub event: &'static str,
    /// When, RFC 3339.
    pub time: String,
    /// Which broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_id: Option<String>,
    /// Which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Which instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Where the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub client: Option<IpAddr>,
    /// What let it in: `ticket` or `address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted_by: Option<&'static str>,
    /// Address and port of the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Payload bytes, client to target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_bytes: Option<u64>,
    /// Payload bytes, target to client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_bytes: Option<u64>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Event {
    fn now(event: &'static str) -> Self {
        Self { event, time: WallTime::now().to_string(), ..Self::default() }
    }

    /// A broker was opened.
    pub fn broker_opened(broker: &Broker) -> Self {
        Self { endpoint: Some(broker.endpoint.to_string()), ..Self::of_broker("broker.opened", broker) }
    }

    /// A broker was closed.
    pub fn broker_closed(broker: &Broker, reason: &'static str) -> Self {
        Self {
            endpoint: Some(broker.endpoint.to_string()),
            reason: Some(reason),
            ..Self::of_broker("broker.closed", broker)
        }
    }

    /// A client was not let in.
    pub fn refused(broker: Option<&Broker>, client: IpAddr, refusal: Refusal) -> Self {
        let event = broker.map_or_else(
            || Self::now("session.refused"),
            |broker| Self::of_broker("session.refused", broker),
        );
        Self { client: Some(client), reason: Some(refusal.answer().1), ..event }
    }

    /// A connection came into a session.
    pub fn session_began(session: &Session) -> Self {
        let admitted_by = Some(if session.by_address { "address" } else { "ticket" });
        Self { admitted_by, ..Self::of_session("session.began", session) }
    }

    /// A connection of a session ended.
    pub fn session_ended(session: &Session, end: &'static str) -> Self {
        Self {
            up_bytes: Some(session.up.load(Ordering::Relaxed)),
            down_bytes: Some(session.down.load(Ordering::Relaxed)),
            reason: Some(end),
            ..Self::of_session("session.ended", session)
        }
    }

    /// An operator killed a session.
    pub fn session_killed(session: &Session) -> Self {
        Self::of_session("session.killed", session)
    }

    /// An instance was written or removed.
    pub fn instance(event: &'static str, instance_id: &str) -> Self {
        Self { instance_id: Some(instance_id.to_owned()), ..Self::now(event) }
    }

    /// The gateway starts as one that shows the passwords of consoles to who has the API key.
    pub fn passwords_revealed() -> Self {
        Self::now("passwords.revealed")
    }

    fn of_broker(event: &'static str, broker: &Broker) -> Self {
        Self {
            broker_id: Some(broker.id.clone()),
            instance_id: Some(broker.instance_id.clone()),
            ..Self::now(event)
        }
    }

    fn of_session(event: &'static str, session: &Session) -> Self {
        Self {
            broker_id: Some(session.broker_id.clone()),
            session_id: Some(session.id.clone()),
            instance_id: Some(session.instance_id.clone()),
            client: Some(session.client),
            ..Self::now(event)
        }
    }
}

/// How far a listener may fall behind before it misses events.
const BACKLOG: usize = 1024;

/// Tells events. Clones tell the same listeners and write the same log.
#[derive(Clone)]
pub struct Events {
    listeners: broadcast::Sender<Arc<Event>>,
    audit: Arc<Mutex<File>>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// Appends to the audit log at `path`, one JSON object a line.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(path: &Path, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let audit = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { listeners: broadcast::Sender::new(BACKLOG), audit: Arc::new(Mutex::new(audit)), metrics })
    }

    /// Tells an event. A line that cannot be written is counted.
    pub fn say(&self, event: Event) {
        self.say_all([event]);
    }

    /// Tells events in their order. Lines that cannot be written are counted.
    pub fn say_all(&self, events: impl IntoIterator<Item = Event>) {
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        let mut lines = Vec::new();
        for event in &events {
            // Text and numbers; they can be written.
            let _ = serde_json::to_writer(&mut lines, event.as_ref());
            lines.push(b'\n');
        }
        // One write for whole lines: those of several threads do not mix.
        let written = self.audit.lock().unwrap_or_else(PoisonError::into_inner).write_all(&lines);
        if written.is_err() {
            events.iter().for_each(|_| self.metrics.record_lost());
        }
        for event in events {
            // Nobody has to listen.
            let _ = self.listeners.send(event);
        }
    }

    /// All events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.listeners.subscribe()
    }
}
