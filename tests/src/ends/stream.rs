//! A client's connection, plain or under TLS. One thread may read while another writes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::PATIENCE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// A client's connection.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<Tls>),
}

/// TLS by rustls, which is locked only while it computes.
pub struct Tls {
    socket: TcpStream,
    connection: Mutex<ClientConnection>,
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl Stream {
    /// Shakes hands over `socket`, which leads to `endpoint`.
    ///
    /// # Panics
    /// The other end does not.
    pub fn tls(config: Arc<ClientConfig>, endpoint: SocketAddr, mut socket: TcpStream) -> Self {
        let name = ServerName::from(endpoint.ip());
        let mut connection = ClientConnection::new(config, name).expect("a client");
        // What is to be sent is sent at once, so nothing gathers.
        connection.set_buffer_limit(None);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).expect("shakes hands");
        }
        Self::Tls(Box::new(Tls { socket, connection: Mutex::new(connection) }))
    }

    /// What carries it.
    pub const fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.socket,
        }
    }
}

impl Tls {
    fn connection(&self) -> MutexGuard<'_, ClientConnection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection().reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            // Without the lock: a writer must not wait until something comes.
            readable(&self.socket)?;
            let mut connection = self.connection();
            connection.read_tls(&mut &self.socket)?;
            connection.process_new_packets().map_err(io::Error::other)?;
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut records = Vec::with_capacity(bytes.len() + bytes.len() / 64 + 64);
        let mut connection = self.connection();
        connection.writer().write_all(bytes)?;
        while connection.wants_write() {
            connection.write_tls(&mut records)?;
        }
        drop(connection);
        (&self.socket).write_all(&records)?;
        Ok(bytes.len())
    }
}

/// Waits until there is something to read.
fn readable(socket: &TcpStream) -> io::Result<()> {
    let patience = PollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], patience)? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => (&*socket).read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => (&*socket).write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&mut &*self).read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
