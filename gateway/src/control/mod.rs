//! Decisions, top to bottom: a request comes in by the API, the lifecycle opens or closes a broker,
//! inventory and store know what there is and was.

pub mod access;
pub mod api;
pub mod desk;
pub mod events;
pub mod inventory;
pub mod lifecycle;
pub mod store;
