//! Ours, behind filter and steering; in the row of filters also behind somebody else's.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{ADDRESS, Api, Broker, Gateway};
use serde_json::json;

use super::{Relay, reach};

const INSTANCE: &str = "i-bench";
/// Who open brokers at once where it is not the time of one that counts.
const CALLERS: usize = 16;

/// A daemon with one console.
pub struct Portcullis {
    /// The daemon.
    pub gateway: Gateway,
    api: Api,
    _folder: tempfile::TempDir,
}

/// On loopback.
pub fn start(console: u16) -> Box<dyn Relay> {
    Box::new(Portcullis::at(ADDRESS, "ebpf", console))
}

impl Portcullis {
    /// Starts one on `address` with `filter.backend = backend`, in front of the console at that port of
    /// loopback.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn at(address: &str, backend: &str, console: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The bench's client answers no ping, thousands of sessions take a while to open, and all of them
        // come from one source.
        let more = ["broker.ttl_s = 86400", "session.peer_timeout_s = 3600", "filter.source_per_s = 0"];
        let gateway = Gateway::start_by(folder.path(), &[address], backend, &more, |command, _| command);
        gateway.add_instance(INSTANCE, console);
        let api = gateway.api().clone().kept();
        Self { gateway, api, _folder: folder }
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
        // Several at a time share a commit.
        thread::scope(|scope| {
            let open = |caller| {
                let api = self.gateway.api().clone().kept();
                let share = (count + caller) / CALLERS;
                scope.spawn(move || (0..share).map(|_| create(&api, false)).collect::<Vec<_>>())
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

impl Relay for Portcullis {
    fn id(&self) -> u32 {
        self.gateway.id()
    }

    fn door(&mut self) -> (SocketAddr, Option<String>) {
        let broker = create(&self.api, true);
        (broker.endpoint, Some(broker.token))
    }

    fn open(&mut self) -> Duration {
        let began = Instant::now();
        reach(self.broker().endpoint);
        began.elapsed()
    }

    fn fill(&mut self, count: usize) {
        drop(self.brokers(count));
    }
}
