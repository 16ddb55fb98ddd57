//! Targets as scripts: what they say and what they must hear, split anywhere, over a pipe.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::super::tests::run;
use super::*;

/// What a target does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Says(&'static [u8]),
    Hears(&'static [u8]),
    /// It hears the answer to [`CHALLENGE`] for this password.
    HearsAnswer(&'static str),
}
use Act::{Hears, HearsAnswer, Says};

const CHALLENGE: [u8; CHALLENGE_LEN] = *b"never the same..";

/// What a target sends of itself behind SecurityResult. No target does that, which is why it shows who reads
/// too far.
const BEHIND: &[u8] = b"\x02\x80\x01\xe0 what comes behind";

/// Plays the script against [`authenticate`], in parts of these sizes through a pipe of `room` bytes; the
/// target ends behind it. Returns what came of it and what was left to read.
fn play(
    script: &[Act],
    password: Option<&str>,
    parts: &[usize],
    room: usize,
) -> (Result<(), VncError>, Vec<u8>) {
    let (mut near, far) = duplex(room);
    let gateway = async {
        let result = authenticate(&mut near, password).await;
        let mut rest = Vec::new();
        if result.is_ok() {
            near.read_to_end(&mut rest).await.expect("reads");
        }
        drop(near);
        (result, rest)
    };
    run(async { tokio::join!(gateway, target(far, script, parts)).0 })
}

async fn target(mut pipe: DuplexStream, script: &[Act], parts: &[usize]) {
    let mut parts = parts.iter().copied().cycle();
    for act in script {
        let expected = match *act {
            Says(mut bytes) => {
                while !bytes.is_empty() {
                    let (part, rest) = bytes.split_at(parts.next().expect("a cycle").min(bytes.len()));
                    if pipe.write_all(part).await.is_err() {
                        // The gateway has heard enough.
                        return;
                    }
                    tokio::task::yield_now().await;
                    bytes = rest;
                }
                continue;
            }
            Hears(expected) => expected.to_vec(),
            HearsAnswer(password) => answer(password.as_bytes(), CHALLENGE).to_vec(),
        };
        let mut heard = vec![0; expected.len()];
        pipe.read_exact(&mut heard).await.expect("hears");
        assert_eq!(heard, expected);
    }
    // All is said; and the gateway has nothing to add.
    pipe.shutdown().await.expect("ends");
    let mut more = Vec::new();
    pipe.read_to_end(&mut more).await.expect("reads");
    assert_eq!(more, b"");
}

/// Every result is told by its kind and content.
fn check(script: &[Act], password: Option<&str>, expected: &str) {
    let (result, _) = play(script, password, &[usize::MAX], 1024);
    assert_eq!(result.map_or_else(|error| format!("{error:?}"), |()| "in".into()), expected, "{script:?}");
}

const V33: &[u8] = b"RFB 003.003\n";
const V37: &[u8] = b"RFB 003.007\n";
const V38: &[u8] = b"RFB 003.008\n";

const OK: &[u8] = &[0; 4];
const FAILED: &[u8] = &[0, 0, 0, 1];

/// All ways to get in.
const WAYS_IN: &[(&[Act], Option<&str>)] = &[
    (&[Says(V33), Hears(V33), Says(&[0, 0, 0, 1])], None),
    (&[Says(V33), Hears(V33), Says(&[0, 0, 0, 1])], Some("not asked for")),
    (
        &[Says(V33), Hears(V33), Says(&[0, 0, 0, 2]), Says(&CHALLENGE), HearsAnswer("secret"), Says(OK)],
        Some("secret"),
    ),
    (&[Says(V37), Hears(V37), Says(&[1, 1]), Hears(&[1])], None),
    (&[Says(V37), Hears(V37), Says(&[3, 16, 2, 1]), Hears(&[1])], None),
    (
        &[
            Says(V37),
            Hears(V37),
            Says(&[2, 1, 2]),
            Hears(&[2]),
            Says(&CHALLENGE),
            HearsAnswer("secret"),
            Says(OK),
        ],
        Some("secret"),
    ),
    (&[Says(V38), Hears(V38), Says(&[1, 1]), Hears(&[1]), Says(OK)], None),
    (&[Says(V38), Hears(V38), Says(&[2, 19, 1]), Hears(&[1]), Says(OK)], Some("not asked for")),
    (
        &[
            Says(V38),
            Hears(V38),
            Says(&[3, 1, 19, 2]),
            Hears(&[2]),
            Says(&CHALLENGE),
            HearsAnswer("longer t"),
            Says(OK),
        ],
        Some("longer than eight"),
    ),
];

proptest! {
    #[test]
    fn every_way_in_takes_the_handshake_and_nothing_more(
        way in 0..WAYS_IN.len(),
        parts in proptest::collection::vec(1_usize..20, 1..8),
        room in 1_usize..64,
    ) {
        let (script, password) = WAYS_IN[way];
        let script = [script, &[Says(BEHIND)]].concat();
        let (result, rest) = play(&script, password, &parts, room);
        prop_assert!(result.is_ok(), "{result:?}");
        prop_assert_eq!(rest, BEHIND);
    }

    /// All that a target says in time, whatever it hears, cut off anywhere.
    #[test]
    fn a_handshake_that_ends_early_is_no_way_in(way in 0..WAYS_IN.len(), len in 0_usize..40) {
        let (script, password) = WAYS_IN[way];
        let said: Vec<u8> = script.iter().flat_map(|act| if let Says(bytes) = act { *bytes } else { b"" }).copied().collect();
        let len = len.min(said.len());
        match at_once(&said[..len], password) {
            Ok(()) => prop_assert_eq!(len, said.len()),
            Err(VncError::NotRfb) => prop_assert!(len < VERSION_LEN),
            Err(VncError::Io(error)) => {
                prop_assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                prop_assert!((VERSION_LEN..said.len()).contains(&len));
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn garbage_is_no_way_in(
        begins_well in any::<bool>(),
        mut garbage in proptest::collection::vec(any::<u8>(), 0..80),
        password in proptest::option::of("[a-z]{0,12}"),
    ) {
        if begins_well {
            garbage.splice(0..0, V38.iter().copied());
            // A SecurityResult by chance would be a real one.
            garbage.truncate(VERSION_LEN + 4);
        }
        prop_assert!(at_once(&garbage, password.as_deref()).is_err());
    }
}

/// A target that says all of this at once, and ends.
fn at_once(said: &[u8], password: Option<&str>) -> Result<(), VncError> {
    run(async {
        let (mut near, mut far) = duplex(1024);
        far.write_all(said).await.expect("there is room");
        far.shutdown().await.expect("ends");
        authenticate(&mut near, password).await
    })
}

#[test]
fn what_speaks_no_rfb_is_told_by_its_first_bytes() {
    for says in [&b"SSH-2.0-OpenSSH_9.2"[..], b"\x03\0\0\x13\x0e\xd0", b"REDQ", b"220\r\n", b"RFB 3.8\n", b""]
    {
        let (result, _) = play(&[Says(says)], None, &[1], 64);
        assert!(matches!(result, Err(VncError::NotRfb)), "{says:?}: {result:?}");
    }
    check(&[Says(b"RFB 003.008\r")], None, "NotRfb");
    check(&[Says(b"RFB 000.000\n")], None, "NotRfb");
    check(&[Says(b"RFB 002.999\n")], None, "NotRfb");
    check(&[Says(b"RFB 003.002\n")], None, "NotRfb");
}

/// A target that says a little of something else and then waits is not waited for.
#[tokio::test(start_paused = true)]
async fn a_few_wrong_bytes_are_enough() {
    let (mut near, mut far) = duplex(64);
    far.write_all(b"220 ").await.expect("writes");
    let result = timeout(Duration::from_secs(1), authenticate(&mut near, None)).await.expect("no wait");
    assert!(matches!(result, Err(VncError::NotRfb)), "{result:?}");
}

#[test]
fn strange_versions_are_met_halfway() {
    let told: &[Act] = &[Says(&[0, 0, 0, 1])];
    let asked: &[Act] = &[Says(&[1, 1]), Hears(&[1])];
    let asked_and_answered: &[Act] = &[Says(&[1, 1]), Hears(&[1]), Says(OK)];
    let pairs: [(&'static [u8], _, _); 6] = [
        (b"RFB 003.004\n", V33, told),
        (b"RFB 003.006\n", V33, told),
        (V37, V37, asked),
        (b"RFB 003.889\n", V38, asked_and_answered),
        (b"RFB 004.001\n", V38, asked_and_answered),
        (b"RFB 005.000\n", V38, asked_and_answered),
    ];
    for (theirs, ours, rest) in pairs {
        check(&[&[Says(theirs), Hears(ours)], rest].concat(), None, "in");
    }
}

#[test]
fn a_refusal_brings_its_reason_cleaned_and_bounded() {
    let refusal = |reason: &'static [u8], expected: &str| {
        let expected = format!("Refused {{ reason: {expected:?} }}");
        check(&[Says(V38), Hears(V38), Says(&[0]), Says(reason)], Some("any"), &expected);
        check(&[Says(V37), Hears(V37), Says(&[0]), Says(reason)], None, &expected);
        check(&[Says(V33), Hears(V33), Says(&[0; 4]), Says(reason)], None, &expected);
        check(
            &[Says(V38), Hears(V38), Says(&[1, 1]), Hears(&[1]), Says(FAILED), Says(reason)],
            None,
            &expected,
        );
    };
    refusal(b"\0\0\0\x11Too many failures", "Too many failures");
    refusal(b"\0\0\0\x0b\nno\t\x1b[1m\xe4\0\n", "no ?[1m??");
    refusal(b"\0\0\0\0", "");
    refusal(b"\0\0", "");
    refusal(b"\0\0\0\x20cut off", "cut off");
    refusal(b"\0\0\0\x02no more of this", "no");
    const ENDLESS: &[u8] = &[0x7f; 100_000];
    refusal(ENDLESS, &"?".repeat(512));
}

#[test]
fn what_is_offered_and_known_decides() {
    let offers = |types: &'static [u8], password, expected: &str| {
        check(&[Says(V38), Hears(V38), Says(types)], password, expected)
    };
    offers(&[1, 2], None, "PasswordNeeded");
    offers(&[2, 19, 2], None, "PasswordNeeded");
    offers(&[1, 19], None, "Unsupported { offered: [19] }");
    offers(&[3, 18, 16, 5], Some("secret"), "Unsupported { offered: [18, 16, 5] }");
    check(&[Says(V33), Hears(V33), Says(&[0, 0, 0, 2])], None, "PasswordNeeded");
    check(
        &[Says(V33), Hears(V33), Says(&[1, 0, 0, 1])],
        Some("secret"),
        "Unsupported { offered: [16777217] }",
    );
}

#[test]
fn a_wrong_password_is_told_from_a_refusal() {
    let to_v38: &[Act] =
        &[Says(V38), Hears(V38), Says(&[1, 2]), Hears(&[2]), Says(&CHALLENGE), HearsAnswer("wrong")];
    let to_v37: &[Act] =
        &[Says(V37), Hears(V37), Says(&[1, 2]), Hears(&[2]), Says(&CHALLENGE), HearsAnswer("wrong")];
    let to_v33: &[Act] =
        &[Says(V33), Hears(V33), Says(&[0, 0, 0, 2]), Says(&CHALLENGE), HearsAnswer("wrong")];
    let ends =
        |way: &[Act], result: &[Act], expected| check(&[way, result].concat(), Some("wrong"), expected);
    for way in [to_v38, to_v37, to_v33] {
        ends(way, &[Says(FAILED)], "WrongPassword");
        ends(way, &[Says(&[0xff; 4])], "WrongPassword");
        ends(way, &[Says(OK)], "in");
    }
    ends(to_v38, &[Says(FAILED), Says(b"\0\0\0\x03bad")], "WrongPassword");
    let too_many: &[Act] = &[Says(&[0, 0, 0, 2]), Says(b"\0\0\0\x05later")];
    ends(to_v38, too_many, "Refused { reason: \"later\" }");
    ends(to_v37, too_many, "Refused { reason: \"\" }");
}
