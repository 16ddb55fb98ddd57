//! HTTP over a Unix socket, as a transport of ureq.
//!
//! ureq lets such transports change with its minor versions: a new one may have to be met here.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// Connects to the socket at a path, whatever a URL says.
#[derive(Debug)]
pub struct UnixConnector(pub PathBuf);

impl Connector for UnixConnector {
    type Out = UnixTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<UnixTransport>, Error> {
        let stream = UnixStream::connect(&self.0)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(UnixTransport { stream, buffers }))
    }
}

/// A connection.
#[derive(Debug)]
pub struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, within: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(limit(&within))?;
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| failed(error, &within))
    }

    fn await_input(&mut self, within: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(limit(&within))?;
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|error| failed(error, &within))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Asked before a connection is used once more: a new one costs nothing here.
        false
    }
}

fn limit(within: &NextTimeout) -> Option<Duration> {
    within.not_zero().map(|time| *time)
}

/// A socket with a time limit says that it would block when it has passed (socket(7)).
fn failed(error: io::Error, within: &NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(within.reason),
        _ => Error::Io(error),
    }
}
