//! The row of filters: what ours costs per packet and per change, beside what else decides by port, and
//! what each leaves of a session while SYNs flood in.

mod floor;
mod frame;
mod gate;
mod goodput;
mod iptables;
mod nft;
mod ours;
mod sender;
mod stack;
mod test_run;

use std::time::Instant;

use portcullis_tests::namespace::{HERE, Neighbour};

use crate::cores::Cores;
use crate::rows::{Figures, Peer, Scale};
use crate::usage::median;
use gate::{Gate, Start};
use iptables::{Legacy, Nft};
use sender::Sender;

/// The broker address: the gateway's end of the veth pair.
pub const ADDRESS: &str = HERE[0];
/// First broker port.
pub const FIRST: u16 = 10_000;
/// Last broker port. It stays closed, and stands behind all others.
pub const LAST: u16 = 15_000;
/// How many brokers are open.
const SIZES: [u16; 4] = [0, 100, 1_000, 5_000];

/// All that decide by port, ours first, and how a sample of each is taken.
pub const PEERS: [Peer; 7] = [
    ("portcullis", |scale| {
        [test_run::tc(scale), packets_and_changes(ours::tc, scale), goodput::ours(scale)].concat()
    }),
    ("xdp", test_run::xdp),
    ("xdp-generic", |scale| packets(ours::xdp_generic, scale)),
    ("nothing", |scale| [packets(gate::nothing, scale), goodput::behind(gate::nothing, scale)].concat()),
    ("nft-set", |scale| beside(nft::start, scale)),
    ("iptables-legacy", |scale| beside(iptables::start::<Legacy>, scale)),
    ("iptables-nft", |scale| beside(iptables::start::<Nft>, scale)),
];

fn beside(start: Start, scale: &Scale) -> Figures {
    [packets_and_changes(start, scale), goodput::behind(start, scale)].concat()
}

fn packets(start: Start, scale: &Scale) -> Figures {
    by_size(start, |gate, sender, size| per_packet(gate, sender, size, scale))
}

fn packets_and_changes(start: Start, scale: &Scale) -> Figures {
    by_size(start, |gate, sender, size| {
        let mut figures = per_packet(gate, sender, size, scale);
        figures.push((format!("filter/change-{size}"), per_change(gate, scale)));
        figures
    })
}

/// Takes a sample at each size, in a namespace with one neighbour.
fn by_size(start: Start, mut take: impl FnMut(&mut dyn Gate, &Sender, u16) -> Figures) -> Figures {
    let neighbour = Neighbour::new();
    let mut gate = start();
    let sender = Sender::new(&neighbour, Cores::look().sender);
    let mut open = FIRST;
    let mut figures = Vec::new();
    for size in SIZES {
        gate.fill(open..FIRST + size);
        open = FIRST + size;
        figures.extend(take(&mut *gate, &sender, size));
    }
    figures
}

/// Seconds per packet that comes in: to all open ports in turn, and to the closed one behind them.
fn per_packet(gate: &dyn Gate, sender: &Sender, size: u16, scale: &Scale) -> Figures {
    let closed = sender.cost(LAST..LAST + 1, !gate.closes(), scale.moment);
    let mut figures = vec![(format!("filter/closed-{size}"), closed)];
    if size > 0 {
        let open = sender.cost(FIRST..FIRST + size, true, scale.moment);
        figures.push((format!("filter/open-{size}"), open));
    }
    figures
}

/// Most changes for one figure.
const CHANGES: usize = 2_000;

/// Seconds for opening a port and closing it.
fn per_change(gate: &mut dyn Gate, scale: &Scale) -> f64 {
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || times.len() < CHANGES && began.elapsed() < scale.moment {
        let began = Instant::now();
        gate.open(LAST);
        gate.close(LAST);
        times.push(began.elapsed().as_secs_f64());
    }
    median(&mut times)
}
