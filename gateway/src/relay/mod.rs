//! Bytes, left to right: a client arrives, shakes hands, its target is dialled, bytes move.
//!
//! Each core has a thread with a runtime of its own (`core`); an accepted connection stays there.

pub mod answer;
mod bare;
mod buffer;
pub mod console;
pub mod core;
pub mod far;
pub mod forwarded;
pub mod handshake;
mod haste;
mod inbox;
pub mod listener;
pub mod open;
mod outbox;
mod pipe;
mod pool;
pub mod pulse;
pub mod pump;
pub mod session;
pub mod sniff;
pub mod socket;
pub mod stream;
pub mod target;
pub mod traffic;
pub mod ws;
