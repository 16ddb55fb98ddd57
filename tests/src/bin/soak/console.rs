//! A console, and brokers for it.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};

use portcullis_tests::gateway::{Api, Broker};
use portcullis_tests::target::Target;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::scene::Scene;

/// A console of one load, which lasts for the whole run.
pub struct Console {
    part: Part,
    pub instance: String,
}

/// Who plays it.
enum Part {
    /// The load.
    Load(Target),
    /// Threads that send everything back.
    Echo,
    /// Nobody: its port refuses, and is nobody else's.
    Nobody { _port: Socket },
}

impl Console {
    /// One whose connections the load takes itself.
    pub fn new(scene: &Scene) -> Self {
        let target = Target::new();
        Self { instance: added(scene, target.port()), part: Part::Load(target) }
    }

    /// One that sends everything back.
    pub fn echo(scene: &Scene) -> Self {
        Self { instance: added(scene, Target::new().echo()), part: Part::Echo }
    }

    /// One that is switched off.
    pub fn off(scene: &Scene) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        let address = socket.local_addr().expect("an address").as_socket().expect("of IPv4");
        Self { instance: added(scene, address.port()), part: Part::Nobody { _port: socket } }
    }

    /// The connection of the session that was just let in.
    ///
    /// # Panics
    /// There is none, or it is not the load's part.
    pub fn accept(&self) -> TcpStream {
        let Part::Load(target) = &self.part else { panic!("nobody plays {}", self.instance) };
        let stream = target.accept();
        stream.set_nodelay(true).expect("an option");
        stream
    }

    /// Opens a broker.
    pub fn open(&self, api: &Api) -> Broker {
        self.open_with(api, json!({}))
    }

    /// The same with further `fields` of the request.
    pub fn open_with(&self, api: &Api, mut fields: Value) -> Broker {
        fields["instance_id"] = self.instance.as_str().into();
        let (status, answer) = api.post("/v1/brokers", &fields);
        assert_eq!(status, 201, "{answer}");
        Broker::read(answer)
    }
}

fn added(scene: &Scene, port: u16) -> String {
    scene.gateway.add_instance(&format!("i-{port}"), port);
    format!("i-{port}")
}

/// Closes a broker that is open.
pub fn close(api: &Api, broker: &Broker) {
    let (status, answer) = api.delete(&format!("/v1/brokers/{}", broker.id));
    assert_eq!(status, 204, "{answer}");
}

/// Waits until the gateway has left a console.
pub fn left(mut console: TcpStream) {
    let mut part = [0; 4096];
    loop {
        match console.read(&mut part) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the console is not left: {error}"),
        }
    }
}

/// Closes a broker that may have closed by itself, because its last session is over.
pub fn close_if_open(api: &Api, broker: &Broker) {
    let (status, answer) = api.delete(&format!("/v1/brokers/{}", broker.id));
    assert!(matches!(status, 204 | 404), "{status} {answer}");
}
