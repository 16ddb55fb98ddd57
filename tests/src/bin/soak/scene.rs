//! The daemon under load, what is expected of it so far, and how clients come to it.

use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_tests::ends::Stream;
use portcullis_tests::gateway::{ADDRESS, Broker, Gateway};
use portcullis_tests::tls::Authority;
use portcullis_tests::websocket::{Socket, connect_from, open_on};
use rustls::ClientConfig;

use crate::tally::Tally;

/// What is closed is over soon, so that a round ends within seconds; and past sessions are as many after the first
/// rounds as after hours.
const LINES: [&str; 5] = [
    "broker.rest_s = 1",
    "broker.ttl_s = 20",
    "session.reconnect_s = 1",
    "sessions.keep = 1000",
    "sessions.keep_days = 1",
];

/// One daemon, for the whole run.
pub struct Scene {
    pub gateway: Gateway,
    pub tally: Tally,
    pub folder: tempfile::TempDir,
    tls: Arc<ClientConfig>,
    comers: AtomicU32,
    guessers: AtomicU32,
}

/// How a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Plain,
    Tls,
}

/// Addresses of clients that come and go, 127.1.0.0 and on. The filter and the gateway count by address, and so many
/// come in no minute.
const COMERS: u32 = 60_000;

impl Scene {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path());
        let certificate = authority.issue(&[ADDRESS]);
        let lines: Vec<_> = LINES.into_iter().chain(certificate.iter().map(String::as_str)).collect();
        let gateway = Gateway::start(folder.path(), "ebpf", &lines);
        let tls = authority.client(rustls::ALL_VERSIONS);
        Self {
            gateway,
            tally: Tally::default(),
            folder,
            tls,
            comers: AtomicU32::new(0),
            guessers: AtomicU32::new(0),
        }
    }

    /// An address that nobody came from lately.
    pub fn comer(&self) -> Ipv4Addr {
        let number = self.comers.fetch_add(1, Ordering::Relaxed) % COMERS;
        Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + number)
    }

    /// One of a thousand addresses of those who guess tickets: each may be wrong 20 times a minute.
    pub fn guesser(&self) -> Ipv4Addr {
        let number = self.guessers.fetch_add(1, Ordering::Relaxed) % 1000;
        Ipv4Addr::from_bits(Ipv4Addr::new(127, 2, 0, 1).to_bits() + number)
    }

    /// Connects to `broker` from `client`.
    pub fn connect(&self, broker: &Broker, wire: Wire, client: Ipv4Addr) -> Stream {
        let socket = self.dial(broker, client);
        match wire {
            Wire::Plain => Stream::Plain(socket),
            Wire::Tls => Stream::tls(self.tls.clone(), broker.endpoint, socket),
        }
    }

    /// Connects without a word.
    pub fn dial(&self, broker: &Broker, client: Ipv4Addr) -> TcpStream {
        let socket = connect_from(&client.to_string(), broker.endpoint);
        socket.set_nodelay(true).expect("an option");
        socket
    }

    /// Connects, and shows `ticket`; if not let in, status and code.
    pub fn try_enter(
        &self,
        broker: &Broker,
        wire: Wire,
        client: Ipv4Addr,
        ticket: Option<&str>,
    ) -> Result<Socket<Stream>, (u16, String)> {
        open_on(self.connect(broker, wire, client), broker.endpoint, ticket)
    }

    /// The same with the broker's own ticket, which is good.
    pub fn enter(&self, broker: &Broker, wire: Wire, client: Ipv4Addr) -> Socket<Stream> {
        let entered = self.try_enter(broker, wire, client, Some(&broker.token));
        entered.unwrap_or_else(|(status, code)| panic!("a good ticket was refused: {status} {code}"))
    }
}
