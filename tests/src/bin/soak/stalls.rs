//! Who stops reading for seconds and then goes on: a client, and a console. Everybody waits for them, nobody is taken
//! for dead, and no byte is lost.

use std::thread;
use std::time::Duration;

use portcullis_tests::content::{Content, Framing};
use portcullis_tests::ends::{Frames, send, take};
use tokio_tungstenite::tungstenite::WebSocket;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::console::{Console, left};
use crate::farewell::part;
use crate::round::Shift;
use crate::scene::{Scene, Wire};

/// Far less than `session.peer_timeout_s`.
const STALL: Duration = Duration::from_secs(2);
/// Of a bulk: more than all buffers on the way.
const PIECES: u64 = 256;

/// Who does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stalled {
    Client,
    Console,
}

/// One session after the other until the end of the shift.
pub fn work(scene: &Scene, shift: &Shift, console: &Console, stalled: Stalled) {
    let (api, content) = (scene.gateway.api().clone().kept(), Content::new(7));
    for wire in [Wire::Plain, Wire::Tls].into_iter().cycle() {
        if shift.is_over() {
            return;
        }
        let client = scene.enter(&console.open(&api), wire, scene.comer()).into_inner();
        let far = console.accept();
        let pieces = 0..PIECES;
        thread::scope(|scope| match stalled {
            Stalled::Client => {
                scope.spawn(|| send(&mut &far, &content, &pieces, Framing::Raw));
                thread::sleep(STALL);
                Frames::new(Framing::WebSocket).check(&mut &client, &content, &pieces);
            }
            Stalled::Console => {
                scope.spawn(|| send(&mut &client, &content, &pieces, Framing::WebSocket));
                thread::sleep(STALL);
                take(&mut &far, &content, &pieces);
            }
        });
        part(WebSocket::from_raw_socket(client, Role::Client, None));
        left(far);
        scene.tally.end("client_closed");
    }
}
