//! Portcullis: the console gateway of a cloud. Three wings around one hall.
//!
//! - [`relay`] moves bytes: a client arrives, shakes hands, its target is dialled, bytes move.
//! - [`broker`] is the hall: what a broker is and the rules about it, without I/O.
//! - [`control`] decides: the API, the lifecycle of brokers, inventory and store.
//! - [`kernel`] is the gate: the port filter and the steering.
//!
//! [`websockify`] is the relay once more, for one port and without any of the others.
//!
//! `relay` and `control` do not know each other; both lean on `broker`. [`daemon`] puts everything
//! together, [`cli`] is the command line. Start reading at `relay/pump.rs` for the bytes, at
//! `control/lifecycle.rs` for the decisions.

pub mod broker;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod descriptors;
pub mod every;
pub mod file_lock;
pub mod kernel;
pub mod memory;
pub mod metrics;
pub mod relay;
pub mod tls;
pub mod web;
pub mod websockify;
