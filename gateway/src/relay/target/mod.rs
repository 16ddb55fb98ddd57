//! The far side: from a [`Target`](crate::broker::Target) to a stream of bytes.

pub mod pty;
mod stream;
pub mod tcp;
pub mod tls;
pub mod unix;

pub use stream::TargetStream;
