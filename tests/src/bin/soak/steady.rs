//! Sessions that last for a round and move bytes all the time: bulk down, bulk up, both ways, and small frames.

use std::net::TcpStream;
use std::ops::Range;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use portcullis_tests::content::{Content, Framing, PIECE};
use portcullis_tests::ends::{Frames, Stream, send, take};

use crate::console::{Console, left};
use crate::round::Shift;
use crate::scene::{Scene, Wire};

/// Between two bursts: those who come and go need the machine, too.
const PAUSE: Duration = Duration::from_millis(300);

/// What a session moves.
#[derive(Clone, Copy)]
pub struct Kind {
    up: Option<&'static LazyLock<Content>>,
    down: Option<&'static LazyLock<Content>>,
    /// Pieces of a burst; all of them arrive before the next.
    burst: u64,
}

static BULK_UP: LazyLock<Content> = LazyLock::new(|| Content::new(1));
static BULK_DOWN: LazyLock<Content> = LazyLock::new(|| Content::new(2));
static SCREEN_UP: LazyLock<Content> = LazyLock::new(|| Content::of(3, PIECE / 4, 1));
static SCREEN_DOWN: LazyLock<Content> = LazyLock::new(|| Content::of(4, PIECE / 4, 1));
/// Eight a segment, as of a mouse that moves.
static SMALL_UP: LazyLock<Content> = LazyLock::new(|| Content::of(5, 100, 8));
static SMALL_DOWN: LazyLock<Content> = LazyLock::new(|| Content::of(6, 40, 1));

/// All of them.
pub const KINDS: [Kind; 4] = [
    Kind { up: None, down: Some(&BULK_DOWN), burst: 256 },
    Kind { up: Some(&BULK_UP), down: None, burst: 256 },
    Kind { up: Some(&SCREEN_UP), down: Some(&SCREEN_DOWN), burst: 256 },
    Kind { up: Some(&SMALL_UP), down: Some(&SMALL_DOWN), burst: 8 * 256 },
];

/// A ping without payload and the close frame without a code, under a mask of zeros (RFC 6455 section 5.5).
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
const CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];
/// The answer to the latter.
const CLOSED: [u8; 2] = [0x88, 0];

/// One session until the end of the shift.
pub fn work(scene: &Scene, shift: &Shift, console: &Console, kind: Kind, wire: Wire) {
    let broker = console.open(&scene.gateway.api().clone());
    let client = scene.enter(&broker, wire, scene.comer()).into_inner();
    let far = console.accept();
    let mut frames = Frames::new(Framing::WebSocket);
    let mut pieces = 0..kind.burst;
    while !shift.is_over() {
        kind.burst(&client, &far, &mut frames, &pieces);
        // Who only reads is there, too: the answer comes between two frames.
        send_all(&client, &PING);
        pieces = pieces.end..pieces.end + kind.burst;
        thread::sleep(PAUSE);
    }
    send_all(&client, &CLOSE);
    assert!(rest(&client).ends_with(&CLOSED), "no answer to a close frame");
    left(far);
    scene.tally.end("client_closed");
}

impl Kind {
    fn burst(self, client: &Stream, far: &TcpStream, frames: &mut Frames, pieces: &Range<u64>) {
        thread::scope(|scope| {
            if let Some(content) = self.up {
                scope.spawn(move || send(&mut &*client, content, pieces, Framing::WebSocket));
                scope.spawn(move || take(&mut &*far, content, pieces));
            }
            if let Some(content) = self.down {
                scope.spawn(move || send(&mut &*far, content, pieces, Framing::Raw));
                frames.check(&mut &*client, content, pieces);
            }
        });
    }
}

fn send_all(mut client: &Stream, bytes: &[u8]) {
    use std::io::Write;
    client.write_all(bytes).expect("the client writes");
}

/// What still comes, to an orderly end.
fn rest(mut client: &Stream) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("an orderly end");
    bytes
}
