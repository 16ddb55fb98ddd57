//! Sessions that come and go: opened, some bytes each way, and left in each of the ways that there are. Those who are
//! not let in are in `uninvited`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use portcullis_tests::ends::Stream;
use portcullis_tests::gateway::{Api, Broker};
use portcullis_tests::pattern;
use portcullis_tests::websocket::Socket;
use socket2::SockRef;
use tokio_tungstenite::tungstenite::Message;

use crate::console::{Console, close_if_open, left};
use crate::farewell::{part, told};
use crate::round::Shift;
use crate::scene::{Scene, Wire};
use crate::uninvited;

/// Somebody who comes to one load's console, or to one that sends everything back, or to one that is off.
pub struct Guest<'a> {
    pub scene: &'a Scene,
    pub api: &'a Api,
    pub console: &'a Console,
    pub echo: &'a Console,
    pub off: &'a Console,
    pub wire: Wire,
    pub client: Ipv4Addr,
}

/// What somebody does.
pub type Visit = fn(&Guest);

const VISITS: [Visit; 8] =
    [closes, leaves, resets, console_leaves, console_resets, pings, replaces, breaks_protocol];

/// One visit after the other until the end of the shift.
pub fn work(scene: &Scene, shift: &Shift, [console, echo, off]: [&Console; 3]) {
    let api = scene.gateway.api().clone().kept();
    let visits = || VISITS.into_iter().chain(uninvited::VISITS);
    let each = [Wire::Plain, Wire::Tls].into_iter().flat_map(|wire| visits().map(move |visit| (wire, visit)));
    for (wire, visit) in each.cycle() {
        if shift.is_over() {
            return;
        }
        visit(&Guest { scene, api: &api, console, echo, off, wire, client: scene.comer() });
    }
}

/// Bytes up and down of a visit.
const UP: usize = 5_000;
const DOWN: usize = 20_000;

/// A session in which some bytes went each way.
struct Inside {
    broker: Broker,
    socket: Socket<Stream>,
    console: TcpStream,
}

impl Guest<'_> {
    fn enters(&self) -> Inside {
        let broker = self.console.open(self.api);
        let socket = self.scene.enter(&broker, self.wire, self.client);
        let mut inside = Inside { broker, socket, console: self.console.accept() };
        inside.exchange(u64::from(self.client.to_bits()));
        inside
    }

    /// Of all brokers, every other closes by itself.
    fn is_over(&self, broker: &Broker, end: &'static str) {
        self.scene.tally.end(end);
        if self.client.to_bits().is_multiple_of(2) {
            close_if_open(self.api, broker);
        }
    }
}

impl Inside {
    fn exchange(&mut self, seed: u64) {
        let mut up = vec![0; UP];
        pattern::fill(seed, 0, &mut up);
        self.socket.send(Message::binary(up)).expect("sends");
        let mut arrived = vec![0; UP];
        self.console.read_exact(&mut arrived).expect("the console reads");
        assert_eq!(pattern::differs(seed, 0, &arrived), None);
        let mut down = vec![0; DOWN];
        pattern::fill(!seed, 0, &mut down);
        self.console.write_all(&down).expect("the console writes");
        let mut at = 0;
        while at < DOWN {
            let Message::Binary(part) = self.socket.read().expect("reads") else { panic!("no bytes") };
            assert_eq!(pattern::differs(!seed, at as u64, &part), None);
            at += part.len();
        }
    }
}

fn reset_at_the_end(socket: &TcpStream) {
    SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("an option");
}

fn closes(guest: &Guest) {
    let Inside { broker, socket, console } = guest.enters();
    part(socket);
    left(console);
    guest.is_over(&broker, "client_closed");
}

fn leaves(guest: &Guest) {
    let Inside { broker, socket, console } = guest.enters();
    drop(socket);
    left(console);
    guest.is_over(&broker, "client_gone");
}

fn resets(guest: &Guest) {
    let Inside { broker, socket, console } = guest.enters();
    reset_at_the_end(socket.get_ref().socket());
    drop(socket);
    left(console);
    guest.is_over(&broker, "client_gone");
}

fn console_leaves(guest: &Guest) {
    let Inside { broker, socket, console } = guest.enters();
    drop(console);
    assert_eq!(told(socket), Some(1000));
    guest.is_over(&broker, "target_closed");
}

fn console_resets(guest: &Guest) {
    let Inside { broker, socket, console } = guest.enters();
    reset_at_the_end(&console);
    drop(console);
    assert_eq!(told(socket), Some(1011));
    guest.is_over(&broker, "target_gone");
}

fn pings(guest: &Guest) {
    let Inside { broker, mut socket, console } = guest.enters();
    for number in 0..10_u8 {
        socket.send(Message::Ping(vec![number; 100].into())).expect("sends");
        assert_eq!(socket.read().expect("reads"), Message::Pong(vec![number; 100].into()));
    }
    part(socket);
    left(console);
    guest.is_over(&broker, "client_closed");
}

/// A ticket that is used twice: by the same client, who takes its own place, and by another.
fn replaces(guest: &Guest) {
    let first = guest.enters();
    let second = guest.scene.enter(&first.broker, guest.wire, guest.client);
    let console = guest.console.accept();
    assert_eq!(told(first.socket), Some(4000));
    left(first.console);
    guest.scene.tally.end("replaced");
    let other = guest.scene.comer();
    let refused = guest.scene.try_enter(&first.broker, guest.wire, other, Some(&first.broker.token)).err();
    assert_eq!(refused, Some((403, "ticket_used".into())));
    guest.scene.tally.refusal("ticket_used");
    part(second);
    left(console);
    guest.is_over(&first.broker, "client_closed");
}

/// A frame without a mask.
fn breaks_protocol(guest: &Guest) {
    let Inside { broker, mut socket, console } = guest.enters();
    socket.get_mut().write_all(&[0x82, 1, 0]).expect("writes");
    assert_eq!(told(socket), Some(1002));
    left(console);
    guest.is_over(&broker, "protocol_error");
}
