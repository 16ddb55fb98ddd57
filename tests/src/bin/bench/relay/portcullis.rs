//! Ours, behind filter and steering; in the row of filters also behind somebody else's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use portcullis_tests::gateway::{ADDRESS, Api, Broker, Gateway};
use portcullis_tests::tls::Authority;
use rustls::client::Resumption;
use serde_json::json;

use super::{Relay, Wire};

const INSTANCE: &str = "i-bench";
/// Who open brokers at once where it is not the time of one that counts.
const CALLERS: usize = 16;

/// A daemon with one console.
pub struct Portcullis {
    /// The daemon.
    pub gateway: Gateway,
    api: Api,
    wire: Wire,
    _folder: tempfile::TempDir,
}

/// On loopback.
pub fn start(console: u16) -> Box<dyn Relay> {
    Box::new(Portcullis::new(console))
}

/// The same for clients of TLS.
pub fn start_tls(console: u16) -> Box<dyn Relay> {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let lines = authority.issue(&[ADDRESS]);
    let mut client = Arc::unwrap_or_clone(authority.client(rustls::ALL_VERSIONS));
    // Each is a new client, whose handshake is a whole one.
    client.resumption = Resumption::disabled();
    let (lines, wire) = (lines.each_ref().map(String::as_str), Wire::Tls(Arc::new(client)));
    Box::new(Portcullis::with(folder, ADDRESS, "ebpf", &lines, console, wire))
}

impl Portcullis {
    /// Starts one on loopback, in front of the console at that port.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn new(console: u16) -> Self {
        Self::at(ADDRESS, "ebpf", console)
    }

    /// Starts one on `address` with `filter.backend = backend`, in front of the console at that port of
    /// loopback.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn at(address: &str, backend: &str, console: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::with(folder, address, backend, &[], console, Wire::Plain)
    }

    fn with(
        folder: tempfile::TempDir,
        address: &str,
        backend: &str,
        lines: &[&str],
        console: u16,
        wire: Wire,
    ) -> Self {
        // The bench's client answers no ping, thousands of sessions take a while to open, and all of them
        // come from one source.
        let more = ["broker.ttl_s = 86400", "session.peer_timeout_s = 3600", "filter.source_per_s = 0"];
        let more = [&more, lines].concat();
        let gateway = Gateway::start_by(folder.path(), &[address], backend, &more, |command, _| command);
        gateway.add_instance(INSTANCE, console);
        let api = gateway.api().clone().kept();
        Self { gateway, api, wire, _folder: folder }
    }

    /// Opens a broker of its own.
    ///
    /// # Panics
    /// The daemon refuses.
    pub fn broker(&self) -> Broker {
        create(&self.api, false)
    }

    /// Opens `count` brokers.
    ///
    /// # Panics
    /// The daemon refuses one.
    pub fn brokers(&self, count: usize) -> Vec<Broker> {
        self.create_many(count, false)
    }

    /// Several at a time share a commit.
    fn create_many(&self, count: usize, reuse: bool) -> Vec<Broker> {
        thread::scope(|scope| {
            let open = |caller| {
                let api = self.gateway.api().clone().kept();
                let share = (count + caller) / CALLERS;
                scope.spawn(move || (0..share).map(|_| create(&api, reuse)).collect::<Vec<_>>())
            };
            let callers: Vec<_> = (0..CALLERS).map(open).collect();
            callers.into_iter().flat_map(|caller| caller.join().expect("opens its share")).collect()
        })
    }
}

/// Opens a broker, or gives one that is open a further ticket.
fn create(api: &Api, reuse: bool) -> Broker {
    let (status, answer) = api.post("/v1/brokers", &json!({ "instance_id": INSTANCE, "reuse": reuse }));
    assert_eq!(status, 201, "{answer}");
    Broker::read(answer)
}

fn door(broker: Broker) -> (SocketAddr, Option<String>) {
    (broker.endpoint, Some(broker.token))
}

impl Relay for Portcullis {
    fn id(&self) -> u32 {
        self.gateway.id()
    }

    fn door(&mut self) -> (SocketAddr, Option<String>) {
        door(create(&self.api, true))
    }

    fn doors(&mut self, count: usize) -> Vec<(SocketAddr, Option<String>)> {
        self.create_many(count, true).into_iter().map(door).collect()
    }

    fn wire(&self) -> Wire {
        self.wire.clone()
    }
}
