//! Sends frames from the neighbour's end of the veth pair, by AF_PACKET, from a core of its own. The gateway's
//! side of each is done on that core too, before the call returns, so the time of a call is the whole cost.

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, MsgFlags, MultiHeaders, bind, sendmmsg};
use portcullis_tests::namespace::Neighbour;
use portcullis_tests::wait_for;
use socket2::{Domain, Socket, Type};

use super::frame::{Checksum, syn};
use super::stack::{arrived, bad_checksums};
use crate::cores::pin;
use crate::usage::median;

/// Frames for one call. Few, so that a call is short even behind thousands of rules, and what disturbs it
/// disturbs few of them.
const BATCH: usize = 20;
/// Most calls for one figure.
const CALLS: usize = 5_000;
/// Least calls for one figure.
const CALLS_MIN: usize = 5;

/// The neighbour as a sender.
pub struct Sender<'a> {
    neighbour: &'a Neighbour,
    /// Address of the gateway's link.
    to: [u8; 6],
    core: usize,
}

impl<'a> Sender<'a> {
    /// Sends from `core`. To be made in the gateway's namespace.
    pub fn new(neighbour: &'a Neighbour, core: usize) -> Self {
        Self { neighbour, to: hardware(&link("out")), core }
    }

    /// Seconds per packet to `ports`, all of them in turn, for about `moment`: the median of its calls. Their
    /// checksum is wrong, so TCP throws away what was let in.
    ///
    /// # Panics
    /// Not all of them pass, or not all of them are dropped.
    pub fn cost(&self, ports: Range<u16>, passes: bool, moment: Duration) -> f64 {
        let (errors, came) = (bad_checksums(), arrived("out"));
        let mut times = self.neighbour.inside(|| {
            let mut wire = Wire::open(self.core);
            let frames = self.frames(&wire, &spread(ports), Checksum::Wrong);
            wire.times(&frames, moment)
        });
        // The first call found caches and tables cold.
        let sent = ((times.len() + 1) * BATCH) as u64;
        wait_for("all packets", || (arrived("out") - came >= sent).then_some(()));
        if passes {
            wait_for("all packets to be let in", || (bad_checksums() - errors == sent).then_some(()));
        } else {
            assert_eq!(bad_checksums() - errors, 0, "packets to closed ports were let in");
        }
        median(&mut times) / BATCH as f64
    }

    /// Sends SYNs to `ports` until `stop`, and counts them in `sent`.
    pub fn flood(&self, ports: &[u16], stop: &AtomicBool, sent: &AtomicU64) {
        self.neighbour.inside(|| {
            let mut wire = Wire::open(self.core);
            let frames = self.frames(&wire, ports, Checksum::Right);
            let calls = calls(&frames);
            for call in calls.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                wire.send(call);
                sent.fetch_add(BATCH as u64, Ordering::Relaxed);
            }
        });
    }

    /// One to each of `ports`, and each port again until calls are full.
    fn frames(&self, wire: &Wire, ports: &[u16], checksum: Checksum) -> Vec<Vec<u8>> {
        let count = if ports.len().is_multiple_of(BATCH) { ports.len() } else { ports.len() * BATCH };
        let numbers = (0..count).zip(ports.iter().cycle());
        let source = |number: usize| 20_000 + (number % 40_000) as u16;
        let from = hardware(&wire.link);
        let frames = numbers.map(|(number, port)| syn(self.to, from, source(number), *port, checksum));
        frames.collect()
    }
}

/// Ports in an order that takes from all over the range within a call: a rule for each may be looked at in turn.
fn spread(ports: Range<u16>) -> Vec<u16> {
    // A prime above all lengths, so each comes once.
    const STEP: usize = 7_919;
    let count = ports.len();
    (0..count).map(|number| ports.start + (number * STEP % count) as u16).collect()
}

/// A socket at the neighbour's end.
struct Wire {
    socket: Socket,
    link: LinkAddr,
    headers: MultiHeaders<LinkAddr>,
}

impl Wire {
    fn open(core: usize) -> Self {
        pin(&[core]);
        let link = link("in");
        // Protocol 0: this socket receives nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).expect("a packet socket");
        bind(socket.as_raw_fd(), &link).expect("binds to the link");
        Self { socket, link, headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Seconds of each call but the first.
    fn times(&mut self, frames: &[Vec<u8>], moment: Duration) -> Vec<f64> {
        let calls = calls(frames);
        self.send(&calls[0]);
        let (began, mut times) = (Instant::now(), Vec::new());
        for call in calls.iter().cycle().take(CALLS) {
            if times.len() >= CALLS_MIN && began.elapsed() >= moment {
                break;
            }
            let began = Instant::now();
            self.send(call);
            times.push(began.elapsed().as_secs_f64());
        }
        times
    }

    fn send(&mut self, call: &[[IoSlice<'_>; 1]]) {
        const NOWHERE: [Option<LinkAddr>; BATCH] = [None; BATCH];
        let fd = self.socket.as_raw_fd();
        let sent = sendmmsg(fd, &mut self.headers, call, NOWHERE, [], MsgFlags::empty());
        assert_eq!(sent.expect("sends").count(), BATCH, "not all frames were taken");
    }
}

type Call<'a> = Vec<[IoSlice<'a>; 1]>;

/// What goes out by one call each.
fn calls(frames: &[Vec<u8>]) -> Vec<Call<'_>> {
    let calls = frames.chunks_exact(BATCH);
    calls.map(|call| call.iter().map(|frame| [IoSlice::new(frame)]).collect()).collect()
}

/// The link `name` of this thread's namespace.
fn link(name: &str) -> LinkAddr {
    let mut all = getifaddrs().expect("lists links").filter(|link| link.interface_name == name);
    let link = all.find_map(|link| link.address.and_then(|address| address.as_link_addr().copied()));
    link.unwrap_or_else(|| panic!("no link {name}"))
}

fn hardware(link: &LinkAddr) -> [u8; 6] {
    link.addr().expect("an Ethernet address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_comes_once_and_neighbours_do_not_follow() {
        for count in [1, 100, 1_000, 5_000] {
            let order = spread(10_000..10_000 + count);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(10_000..10_000 + count), "{count}");
            assert!(order.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1), "{count}");
        }
    }
}
