//! Broker addresses: where they are, and, for those that are nowhere, to put them on an interface, hold them
//! there and take them off again. From the outside: [`Addresses`] for the daemon, [`carriers`] and [`survey`]
//! for who only looks.

mod announce;
mod ask;
mod claim;
mod error;
mod frame;
mod hold;
mod look;
mod tally;
mod watch;
mod wire;

pub use error::AddressError;
pub use hold::{Addresses, View};
pub use look::{Place, Survey, carriers, survey};
pub use tally::{Change, Tally};
