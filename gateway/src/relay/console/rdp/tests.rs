//! Whole openings: what is taken for a ticket, and what goes on to the target.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A ticket of somebody's.
fn ticket() -> String {
    "5a".repeat(32)
}

/// A connection request with this line, which asks for TLS.
fn request(line: &str) -> Vec<u8> {
    let length = 19 + line.len() as u8;
    let head = [3, 0, 0, length, length - 5, 0xe0, 0, 0, 0, 0, 0];
    [&head[..], line.as_bytes(), &[1, 0, 8, 0, 1, 0, 0, 0]].concat()
}

fn check(opening: &[u8], shown: &[&str], without: &[u8]) {
    let parsed = Opening::parse(opening).expect("an opening").expect("all of it");
    assert_eq!(parsed.shown().collect::<Vec<_>>(), shown, "{opening:x?}");
    assert_eq!(parsed.without(Some(&ticket())), without, "{opening:x?}");
    assert_eq!(parsed.without(None), opening);
}

#[test]
fn a_ticket_stays_inside_and_nothing_else_does() {
    let ticket = ticket();
    let (blob, token) = (Blob::encode(0, &ticket), format!("Cookie: msts={ticket}\r\n"));
    let cookie = request("Cookie: mstshash=someone\r\n");
    check(&[&blob[..], &cookie].concat(), &[&ticket], &cookie);
    check(&request(&token), &[&ticket], &request(""));
    // The same in both places, and behind it what did not wait.
    check(
        &[&blob[..], &request(&token), b"more"].concat(),
        &[&ticket, &ticket],
        &[&request("")[..], b"more"].concat(),
    );
}

#[test]
fn what_is_of_others_goes_on() {
    let foreign = Blob::encode(7, "d6a2c8e0-1f0e-4f5b-8a57-6f4c1f9d3f00;EnhancedMode=1");
    let text = "d6a2c8e0-1f0e-4f5b-8a57-6f4c1f9d3f00;EnhancedMode=1";
    let numbered = [16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0];
    let balanced = request("Cookie: msts=3640205228.15629.0000\r\n");
    let ours = request(&format!("Cookie: msts={}\r\n", ticket()));
    for (opening, shown, without) in [
        ([&foreign[..], &balanced].concat(), vec![text, "3640205228.15629.0000"], None),
        ([&foreign[..], &ours].concat(), vec![text, &ticket()], Some([&foreign[..], &request("")].concat())),
        ([&numbered[..], &request("")].concat(), vec![], None),
        (request("tsv://MS Terminal Services Plugin.1.Farm\r\n"), vec![], None),
        // Nearly a ticket is none.
        (request(&format!("Cookie: mstshash={}\r\n", ticket())), vec![], None),
        ([&Blob::encode(0, "")[..], &request("")].concat(), vec![], None),
    ] {
        check(&opening, &shown, without.as_deref().unwrap_or(&opening));
    }
}

#[test]
fn openings_in_another_order_are_none() {
    let (blob, request) = (Blob::encode(0, "text"), request(""));
    for (opening, error) in [
        ([&blob[..], &blob].concat(), X224Error::Tpkt.into()),
        ([&blob[..], b"GET / HTTP/1.1\r\n"].concat(), X224Error::Tpkt.into()),
        ([&[0x45, 0][..], &request].concat(), OpeningError::from(BlobError::Malformed)),
        (b"\x03\0\0\x0b\x06\xd0\0\0\0\0\0".to_vec(), X224Error::Code { code: 0xd0 }.into()),
    ] {
        assert_eq!(Opening::parse(&opening), Err(error), "{opening:x?}");
    }
}

proptest! {
    #[test]
    fn anything_may_come(blob in proptest::option::of("[a-z]{0,40}"), line in "(Cookie: msts=[a-z]{0,40}\r\n)?",
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3), more in vec(any::<u8>(), 0..9),
    ) {
        let mut bytes = blob.map(|text| Blob::encode(0, &text)).unwrap_or_default();
        bytes.extend(request(&line));
        bytes.extend(more);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for len in 0..=bytes.len() {
            let Ok(Some(opening)) = Opening::parse(&bytes[..len]) else { continue };
            prop_assert_eq!(opening.without(None), &bytes[..len]);
            for shown in opening.shown() {
                let without = opening.without(Some(&shown));
                prop_assert!(without.len() < len);
                let again = Opening::parse(&without).expect("an opening").expect("all of it");
                prop_assert!(again.shown().all(|other| other != shown));
            }
        }
    }
}
