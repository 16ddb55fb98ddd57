//! The quiet point after a round: nobody is there, all that was open is closed, and what was kept for a moment is
//! given back.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::PATIENCE;
use portcullis_tests::process::{anonymous_memory, descriptors};

use crate::figures::{metric, sum};
use crate::scene::Scene;

/// Nothing changes for so long: twice the time after which a core looks for what it does not need any more.
const STILL: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);

/// Waits for it, and says what does not end.
pub fn wait(scene: &Scene) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let open = open(&scene.gateway.metrics());
        if open.is_empty() {
            break;
        } else if Instant::now() > deadline {
            return open;
        }
        thread::sleep(LOOK);
    }
    let id = scene.gateway.id();
    let look = || (descriptors(id), anonymous_memory(id));
    let (mut last, mut since) = (look(), Instant::now());
    while since.elapsed() < STILL && Instant::now() < deadline {
        thread::sleep(LOOK);
        let now = look();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Vec::new()
}

/// What a page of metrics says is still open.
fn open(page: &str) -> Vec<String> {
    let began = sum(page, "portcullis_sessions_total");
    let counts = [
        ("connections to broker ports", sum(page, "portcullis_core_connections")),
        ("connections of sessions", metric(page, "portcullis_connections_active")),
        ("brokers", sum(page, "portcullis_brokers")),
        ("sessions that have no end", began - sum(page, "portcullis_session_ends_total")),
    ];
    let open = counts.into_iter().filter(|(_, count)| *count != 0.0);
    open.map(|(what, count)| format!("{count} {what} after the round")).collect()
}
