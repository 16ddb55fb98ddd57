//! What a session of SPICE knows of its desktop: the connection that its channels belong to, and which are open.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::Session;
use crate::broker::channels::Channels;
use crate::broker::lock;

/// Nothing is known of it yet, or its channels.
#[derive(Debug, Default)]
pub(super) struct Desktop {
    /// As the target told the main channel; 0 before.
    connection: AtomicU32,
    /// Types of the open channels.
    channels: Mutex<Vec<u8>>,
}

impl Session {
    /// The id that the target gave the main channel's connection; 0 before.
    pub fn spice_connection(&self) -> u32 {
        self.desktop.as_ref().map_or(0, |desktop| desktop.connection.load(Ordering::Relaxed))
    }

    /// The target gave the main channel's connection this id.
    pub fn set_spice_connection(&self, id: u32) {
        if let Some(desktop) = &self.desktop {
            desktop.connection.store(id, Ordering::Relaxed);
        }
    }

    /// A channel of SPICE is open as long as the value lives.
    pub fn channel(self: &Arc<Self>, channel_type: u8) -> OpenChannel {
        if let Some(desktop) = &self.desktop {
            lock(&desktop.channels).push(channel_type);
        }
        OpenChannel { session: self.clone(), channel_type }
    }

    /// The names of the channels of SPICE that are open, in the order of their types.
    pub fn channels(&self) -> Vec<&'static str> {
        let mut types =
            self.desktop.as_ref().map(|desktop| lock(&desktop.channels).clone()).unwrap_or_default();
        types.sort_unstable();
        types.into_iter().map(Channels::name).collect()
    }
}

/// An open channel.
#[derive(Debug)]
pub struct OpenChannel {
    session: Arc<Session>,
    channel_type: u8,
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        let Some(desktop) = &self.session.desktop else { return };
        let mut channels = lock(&desktop.channels);
        if let Some(at) = channels.iter().position(|open| *open == self.channel_type) {
            channels.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::broker::Protocol;
    use crate::broker::session::Origin;

    fn session(protocol: Protocol) -> Arc<Session> {
        let origin =
            Origin { broker_id: "b-1".into(), instance_id: "i-1".into(), protocol, by_address: false };
        Session::new("s-1".into(), origin, Ipv4Addr::LOCALHOST.into())
    }

    #[test]
    fn channels_are_shown_while_they_are_open() {
        let desktop = session(Protocol::Spice);
        let open: Vec<_> = [9, 1, 9, 200].map(|number| desktop.channel(number)).into();
        assert_eq!(desktop.channels(), ["main", "usbredir", "usbredir", "unknown"]);
        drop(open.into_iter().nth(2));
        assert!(desktop.channels().is_empty());
        desktop.set_spice_connection(7);
        assert_eq!(desktop.spice_connection(), 7);
    }

    #[test]
    fn others_have_none() {
        let console = session(Protocol::Vnc);
        let _channel = console.channel(1);
        console.set_spice_connection(7);
        assert!(console.channels().is_empty());
        assert_eq!(console.spice_connection(), 0);
    }
}
