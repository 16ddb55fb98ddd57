//! The gate: what is let in, decided in the kernel. Names of people and instances never enter here;
//! addresses, ports and generations do.

pub mod address;
pub mod filter;
pub mod load;
pub mod netlink;
pub mod steering;
