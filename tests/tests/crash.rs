//! SIGKILL at every system call of opening, entering, closing and expiring, one after the other, and a
//! start after each: what was answered holds, the rest has happened as a whole or not at all, and nothing
//! is left over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use nix::sys::signal::Signal;
use portcullis_tests::eye::Eye;
use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::strace::{Call, Tracer, VISIBLE, recorded, threads};
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{connect_from, echoes, open, open_on, upgrades};
use portcullis_tests::{behind_every_gate, require, wait_for};
use serde_json::json;
use sha2::{Digest, Sha256};

behind_every_gate!(
    killed_while_it_opens_a_broker,
    killed_while_a_client_comes_in,
    killed_while_it_closes_a_broker,
    killed_while_a_broker_expires,
);

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const OTHER: &str = "127.0.0.9";

/// What is done while the daemon is killed.
trait Act {
    /// What has to be there before.
    fn prepare(gateway: &Gateway) -> Self;
    /// Does it. The daemon may die at any moment.
    fn act(&mut self, gateway: &Gateway, eye: &mut Eye);
    /// After a start on what the dead daemon left.
    fn check(self, gateway: &Gateway, eye: &mut Eye);
}

/// A daemon on a state folder that outlives it.
struct Scene<'a> {
    folder: &'a Path,
    backend: &'a str,
    console: u16,
}

impl Scene<'_> {
    fn start(&self) -> (Gateway, Eye) {
        // A client is of the same thread each time.
        let gateway = Gateway::start(self.folder, self.backend, &["cores = 1"]);
        gateway.add_instance("i-1", self.console);
        let eye = Eye::new(&gateway, self.folder);
        (gateway, eye)
    }

    /// Nothing is open in one place and not in another; then all is closed, for the next round.
    fn clean(&self, gateway: &Gateway, eye: &mut Eye) {
        self.agree(eye);
        for id in eye.look().listed.keys() {
            assert!(matches!(gateway.api().delete(&format!("/v1/brokers/{id}")).0, 204 | 404));
        }
        self.agree(eye);
    }

    fn agree(&self, eye: &mut Eye) {
        let mut last = Vec::new();
        wait_for("API, store, kernel and sockets to agree", || {
            let now = eye.look().differences(self.backend);
            // The last word goes into the log of a run that waits in vain.
            if now != last {
                eprintln!("{now:#?}");
                last.clone_from(&now);
            }
            now.is_empty().then_some(())
        });
    }
}

/// The thread of that name makes that call for the nth time.
type Point = (String, String, usize);

/// What the daemon does in the act, call by call.
fn points<A: Act>(scene: &Scene) -> Vec<Point> {
    let (mut gateway, mut eye) = scene.start();
    let mut act = A::prepare(&gateway);
    let (file, names) = (scene.folder.join("calls"), threads(gateway.id()));
    let tracer = Tracer::record(gateway.id(), VISIBLE, &file);
    act.act(&gateway, &mut eye);
    tracer.release();
    scene.clean(&gateway, &mut eye);
    gateway.end(Signal::SIGKILL);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let count = |call: Call| {
        let (_, thread) = names.iter().find(|(other, _)| *other == call.tid)?;
        let nth = counts.entry((thread.clone(), call.name.clone())).or_default();
        *nth += 1;
        (!call.wakes).then(|| (thread.clone(), call.name, *nth))
    };
    recorded(&file).into_iter().filter_map(count).collect()
}

/// Dies at each point once.
fn at_every_call<A: Act>(backend: &str) {
    if !(require::root() && require::file("/usr/bin/strace", "strace")) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let console = Target::new().echo();
    let scene = Scene { folder: folder.path(), backend, console };
    let points = points::<A>(&scene);
    let (mut deaths, file) = (0, folder.path().join("calls"));
    let (mut gateway, mut eye) = scene.start();
    for point in &points {
        let (name, call, nth) = point;
        let mut act = A::prepare(&gateway);
        let thread = threads(gateway.id()).into_iter().find(|(_, other)| other == name);
        let tracer = Tracer::kill_at(thread.expect("the same threads").0, call, *nth, &file);
        act.act(&gateway, &mut eye);
        tracer.release();
        // It may die of its point a moment after the act, or not get there this time: it ends here.
        gateway.end(Signal::SIGKILL);
        deaths += usize::from(recorded_alone(&file) >= *nth);
        drop((gateway, eye));
        (gateway, eye) = scene.start();
        eprintln!("{point:?}");
        scene.agree(&mut eye);
        act.check(&gateway, &mut eye);
        scene.clean(&gateway, &mut eye);
    }
    assert!(deaths * 2 > points.len(), "it died {deaths} times of {points:?}");
}

/// Calls of the one thread that was traced.
fn recorded_alone(file: &Path) -> usize {
    std::fs::read_to_string(file).expect("a record").lines().filter(|line| line.contains('(')).count()
}

fn opens(gateway: &Gateway, ttl_s: u64) -> Broker {
    let wish = json!({ "instance_id": "i-1", "ttl_s": ttl_s });
    let (status, answer) = gateway.api().post("/v1/brokers", &wish);
    assert_eq!(status, 201, "{answer}");
    Broker::read(answer)
}

fn is_used_for_others(broker: &Broker) {
    let refused = open_on(connect_from(OTHER, broker.endpoint), broker.endpoint, Some(&broker.token)).err();
    assert_eq!(refused, Some((403, "ticket_used".into())));
}

struct Opening(Option<Broker>);

impl Act for Opening {
    fn prepare(_: &Gateway) -> Self {
        Self(None)
    }

    fn act(&mut self, gateway: &Gateway, _: &mut Eye) {
        let answer = gateway.api().try_post("/v1/brokers", &json!({ "instance_id": "i-1" }));
        self.0 = answer.map(|(status, answer)| {
            assert_eq!(status, 201, "{answer}");
            Broker::read(answer)
        });
    }

    fn check(self, _: &Gateway, eye: &mut Eye) {
        let listed = eye.look().listed;
        assert!(listed.len() <= 1, "{listed:?}");
        if let Some(broker) = self.0 {
            assert_eq!(listed.get(&broker.id), Some(&broker.endpoint), "what was answered is lost");
            echoes(&mut open(&broker).expect("its ticket is good"), b"hello");
        }
    }
}

fn killed_while_it_opens_a_broker(backend: &str) {
    at_every_call::<Opening>(backend);
}

struct Entering {
    broker: Broker,
    came_in: bool,
}

impl Entering {
    fn is_stored(&self, eye: &mut Eye) -> bool {
        eye.session_of_ticket(&Sha256::digest(self.broker.token.as_bytes()).into()).is_some()
    }
}

impl Act for Entering {
    fn prepare(gateway: &Gateway) -> Self {
        Self { broker: opens(gateway, 600), came_in: false }
    }

    fn act(&mut self, gateway: &Gateway, eye: &mut Eye) {
        self.came_in = upgrades(self.broker.endpoint, Some(&self.broker.token), CLIENT);
        wait_for("the session to be in the database", || {
            (!self.came_in || !gateway.lives() || self.is_stored(eye)).then_some(())
        });
    }

    fn check(self, _: &Gateway, eye: &mut Eye) {
        let used = self.is_stored(eye);
        assert!(used || !self.came_in, "a used ticket is fresh again");
        if used {
            is_used_for_others(&self.broker);
        }
        echoes(&mut open(&self.broker).expect("its own client comes in"), b"hello");
        is_used_for_others(&self.broker);
    }
}

fn killed_while_a_client_comes_in(backend: &str) {
    at_every_call::<Entering>(backend);
}

struct Closing {
    broker: Broker,
    done: bool,
}

impl Act for Closing {
    fn prepare(gateway: &Gateway) -> Self {
        let broker = opens(gateway, 600);
        // With a session in it there is more to be done.
        drop(open(&broker).expect("a session"));
        Self { broker, done: false }
    }

    fn act(&mut self, gateway: &Gateway, _: &mut Eye) {
        let answer = gateway.api().try_delete(&format!("/v1/brokers/{}", self.broker.id));
        self.done = answer.is_some_and(|(status, _)| status == 204);
    }

    fn check(self, _: &Gateway, eye: &mut Eye) {
        let open_still = eye.look().listed.contains_key(&self.broker.id);
        assert!(!(self.done && open_still), "it was closed, and came back");
        if open_still {
            echoes(&mut open(&self.broker).expect("its client comes back"), b"hello");
        }
    }
}

fn killed_while_it_closes_a_broker(backend: &str) {
    at_every_call::<Closing>(backend);
}

struct Expiring(Broker);

impl Act for Expiring {
    fn prepare(gateway: &Gateway) -> Self {
        Self(opens(gateway, 1))
    }

    fn act(&mut self, gateway: &Gateway, eye: &mut Eye) {
        wait_for("the broker to expire", || (!gateway.lives() || !eye.stores(&self.0.id)).then_some(()));
    }

    fn check(self, _: &Gateway, eye: &mut Eye) {
        wait_for("the broker to be closed", || (!eye.look().listed.contains_key(&self.0.id)).then_some(()));
        assert!(!eye.stores(&self.0.id));
    }
}

fn killed_while_a_broker_expires(backend: &str) {
    at_every_call::<Expiring>(backend);
}
