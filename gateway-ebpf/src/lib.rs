//! What the kernel programs and the daemon share: the layout of the maps, how a packet is read,
//! and the rule that judges it. No I/O, no allocation, no panic; tested on the host.
//!
//! The programs themselves are in `main.rs`, `filter.rs` and `steer.rs`, and are built for the BPF target only.
#![no_std]

pub mod layout;
pub mod packet;
pub mod rate;
pub mod verdict;
