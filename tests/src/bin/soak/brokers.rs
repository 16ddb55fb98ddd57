//! Brokers that come and go by the API: given again, closed with sessions in them, expired, opened many at once; and
//! sessions that an operator ends.

use portcullis_tests::ends::Stream;
use portcullis_tests::gateway::{Api, Broker};
use portcullis_tests::wait_for;
use portcullis_tests::websocket::{Socket, echoes};
use serde_json::json;

use crate::console::{Console, close, close_if_open};
use crate::farewell::{part, told};
use crate::round::Shift;
use crate::scene::{Scene, Wire};

/// Brokers of one instance at once.
const MANY: usize = 50;
const WIRES: [Wire; 2] = [Wire::Plain, Wire::Tls];

/// Everything in turn until the end of the shift.
pub fn work(scene: &Scene, shift: &Shift, console: &Console) {
    let api = scene.gateway.api().clone().kept();
    let deeds = [close_with_sessions, kill, open_many, let_expire, go_without_ticket];
    for deed in deeds.into_iter().cycle() {
        if shift.is_over() {
            return;
        }
        deed(scene, &api, console);
    }
}

fn entered(scene: &Scene, broker: &Broker, wire: Wire) -> Socket<Stream> {
    let mut socket = scene.enter(broker, wire, scene.comer());
    echoes(&mut socket, &[0x52; 3000]);
    socket
}

fn close_with_sessions(scene: &Scene, api: &Api, console: &Console) {
    let first = console.open(api);
    let second = console.open_with(api, json!({ "reuse": true }));
    assert_eq!(first.id, second.id, "another broker was given");
    let sockets =
        [(&first, Wire::Plain), (&second, Wire::Tls)].map(|(broker, wire)| entered(scene, broker, wire));
    close(api, &first);
    for socket in sockets {
        assert_eq!(told(socket), Some(1001));
        scene.tally.end("closed");
    }
}

fn kill(scene: &Scene, api: &Api, console: &Console) {
    for wire in WIRES {
        let broker = console.open(api);
        let client = scene.comer();
        let mut socket = scene.enter(&broker, wire, client);
        echoes(&mut socket, b"not for long");
        let (_, live) = api.get("/v1/sessions?state=live&limit=1000");
        let mut items = live["items"].as_array().expect("a list").iter();
        let session = items.find(|item| item["broker_id"] == broker.id.as_str()).expect("its session");
        let id = session["session_id"].as_str().expect("an id");
        assert_eq!(api.delete(&format!("/v1/sessions/{id}")).0, 204);
        assert_eq!(told(socket), Some(4001));
        scene.tally.end("killed");
        close_if_open(api, &broker);
    }
}

fn open_many(_: &Scene, api: &Api, console: &Console) {
    let brokers: Vec<_> = (0..MANY).map(|_| console.open(api)).collect();
    for broker in &brokers {
        close(api, broker);
    }
}

fn let_expire(_: &Scene, api: &Api, console: &Console) {
    let broker = console.open_with(api, json!({ "ttl_s": 1 }));
    wait_for("a broker to expire", || {
        (api.get(&format!("/v1/brokers/{}", broker.id)).0 == 404).then_some(())
    });
}

fn go_without_ticket(scene: &Scene, api: &Api, console: &Console) {
    let broker = console.open_with(api, json!({ "tickets": "optional", "client": "127.1.0.0/16" }));
    for wire in WIRES {
        let entered = scene.try_enter(&broker, wire, scene.comer(), None);
        let mut socket = entered.unwrap_or_else(|refusal| panic!("no ticket was needed: {refusal:?}"));
        echoes(&mut socket, b"hello");
        part(socket);
        scene.tally.end("client_closed");
    }
    close_if_open(api, &broker);
}
