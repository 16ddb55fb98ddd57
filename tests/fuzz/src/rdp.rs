//! Openings of RDP, and a server's answer: what goes on is what came, but for a ticket.

use portcullis::relay::console::rdp::Opening;
use portcullis::relay::console::rdp::x224::Confirm;

/// An opening, and what may follow it.
pub fn run(bytes: &[u8]) {
    if let Ok(Some(opening)) = Opening::parse(bytes) {
        assert_eq!(opening.without(None), bytes);
        for shown in opening.shown() {
            let without = opening.without(Some(&shown));
            let again = Opening::parse(&without).expect("an opening still").expect("all of it");
            assert!(again.shown().all(|other| other != shown));
            assert_eq!(again.request.negotiation, opening.request.negotiation);
        }
    }
    if let Ok(Some((len, confirm))) = Confirm::parse(bytes) {
        assert!(len <= bytes.len());
        let again = confirm.encode();
        assert_eq!(Confirm::parse(&again), Ok(Some((again.len(), confirm))));
    }
}
