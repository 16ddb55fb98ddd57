//! What an open console costs that nobody looks at: bytes of memory and descriptors of each.

use portcullis_tests::process::{Guarded, descriptors};
use portcullis_tests::target::Target;

use super::{Figures, Peer, Scale};
use crate::relay::portcullis::Portcullis;
use crate::relay::single::endpoint;
use crate::relay::{reach, websockify};
use crate::usage::{pss, tree};

/// Who has consoles.
pub const BROKERS: [Peer; 2] = [("portcullis", ours), ("websockify", replaced)];
/// Of ours: with the one before them, as many as there are ports.
const OPEN: usize = 5_000;
/// Of websockify, which has a process for each.
const PROCESSES: u16 = 5;

fn ours(_: &Scale) -> Figures {
    let target = Target::new();
    let relay = Portcullis::new(target.port());
    // Warm: what the first leaves for good is nobody's own.
    relay.broker();
    let uses = || [pss(relay.gateway.id()) as f64, descriptors(relay.gateway.id()) as f64];
    let before = uses();
    drop(relay.brokers(OPEN));
    let after = uses();
    figures([0, 1].map(|number| (after[number] - before[number]) / OPEN as f64))
}

fn replaced(_: &Scale) -> Figures {
    let target = Target::new();
    let start = |port| {
        let process = Guarded::start(&mut websockify::command(port, target.port()));
        reach(endpoint(port));
        process
    };
    let all: Vec<_> = (10_000..10_000 + PROCESSES).map(start).collect();
    let sum = |of: &dyn Fn(u32) -> f64| all.iter().map(|process| of(process.id())).sum::<f64>();
    let open = |id: u32| tree(id).into_iter().map(descriptors).sum::<usize>() as f64;
    figures([sum(&|id| pss(id) as f64), sum(&open)].map(|total| total / f64::from(PROCESSES)))
}

fn figures([memory, descriptors]: [f64; 2]) -> Figures {
    vec![("brokers".into(), memory), ("brokers/descriptors".into(), descriptors)]
}
