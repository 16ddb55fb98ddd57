//! A WebSocket client that nobody here wrote, and a bare one for what a good client never does.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::gateway::Broker;
use crate::{PATIENCE, target};

/// A connected WebSocket.
pub type Socket<S = TcpStream> = WebSocket<S>;

/// Connects with the broker's ticket as a page does.
///
/// # Errors
/// Status and code of the refusal.
pub fn open(broker: &Broker) -> Result<Socket, (u16, String)> {
    open_with(broker.endpoint, Some(&broker.token))
}

/// Connects with any ticket, or none.
///
/// # Errors
/// Status and code of the refusal.
///
/// # Panics
/// There is no answer at all.
pub fn open_with(endpoint: SocketAddr, token: Option<&str>) -> Result<Socket, (u16, String)> {
    open_on(target::connect(endpoint, PATIENCE).expect("the port is open"), endpoint, token)
}

/// Whether the upgrade is answered, of a gateway that may die meanwhile.
pub fn upgrades(endpoint: SocketAddr, token: Option<&str>, client: IpAddr) -> bool {
    let upgrade = || -> Option<()> {
        let stream = try_connect_from(client, endpoint).ok()?;
        let request = request(endpoint, token);
        tokio_tungstenite::tungstenite::client(request, stream).ok().map(drop)
    };
    upgrade().is_some()
}

/// Connects from another address of this machine.
///
/// # Panics
/// The port is closed.
pub fn connect_from(address: &str, endpoint: SocketAddr) -> TcpStream {
    try_connect_from(address.parse().expect("an address"), endpoint).expect("the port is open")
}

/// The same with the broker's ticket.
///
/// # Errors
/// Status and code of the refusal.
pub fn open_from(address: &str, broker: &Broker) -> Result<Socket, Refused> {
    open_on(connect_from(address, broker.endpoint), broker.endpoint, Some(&broker.token))
}

/// Begins to connect from `address` to `endpoint`, and waits for nothing.
///
/// # Panics
/// There is no such address here.
pub fn begin_from(address: &str, endpoint: SocketAddr) -> socket2::Socket {
    let domain = socket2::Domain::for_address(endpoint);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
    let address: IpAddr = address.parse().expect("an address");
    socket.bind(&SocketAddr::new(address, 0).into()).expect("an address of this machine");
    socket.set_nonblocking(true).expect("an option");
    // "In progress" is what is wanted; anything else shows in what the caller looks at.
    let _ = socket.connect(&endpoint.into());
    socket
}

fn try_connect_from(address: IpAddr, endpoint: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(endpoint), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(address, 0).into())?;
    socket.connect_timeout(&endpoint.into(), PATIENCE)?;
    let stream = socket.into();
    target::bounded(&stream);
    Ok(stream)
}

/// The same on a connection that is there already, plain or TLS.
///
/// # Errors
/// Status and code of the refusal.
///
/// # Panics
/// There is no answer at all.
pub fn open_on<S: Read + Write>(
    stream: S,
    endpoint: SocketAddr,
    token: Option<&str>,
) -> Result<Socket<S>, (u16, String)> {
    let (socket, response) = open_by(stream, request(endpoint, token))?;
    assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "binary");
    Ok(socket)
}

/// Connects with the broker's ticket, and a query beside it.
///
/// # Errors
/// Status and code of the refusal.
///
/// # Panics
/// There is no answer at all, or the port is closed.
pub fn open_asking(broker: &Broker, query: &str) -> Result<Socket, Refused> {
    let mut request = request(broker.endpoint, Some(&broker.token));
    *request.uri_mut() = format!("ws://{}/websockify?{query}", broker.endpoint).parse().expect("an address");
    let stream = target::connect(broker.endpoint, PATIENCE).expect("the port is open");
    let (socket, response) = open_by(stream, request)?;
    assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "binary");
    Ok(socket)
}

/// Status and code of a refusal.
pub type Refused = (u16, String);

/// Connects by a request of one's own.
///
/// # Errors
/// Status and code of the refusal.
///
/// # Panics
/// There is no answer at all.
pub fn open_by<S: Read + Write>(stream: S, request: Request) -> Result<(Socket<S>, Response), Refused> {
    match tokio_tungstenite::tungstenite::client(request, stream) {
        Ok(opened) => Ok(opened),
        Err(HandshakeError::Failure(Error::Http(response))) => {
            let body: serde_json::Value =
                serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
            Err((response.status().as_u16(), body["code"].as_str().unwrap_or_default().to_owned()))
        }
        Err(other) => panic!("no answer: {other}"),
    }
}

fn request(endpoint: SocketAddr, token: Option<&str>) -> Request {
    let mut request = format!("ws://{endpoint}/websockify").into_client_request().expect("a request");
    let protocols = token.map_or("binary".to_owned(), |token| format!("binary, ticket.{token}"));
    let protocols = HeaderValue::from_str(&protocols).expect("a header");
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols);
    request
}

/// Sends `bytes` as one message and reads until as many came back.
///
/// # Panics
/// Something else comes back.
pub fn echoes<S: Read + Write>(socket: &mut Socket<S>, bytes: &[u8]) {
    socket.send(Message::binary(bytes.to_vec())).expect("sends");
    let mut back = Vec::new();
    while back.len() < bytes.len() {
        match socket.read().expect("reads") {
            Message::Binary(part) => back.extend_from_slice(&part),
            // The gateway asks from time to time whether its client is there.
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(back, bytes);
}

/// Reads until the close frame: its code and reason, `None` for an empty one.
///
/// # Panics
/// The connection ends without one.
pub fn closed<S: Read + Write>(socket: &mut Socket<S>) -> Option<(u16, String)> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => {
                return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
            Ok(_) => {}
            Err(error) => panic!("no close frame: {error}"),
        }
    }
}

/// The bytes of a client's frame with a mask of zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A connection whose handshake is done, with the bytes under the test's own hand.
///
/// # Panics
/// The handshake fails.
pub fn bare(broker: &Broker) -> TcpStream {
    open(broker).expect("a session").get_ref().try_clone().expect("a descriptor")
}

/// Sends `bytes` as they are and reads what comes until the end.
///
/// # Panics
/// The connection breaks.
pub fn talk(stream: &mut (impl Read + Write), bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("reads to the end");
    answer
}
