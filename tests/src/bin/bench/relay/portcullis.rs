//! Ours, behind filter and steering.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Api, Broker, Gateway};
use serde_json::json;

use super::{Relay, reach};

const INSTANCE: &str = "i-bench";
/// Who open brokers at once where it is not the time of one that counts.
const CALLERS: usize = 16;

struct Portcullis {
    gateway: Gateway,
    api: Api,
    _folder: tempfile::TempDir,
}

pub fn start(console: u16) -> Box<dyn Relay> {
    let folder = tempfile::tempdir().expect("a folder");
    // The bench's client answers no ping, and thousands of sessions take a while to open.
    let more = ["broker.ttl_s = 86400", "session.peer_timeout_s = 3600"];
    let gateway = Gateway::start(folder.path(), "ebpf", &more);
    gateway.add_instance(INSTANCE, console);
    let api = gateway.api().clone().kept();
    Box::new(Portcullis { gateway, api, _folder: folder })
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
        reach(create(&self.api, false).endpoint);
        began.elapsed()
    }

    fn fill(&mut self, count: usize) {
        // Several at a time share a commit.
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let api = self.gateway.api().clone().kept();
                let share = (count + caller) / CALLERS;
                scope.spawn(move || (0..share).for_each(|_| drop(create(&api, false))));
            }
        });
    }
}
