//! VNC: the security handshake of RFB (RFC 6143 section 7.1), once on each side of the gateway.
//!
//! The target gets its password from the gateway (`authenticate`), the client is let in without one
//! (`fronted`): the password stays inside. What follows, from ClientInit on, is copied as it is. Who may
//! come in at all is not decided here.

mod authenticate;
mod challenge;
mod fronted;
mod view_only;

pub use authenticate::{VncError, authenticate, vencrypt};
pub use fronted::Fronted;

/// Security type None (RFC 6143 section 7.2.1).
const NONE: u8 = 1;
/// Security type VNC authentication (RFC 6143 section 7.2.2).
const VNC_AUTHENTICATION: u8 = 2;

/// Bytes of a ProtocolVersion message (RFC 6143 section 7.1.1).
const VERSION_LEN: usize = 12;

/// The versions that differ in the handshake (RFC 6143 section 7.1.1, appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V3_3,
    V3_7,
    V3_8,
}

impl Version {
    /// All of them, the lowest first.
    const ALL: [Self; 3] = [Self::V3_3, Self::V3_7, Self::V3_8];

    /// The ProtocolVersion message.
    const fn message(self) -> &'static [u8; VERSION_LEN] {
        match self {
            Self::V3_3 => b"RFB 003.003\n",
            Self::V3_7 => b"RFB 003.007\n",
            Self::V3_8 => b"RFB 003.008\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::time::timeout;

    /// Runs what is over at once, or never: the paused clock jumps where nothing else can happen, so a wait
    /// without an end is found out without waiting.
    pub fn run<T>(body: impl Future<Output = T>) -> T {
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let in_time = async { timeout(Duration::from_secs(60), body).await };
        runtime.block_on(in_time).expect("nobody waits for ever")
    }
}
