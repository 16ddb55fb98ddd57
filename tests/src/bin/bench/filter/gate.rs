//! What lets packets in by port.

use std::ops::Range;

/// A filter for the broker ports of this thread's network namespace. It is gone with the namespace.
pub trait Gate {
    /// Opens many ports at once, as a start does.
    fn fill(&mut self, ports: Range<u16>);

    /// Opens one port, as it is done every time.
    fn open(&mut self, port: u16);

    /// Closes one port.
    fn close(&mut self, port: u16);

    /// Whether broker ports that are not open are closed.
    fn closes(&self) -> bool {
        true
    }
}

/// Starts a filter that closes all broker ports.
pub type Start = fn() -> Box<dyn Gate>;

struct Nothing;

/// No filter: what all others stand on.
pub fn nothing() -> Box<dyn Gate> {
    Box::new(Nothing)
}

impl Gate for Nothing {
    fn fill(&mut self, _: Range<u16>) {}

    fn open(&mut self, _: u16) {}

    fn close(&mut self, _: u16) {}

    fn closes(&self) -> bool {
        false
    }
}
