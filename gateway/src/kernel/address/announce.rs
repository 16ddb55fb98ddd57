//! To ask a link who holds an address, and to tell it that we do. Both block: the first for a second, the
//! second not worth mentioning.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::frame::{ARP_FRAME, Mac, advertisement, arp_announcement, arp_probe, holder};
use super::wire::Wire;

/// It is asked three times; so long after the first are the second, the third, and the end of waiting. RFC 5227 section 1.1 has
/// as many probes over 4 to 7 seconds, for hosts of which hundreds are switched on at once; a service that
/// starts is alone, and its clients wait.
const PROBE_ENDS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_secs(1)];

/// Who holds `address` on the link of `interface`: an answer to the probes, or whatever else says so in that
/// second. `None` also where there is nobody to ask, as on loopback.
///
/// # Errors
/// See [`Wire::on`].
pub fn ask(interface: &str, address: Ipv4Addr) -> io::Result<Option<Mac>> {
    let Some(wire) = Wire::on(interface)? else { return Ok(None) };
    let began = Instant::now();
    for end in PROBE_ENDS {
        wire.send(&arp_probe(wire.mac, address))?;
        let found = answer(&wire, address, began + end)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn answer(wire: &Wire, address: Ipv4Addr, until: Instant) -> io::Result<Option<Mac>> {
    let mut frame = [0; ARP_FRAME];
    while let Some(length) = wire.receive(&mut frame, until)? {
        if let Some(mac) = holder(&frame[..length], wire.mac, address) {
            return Ok(Some(mac));
        }
    }
    Ok(None)
}

/// Tells the link of `interface` that `address` is here, once. Where there is nobody to tell it is done.
///
/// # Errors
/// See [`Wire::on`].
pub fn announce(interface: &str, address: IpAddr) -> io::Result<()> {
    let Some(wire) = Wire::on(interface)? else { return Ok(()) };
    match address {
        IpAddr::V4(address) => wire.send(&arp_announcement(wire.mac, address)),
        IpAddr::V6(address) => wire.send(&advertisement(wire.mac, address)),
    }
}
