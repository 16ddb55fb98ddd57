//! How a connection ends: the names of all ends, and what a client is told.

use std::io;

use crate::broker::Stop;
use crate::relay::pump::{End, RelayError};
use crate::relay::ws::{Close, CloseCode};

/// Close code of a connection whose place a newer one took, from the range of applications (RFC 6455
/// section 7.4.2).
const REPLACED: CloseCode = CloseCode(4000);
/// Close code of a session that an operator killed.
const KILLED: CloseCode = CloseCode(4001);

/// What a client is told where the gateway ends its connection.
pub(super) fn farewell(why: Stop) -> Close {
    match why {
        Stop::Closed => Close::new(CloseCode::GOING_AWAY, "the console was closed"),
        Stop::Stopping => Close::new(CloseCode::GOING_AWAY, "the gateway is stopping"),
        Stop::Replaced => Close::new(REPLACED, "replaced by a newer connection"),
        Stop::Killed => Close::new(KILLED, "ended by an operator"),
    }
}

/// The client's connection ended without a word.
pub(super) const CLIENT_GONE: &str = "client_gone";

/// The names of all ends, in records and metrics.
pub const END_NAMES: [&str; 15] = [
    "client_closed",
    CLIENT_GONE,
    "client_silent",
    "target_closed",
    "target_gone",
    "target_silent",
    "idle",
    "too_long",
    "closed",
    "stopping",
    "replaced",
    "killed",
    "client_error",
    "protocol_error",
    "target_error",
];

/// How a session ended; `stopped` is why, where the gateway ended it. A peer that just leaves is an ordinary end.
pub fn end_name(end: &Result<End, RelayError>, stopped: Option<Stop>) -> &'static str {
    match end {
        Ok(End::ClientClosed) => "client_closed",
        Ok(End::ClientGone) => CLIENT_GONE,
        Ok(End::ClientSilent) => "client_silent",
        Ok(End::TargetClosed) => "target_closed",
        Ok(End::Idle) => "idle",
        Ok(End::TooLong) => "too_long",
        Ok(End::Stopped(_)) => match stopped {
            Some(Stop::Replaced) => "replaced",
            Some(Stop::Killed) => "killed",
            Some(Stop::Closed) => "closed",
            Some(Stop::Stopping) | None => "stopping",
        },
        Err(RelayError::Protocol(_)) => "protocol_error",
        Err(RelayError::Client(error)) => match Loss::of(error) {
            Some(Loss::Gone) => CLIENT_GONE,
            Some(Loss::Silent) => "client_silent",
            None => "client_error",
        },
        Err(RelayError::Target(error)) => match Loss::of(error) {
            Some(Loss::Gone) => "target_gone",
            Some(Loss::Silent) => "target_silent",
            None => "target_error",
        },
    }
}

/// How a peer is lost without a word, in the ways that peers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Its system broke the connection off.
    Gone,
    /// Nothing answers any more: TCP gave it up, or the network says that there is no way to it.
    Silent,
}

impl Loss {
    fn of(error: &io::Error) -> Option<Self> {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::BrokenPipe | Kind::ConnectionAborted | Kind::ConnectionReset | Kind::UnexpectedEof => {
                Some(Self::Gone)
            }
            Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
                Some(Self::Silent)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;
    use crate::relay::ws::ProtocolError;

    fn check(end: Result<End, RelayError>, stopped: Option<Stop>, name: &str) {
        assert_eq!(end_name(&end, stopped), name, "{end:?}");
        assert!(END_NAMES.contains(&name), "{name}");
    }

    #[test]
    fn every_end_has_its_name() {
        for kind in [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof] {
            check(Err(RelayError::Client(Error::from(kind))), None, "client_gone");
            check(Err(RelayError::Target(Error::from(kind))), None, "target_gone");
        }
        for kind in [ErrorKind::TimedOut, ErrorKind::HostUnreachable] {
            check(Err(RelayError::Client(Error::from(kind))), None, "client_silent");
            check(Err(RelayError::Target(Error::from(kind))), None, "target_silent");
        }
        check(Err(RelayError::Client(Error::from(ErrorKind::OutOfMemory))), None, "client_error");
        check(Err(RelayError::Target(Error::from(ErrorKind::OutOfMemory))), None, "target_error");
        check(Err(RelayError::Protocol(ProtocolError::Unmasked)), None, "protocol_error");
        for (end, name) in [
            (End::ClientClosed, "client_closed"),
            (End::ClientGone, "client_gone"),
            (End::ClientSilent, "client_silent"),
            (End::TargetClosed, "target_closed"),
            (End::Idle, "idle"),
            (End::TooLong, "too_long"),
        ] {
            check(Ok(end), None, name);
        }
        for (why, name) in [
            (Stop::Closed, "closed"),
            (Stop::Stopping, "stopping"),
            (Stop::Replaced, "replaced"),
            (Stop::Killed, "killed"),
        ] {
            check(Ok(End::Stopped(farewell(why))), Some(why), name);
        }
    }
}
