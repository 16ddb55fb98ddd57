//! A listening socket per broker: the fallback where the kernel cannot steer.

use std::net::SocketAddr;

use crate::broker::{BoxFuture, Door, Doors};
use crate::descriptors;
use crate::relay::core::{Cores, Hatch};

use super::bind;

/// Opens a socket on each broker's own address and port.
pub struct Ports {
    cores: Cores,
}

impl Ports {
    /// Spreads the sockets over `cores`.
    pub const fn new(cores: Cores) -> Self {
        Self { cores }
    }

    fn listen(&self, endpoint: SocketAddr) -> std::io::Result<Hatch> {
        let listener = bind(endpoint)?;
        if descriptors::is_of_reserve(&listener) {
            return Err(descriptors::none_left());
        }
        // One socket belongs to one core; neighbouring ports go to different ones.
        self.cores.listen(usize::from(endpoint.port()), listener)
    }
}

impl Doors for Ports {
    fn open(&self, endpoint: SocketAddr) -> BoxFuture<'_, std::io::Result<Door>> {
        let hatch = self.listen(endpoint);
        Box::pin(async { Ok(Box::new(hatch?) as Door) })
    }

    fn name(&self) -> &'static str {
        "ports"
    }
}
