//! A reader of `GET /v1/events`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::gateway::Gateway;
use crate::target::bounded;

/// A connection on which events come.
pub struct Listener<S: Read = TcpStream>(BufReader<S>);

impl Listener {
    /// Listens with a window and segments so small that the system keeps little of what is not read.
    ///
    /// # Panics
    /// It is not let in.
    pub fn new(gateway: &Gateway) -> Self {
        let api = gateway.ready("api");
        let address: SocketAddr = api.strip_prefix("http://").expect("a URL").parse().expect("an address");
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an option");
        socket.set_tcp_mss(536).expect("an option");
        socket.connect(&address.into()).expect("connects");
        let stream: TcpStream = socket.into();
        bounded(&stream);
        Self::on(stream, &gateway.api().key)
    }
}

impl<S: Read + Write> Listener<S> {
    /// Listens on a connection that is there already.
    ///
    /// # Panics
    /// It is not let in.
    pub fn on(mut stream: S, key: &str) -> Self {
        // HTTP/1.0: the answer comes as it is, not in chunks.
        let request = format!("GET /v1/events HTTP/1.0\r\nX-API-Key: {key}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("writes");
        let mut listener = Self(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            listener.0.read_line(&mut head).expect("a head");
        }
        assert!(head.contains(" 200 OK\r\n") && head.contains("content-type: text/event-stream"), "{head}");
        listener
    }
}

impl<S: Read> Listener<S> {
    /// Name and data of the next event.
    ///
    /// # Panics
    /// The stream ends.
    pub fn named(&mut self) -> (String, String) {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("a line"), 0, "the stream ended");
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                None if line == "\n" && !name.is_empty() => return (name, data),
                // A comment that keeps the connection alive.
                _ => {}
            }
        }
    }

    /// The next event.
    ///
    /// # Panics
    /// The stream ends.
    pub fn event(&mut self) -> Value {
        let (name, data) = self.named();
        let event: Value = serde_json::from_str(&data).expect("JSON");
        assert_eq!(event["event"], name.as_str());
        event
    }
}
