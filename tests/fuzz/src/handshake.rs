//! The head of a request, and the ticket in it.

use portcullis::relay::handshake::{Ask, Head};

/// A request as it comes from a client.
pub fn run(bytes: &[u8]) {
    let Ok(Some(head)) = Head::parse(bytes) else { return };
    assert!(bytes.ends_with(&head.rest));
    let allowed = ["https://cloud.example".parse().expect("an origin")];
    for broker in [None, Some("b-e33af3a1fc989695")] {
        if let Ok(Ask::Upgrade(upgrade, _)) = head.ask(broker, &allowed) {
            assert!(
                upgrade.answer().starts_with(b"HTTP/1.1 101 ") && upgrade.answer().ends_with(b"\r\n\r\n")
            );
        }
    }
}
