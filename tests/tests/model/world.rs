//! The model, and its comparison with what is there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use portcullis_tests::eye::{Eye, Sight};
use portcullis_tests::gateway::{Gateway, agent};
use portcullis_tests::process::open_files;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::Socket;
use portcullis_tests::{PATIENCE, eventually};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Nothing ends by itself while the walk lasts, but for what is made to; ports are never lent again.
const CONFIG: [&str; 4] =
    ["broker.ttl_s = 86400", "broker.rest_s = 86400", "session.reconnect_s = 86400", "cores = 2"];

pub(crate) struct World {
    pub(crate) backend: String,
    pub(crate) rng: StdRng,
    folder: tempfile::TempDir,
    gateway: Option<Gateway>,
    eye: Option<Eye>,
    /// Ports of the machines' consoles; each says its port first, and then sends everything back.
    pub(crate) consoles: Vec<u16>,
    /// Where the machines are.
    pub(crate) instances: BTreeMap<String, u16>,
    pub(crate) brokers: BTreeMap<String, ModelBroker>,
    /// Ports that were ever lent.
    pub(crate) lent: HashSet<SocketAddr>,
    pub(crate) crashes: usize,
    /// Where the walk is, for messages.
    pub(crate) said: String,
}

#[derive(Debug)]
pub(crate) struct ModelBroker {
    pub(crate) endpoint: SocketAddr,
    pub(crate) instance: String,
    pub(crate) optional: bool,
    pub(crate) tickets: Vec<ModelTicket>,
}

/// A ticket, or on an optional broker a client without one.
#[derive(Debug)]
pub(crate) struct ModelTicket {
    pub(crate) token: Option<String>,
    /// It is good for a second only, unless it is used.
    pub(crate) short: bool,
    /// Who used it.
    pub(crate) client: Option<IpAddr>,
    /// The session that it let in, once it was seen.
    pub(crate) session: Option<String>,
    /// Its session was killed.
    pub(crate) dead: bool,
    pub(crate) socket: Option<Socket>,
}

impl ModelBroker {
    /// Whether it may close by itself at any moment: no ticket surely lets anybody in.
    pub(crate) fn fades(&self) -> bool {
        let lasts = |ticket: &ModelTicket| !ticket.dead && (ticket.client.is_some() || !ticket.short);
        !self.optional && !self.tickets.iter().any(lasts)
    }
}

impl World {
    pub(crate) fn new(backend: &str, seed: u64) -> Self {
        let mut world = Self {
            backend: backend.to_owned(),
            rng: StdRng::seed_from_u64(seed),
            folder: tempfile::tempdir().expect("a folder"),
            gateway: None,
            eye: None,
            consoles: (0..4).map(|_| Target::new().named_echo()).collect(),
            instances: BTreeMap::new(),
            brokers: BTreeMap::new(),
            lent: HashSet::new(),
            crashes: 0,
            said: String::new(),
        };
        world.start();
        world
    }

    pub(crate) fn start(&mut self) {
        let gateway = Gateway::start(self.folder.path(), &self.backend, &CONFIG);
        self.eye = Some(Eye::new(&gateway, self.folder.path()));
        self.gateway = Some(gateway);
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("it runs")
    }

    /// The gateway, to be ended by the caller; nobody looks any more.
    pub(crate) fn take_gateway(&mut self) -> Gateway {
        self.eye = None;
        self.gateway.take().expect("it runs")
    }

    /// One of `0..n`.
    pub(crate) fn pick(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// A broker that surely is open, if there is one.
    pub(crate) fn any_broker(&mut self) -> Option<String> {
        let ids: Vec<String> =
            self.brokers.iter().filter(|(_, broker)| !broker.fades()).map(|(id, _)| id.clone()).collect();
        (!ids.is_empty()).then(|| ids[self.pick(ids.len())].clone())
    }

    /// Waits until all that there is agrees, with each other and with the model.
    pub(crate) fn compare(&mut self) {
        let began = Instant::now();
        loop {
            let sight = self.eye.as_mut().expect("it runs").look();
            let differences = self.differences(&sight);
            if differences.is_empty() {
                return self.learn(&sight);
            }
            let log = || self.gateway().log().lines().rev().take(20).collect::<Vec<_>>().join("\n");
            assert!(began.elapsed() < PATIENCE, "{}: {differences:#?}\n{}", self.said, log());
            // A session that ended is recorded a moment later; nothing else is waited for.
            std::thread::yield_now();
        }
    }

    fn differences(&self, sight: &Sight) -> Vec<String> {
        let mut found = sight.differences(&self.backend);
        for (id, broker) in &self.brokers {
            match sight.listed.get(id) {
                Some(endpoint) if *endpoint != broker.endpoint => found.push(format!("{id} has moved")),
                None if !broker.fades() => found.push(format!("{id} is lost: {broker:?}")),
                _ => {}
            }
            let live: BTreeSet<&String> =
                sight.live.iter().filter(|(_, of)| *of == id).map(|(session, _)| session).collect();
            let connected: Vec<_> = broker.tickets.iter().filter(|ticket| ticket.socket.is_some()).collect();
            let known = connected.iter().filter_map(|ticket| ticket.session.as_ref());
            if live.len() != connected.len() || !known.clone().all(|session| live.contains(session)) {
                found.push(format!("{id} has sessions {live:?}, not {connected:?}"));
            }
        }
        let strange = |id: &&String| !self.brokers.contains_key(*id);
        found.extend(sight.listed.keys().filter(strange).map(|id| format!("{id} should not be open")));
        found.extend(
            sight.live.values().filter(strange).map(|id| format!("{id} has a session, and is closed")),
        );
        found
    }

    /// What was not known before: which brokers have faded, and the names of new sessions.
    fn learn(&mut self, sight: &Sight) {
        self.brokers.retain(|id, _| sight.listed.contains_key(id));
        for (id, broker) in &mut self.brokers {
            let known: BTreeSet<String> =
                broker.tickets.iter().filter_map(|ticket| ticket.session.clone()).collect();
            let new = sight.live.iter().filter(|(session, of)| *of == id && !known.contains(*session));
            let unnamed = broker.tickets.iter_mut().filter(|t| t.socket.is_some() && t.session.is_none());
            for (ticket, (session, _)) in unnamed.zip(new) {
                ticket.session = Some(session.clone());
            }
        }
    }

    /// Everything is closed in the end, and nothing is left.
    pub(crate) fn finish(mut self) {
        for id in self.brokers.keys().cloned().collect::<Vec<_>>() {
            let (status, answer) = self.gateway().api().delete(&format!("/v1/brokers/{id}"));
            assert!(matches!(status, 204 | 404), "{answer}");
        }
        self.brokers.clear();
        self.compare();
        self.eye = None;
        let gateway = self.take_gateway().asked_by(agent());
        gateway.signal(nix::sys::signal::Signal::SIGTERM);
        drop(gateway);
        let gateway = Gateway::start(self.folder.path(), &self.backend, &CONFIG);
        let fresh = open_files(gateway.id());
        for instance in self.instances.keys() {
            let (status, answer) =
                gateway.api().post("/v1/brokers", &serde_json::json!({ "instance_id": instance }));
            assert_eq!(status, 201, "{answer}");
            let broker = portcullis_tests::gateway::Broker::read(answer);
            drop(portcullis_tests::websocket::open(&broker).expect("a session"));
            assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", broker.id)).0, 204);
        }
        let mut now = Vec::new();
        let back = eventually(|| {
            now = open_files(gateway.id());
            now.len() == fresh.len()
        });
        assert!(back, "other descriptors than at the start: {now:#?}, not {fresh:#?}");
    }
}
