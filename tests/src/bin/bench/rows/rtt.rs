//! How long eight bytes of a client take to the console, and 32 of its answer back: 1,000 a second, by eight
//! sessions in turn.
//!
//! One thread is the client and one the console. Both are asleep until it is their turn, as ends are that wait
//! for a person; `direct` shows what that costs without a relay.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::target::Target;

use super::{Figures, Scale};
use crate::content::{Content, Framing};
use crate::ends::Session;
use crate::relay::Entry;

const SESSIONS: usize = 8;
/// From a message to the next.
const PAUSE: Duration = Duration::from_millis(1);
/// Messages before the clock runs.
const WARM: usize = 50;
const QUESTION: usize = 8;
const ANSWER: usize = 32;
/// Of a read: more than comes.
const ROOM: usize = 4096;

pub fn rtt(entry: &Entry, scale: &Scale) -> Figures {
    let (questions, answers) = (Content::of(1, QUESTION, 1), Content::of(2, ANSWER, 1));
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    let sessions = (0..SESSIONS).map(|_| Session::open(&mut *relay, &target));
    let (mut clients, mut consoles): (Vec<_>, Vec<_>) =
        sessions.map(|session| (session.client, session.console)).unzip();
    clients.iter_mut().for_each(|client| client.room(ROOM));
    let messages = WARM + scale.messages;
    let mut times = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..messages {
                answer(&mut consoles[number % SESSIONS], &questions, &answers, (number / SESSIONS) as u64);
            }
        });
        let began = Instant::now();
        let ask = |number: usize| {
            thread::sleep((PAUSE * number as u32).saturating_sub(began.elapsed()));
            let piece = (number / SESSIONS) as u64..(number / SESSIONS) as u64 + 1;
            let sent = Instant::now();
            let client = &mut clients[number % SESSIONS];
            client.send(&questions, &piece);
            client.take(&answers, &piece);
            sent.elapsed().as_secs_f64()
        };
        (0..messages).map(ask).skip(WARM).collect::<Vec<_>>()
    });
    times.sort_by(f64::total_cmp);
    let percentile = |percent: usize| times[times.len() * percent / 100];
    vec![("rtt".into(), percentile(50)), ("rtt/p99".into(), percentile(99))]
}

/// Waits for question `number`, and answers.
fn answer(console: &mut (impl Read + Write), questions: &Content, answers: &Content, number: u64) {
    let mut question = [0; QUESTION];
    console.read_exact(&mut question).expect("a question");
    questions.check(number * QUESTION as u64, &question);
    for bytes in answers.writes(&(number..number + 1), Framing::Raw) {
        console.write_all(bytes).expect("the console answers");
    }
}
