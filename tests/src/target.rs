//! Targets: what listens where a console would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::PATIENCE;

/// A listener on loopback that waits for the gateway.
pub struct Target {
    listener: TcpListener,
}

impl Target {
    /// Listens on a free port.
    ///
    /// # Panics
    /// The system refuses.
    pub fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// Listens on an address of this machine.
    ///
    /// # Panics
    /// The system refuses.
    pub fn at(address: &str) -> Self {
        Self { listener: TcpListener::bind(address).expect("a port") }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Its address.
    ///
    /// # Panics
    /// Never on a listener.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// Whether nobody has come so far.
    ///
    /// # Panics
    /// Never on a listener.
    pub fn is_unvisited(&self) -> bool {
        self.listener.set_nonblocking(true).expect("an option");
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).expect("an option");
        accepted.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// The next connection. Reads and writes on it are bounded in time.
    ///
    /// # Panics
    /// None comes.
    pub fn accept(&self) -> TcpStream {
        let (stream, _) = accept(&self.listener);
        stream
    }

    /// The next connection, however long it takes. Reads and writes on it are bounded in time.
    ///
    /// # Panics
    /// The listener broke.
    pub fn wait(&self) -> TcpStream {
        SockRef::from(&self.listener).set_read_timeout(None).expect("an option");
        let (stream, _) = self.listener.accept().expect("a connection");
        bounded(&stream);
        stream
    }

    /// Sends everything back, for each connection on a thread of its own, until the process ends.
    pub fn echo(self) -> u16 {
        let port = self.port();
        thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                thread::spawn(move || echo(stream));
            }
        });
        port
    }

    /// The same, and says its port first (two bytes, the higher one first).
    pub fn named_echo(self) -> u16 {
        let port = self.port();
        thread::spawn(move || {
            for mut stream in self.listener.incoming().flatten() {
                thread::spawn(move || stream.write_all(&port.to_be_bytes()).map(|()| echo(stream)));
            }
        });
        port
    }

    /// Takes one connection on a thread of its own.
    pub fn serve<T: Send + 'static>(
        self,
        body: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        thread::spawn(move || body(self.accept()))
    }
}

impl Default for Target {
    fn default() -> Self {
        Self::new()
    }
}

fn echo(mut stream: TcpStream) {
    let mut part = [0; 16 * 1024];
    while let Ok(len @ 1..) = stream.read(&mut part) {
        if stream.write_all(&part[..len]).is_err() {
            return;
        }
    }
}

/// Accepts within [`PATIENCE`].
///
/// # Panics
/// Nobody comes.
pub fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    // Not by looking again and again: thousands of sessions would each wait for the next look.
    SockRef::from(listener).set_read_timeout(Some(PATIENCE)).expect("an option");
    let (stream, client) = listener.accept().expect("a connection in time");
    bounded(&stream);
    (stream, client)
}

/// Bounds reads and writes by [`PATIENCE`].
///
/// # Panics
/// Never on a socket.
pub fn bounded(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.set_write_timeout(Some(PATIENCE)).expect("an option");
}

/// Connects within `limit`.
///
/// # Errors
/// What the system said; `TimedOut` where nothing answered.
pub fn connect(address: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, limit)?;
    bounded(&stream);
    Ok(stream)
}
