//! The drop-in for `websockify`: one port, one target or one that a token names, and no broker, store or filter.
//! It is the relay with another way in, which the options of `websockify` describe; failures are told by HTTP
//! before the upgrade, where that closes the connection.

mod answer;
pub mod auth;
mod destination;
mod dial;
mod files;
mod house;
mod listen;
mod plan;
mod tap;
mod tls;
pub mod token;
mod visit;
mod wrap;

pub use answer::Refusal;
pub use destination::Destination;
pub use house::run;
pub use listen::{Listener, Source};
pub use plan::{Aim, Plan, Web};
pub use tls::{Certificates, TlsPlan, suites};
pub use wrap::{Mode, Program, Rebinder};
