//! Bytes on the way to a browser that reads 10 MB a second, from a console that sends what it can: sent less
//! read, the median over the second half of a run.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::target::Target;

use super::{Figures, Scale};
use crate::content::{Content, Framing};
use crate::ends::Session;
use crate::relay::Entry;
use crate::usage::median;

/// Bytes a second that the browser reads.
const PACE: f64 = 10e6;
/// Between two times that it reads.
const TURN: Duration = Duration::from_millis(5);
/// Of a write, and of a read.
const PART: usize = 16 * 1024;

pub fn slow(entry: &Entry, scale: &Scale) -> Figures {
    let content = Content::of(1, PART, 1);
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    let Session { mut client, console } = Session::open(&mut *relay, &target);
    client.room(PART);
    let sent = AtomicU64::new(0);
    let mut queued = thread::scope(|scope| {
        scope.spawn(|| pour(&console, &content, &sent));
        let (began, mut at, mut queued) = (Instant::now(), 0, Vec::new());
        while began.elapsed() < scale.slow {
            thread::sleep(TURN);
            while (at as f64) < began.elapsed().as_secs_f64() * PACE {
                at += client.take_part(&content, at);
            }
            if began.elapsed() > scale.slow / 2 {
                queued.push((sent.load(Ordering::Relaxed) - at) as f64);
            }
        }
        console.shutdown(Shutdown::Both).expect("the console ends");
        queued
    });
    vec![("slow".into(), median(&mut queued))]
}

/// Sends until the connection is shut down, and counts.
fn pour(mut console: &TcpStream, content: &Content, sent: &AtomicU64) {
    for number in 0.. {
        for mut rest in content.writes(&(number..number + 1), Framing::Raw) {
            while !rest.is_empty() {
                match console.write(rest) {
                    Ok(len) => {
                        sent.fetch_add(len as u64, Ordering::Relaxed);
                        rest = &rest[len..];
                    }
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
                    Err(error) => panic!("the console writes: {error}"),
                }
            }
        }
    }
}
