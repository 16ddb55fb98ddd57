//! What moving bytes costs: seconds of CPU of the relay per GiB, and per small frame.

use std::ops::Range;
use std::thread;
use std::time::Instant;

use portcullis_tests::target::Target;

use super::{Figures, Scale};
use crate::content::{Content, PIECE};
use crate::ends::Session;
use crate::relay::Entry;
use crate::usage::cpu_ns;

/// Pieces before the clock runs: windows and buffers have grown then.
pub const WARM: u64 = 256;
const GIB: f64 = (1_u64 << 30) as f64;

/// From console to client, 64 KiB a piece.
pub fn down(entry: &Entry, scale: &Scale) -> Figures {
    vec![("bulk-down".into(), bulk(entry, scale, Session::down))]
}

/// From client to console, 64 KiB a frame.
pub fn up(entry: &Entry, scale: &Scale) -> Figures {
    vec![("bulk-up".into(), bulk(entry, scale, Session::up))]
}

fn bulk(entry: &Entry, scale: &Scale, go: fn(&mut Session, &Content, Range<u64>)) -> f64 {
    let content = Content::new(1);
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    let mut session = Session::open(&mut *relay, &target);
    go(&mut session, &content, 0..WARM);
    let before = cpu_ns(relay.id());
    go(&mut session, &content, WARM..WARM + scale.pieces);
    let used = seconds_since(before, relay.id());
    used / (scale.pieces as f64 * PIECE as f64 / GIB)
}

/// Sessions that move bytes both ways.
const BOTH: usize = 4;

/// Both ways on each of [`BOTH`] sessions, 16 KiB a piece; per GiB of either way.
pub fn both(entry: &Entry, scale: &Scale) -> Figures {
    let content = Content::of(1, 16 * 1024, 1);
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    let mut sessions: Vec<_> = (0..BOTH).map(|_| Session::open(&mut *relay, &target)).collect();
    let mut go = |pieces: Range<u64>| {
        thread::scope(|scope| {
            for session in &mut sessions {
                let pieces = pieces.clone();
                scope.spawn(|| session.both(&content, pieces));
            }
        });
    };
    go(0..WARM);
    let pieces = WARM..WARM + scale.pieces / 2;
    let before = cpu_ns(relay.id());
    go(pieces.clone());
    let used = seconds_since(before, relay.id());
    let bytes = content.bytes(&pieces);
    vec![("both".into(), used / ((bytes.end - bytes.start) as f64 * 2.0 * BOTH as f64 / GIB))]
}

/// Frames that a client sends in one segment.
const BATCH: u64 = 8;
/// Frames between two looks at the clock.
const TURN: u64 = 1024 * BATCH;

/// A client's frames of 100 bytes, eight to a segment: seconds of CPU per frame.
///
/// Frames are made beforehand and a write takes eight, so that the client costs an eighth of a system call per
/// frame. What it is short of is not in the figure: a relay that is faster than its client reads fewer frames
/// at a time, which costs it more.
pub fn small(entry: &Entry, scale: &Scale) -> Figures {
    let content = Content::of(1, 100, BATCH);
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    let mut session = Session::open(&mut *relay, &target);
    session.up(&content, 0..TURN);
    let (before, began) = (cpu_ns(relay.id()), Instant::now());
    let mut next = TURN;
    while began.elapsed() < scale.stretch {
        session.up(&content, next..next + TURN);
        next += TURN;
    }
    let used = seconds_since(before, relay.id());
    vec![("small".into(), used / (next - TURN) as f64)]
}

/// Of CPU, of a relay.
pub fn seconds_since(before: u64, id: u32) -> f64 {
    (cpu_ns(id) - before) as f64 / 1e9
}
