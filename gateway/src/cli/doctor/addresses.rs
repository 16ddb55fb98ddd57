//! Broker addresses: each has to be on an interface of this machine.

use std::net::IpAddr;

use crate::config::Config;
use crate::kernel::address::{AddressError, carriers};

use super::Check;

pub fn check(config: &Config) -> Check {
    const NAME: &str = "addresses";
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for address in &config.addresses {
        match carriers_of(&[*address]) {
            Ok(names) => there.push(format!("{address} on {}", names.join(", "))),
            Err(AddressError::Nowhere(_)) => missing.push(address.to_string()),
            Err(error) => return Check::degraded(NAME, error.to_string(), "ask with `ip address`"),
        }
    }
    if missing.is_empty() {
        return Check::ok(NAME, there.join("; "));
    }
    let remedy = format!("ip address add {} dev INTERFACE, or correct `addresses`", missing[0]);
    Check::missing(NAME, format!("no interface has {}", missing.join(", ")), remedy)
}

/// The interfaces that carry `addresses`.
pub fn carriers_of(addresses: &[IpAddr]) -> Result<Vec<String>, AddressError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(AddressError::Socket)?.block_on(carriers(addresses))
}
