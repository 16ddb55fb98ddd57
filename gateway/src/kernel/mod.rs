//! The gate: what is let in, decided in the kernel. Names of people and instances never enter here;
//! addresses, ports and generations do.

pub mod address;
pub mod filter;
pub mod hook;
pub mod host_firewall;
pub mod interfaces;
pub mod load;
pub mod netlink;
pub mod nft;
pub mod object;
pub mod pins;
pub mod steering;
