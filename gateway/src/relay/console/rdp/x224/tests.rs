//! What real clients and servers send, what hostile ones might, and what holds of all packets.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A request with these parts.
fn request(variable: &[u8]) -> Vec<u8> {
    let length = (HEADER_LEN + variable.len()) as u16;
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![3, 0, high, low, (length - 5) as u8, REQUEST, 0, 0, 0, 0, 0];
    packet.extend(variable);
    packet
}

/// All parts that a client may send behind its line.
fn negotiated(protocols: u32, correlated: bool) -> Vec<u8> {
    let mut parts = part(NEGOTIATION, if correlated { CORRELATED } else { 0 }, protocols);
    if correlated {
        parts.extend([CORRELATION, 0, 36, 0]);
        parts.extend([7; 32]);
    }
    parts
}

fn parsed(bytes: &[u8]) -> Request<'_> {
    Request::parse(bytes).expect("RDP").expect("all of it")
}

fn malformed(packet: &[u8]) {
    assert_eq!(Request::parse(packet), Err(X224Error::Malformed), "{packet:x?}");
}

/// The one of [MS-RDPBCGR] section 4.1.1.
#[test]
fn a_request_with_a_cookie_is_understood() {
    let bytes = b"\x03\0\0\x2c\x27\xe0\0\0\0\0\0Cookie: mstshash=eltons\r\n\x01\0\x08\0\0\0\0\0";
    let request = parsed(bytes);
    assert_eq!(request.packet(), bytes);
    assert_eq!((request.user(), request.routing_token()), (Some(&b"eltons"[..]), None));
    assert_eq!(request.negotiation, Some(Negotiation { flags: 0, protocols: 0 }));
}

#[test]
fn a_routing_token_is_taken_out_and_the_rest_stays() {
    let rest = negotiated(protocol::TLS | protocol::HYBRID, true);
    let with = request(&[b"Cookie: msts=3640205228.15629.0000\r\n", &rest[..]].concat());
    let asked = parsed(&with);
    assert_eq!(asked.routing_token(), Some(&b"3640205228.15629.0000"[..]));
    assert_eq!(asked.user(), None);
    assert_eq!(asked.without_line(), request(&rest));
    // Of other shapes, and without one.
    let with = request(b"tsv://MS Terminal Services Plugin.1.Farm\r\n");
    let asked = parsed(&with);
    assert_eq!((asked.routing_token(), asked.negotiation), (None, None));
    assert_eq!(asked.line(), Some(&b"tsv://MS Terminal Services Plugin.1.Farm"[..]));
    assert_eq!(asked.without_line(), request(b""));
    assert_eq!(parsed(&request(&rest)).without_line(), request(&rest));
}

#[test]
fn a_ticket_has_room_beside_all_other_parts() {
    let line = format!("Cookie: msts={}\r\n", "5a".repeat(32));
    let packet = request(&[line.as_bytes(), &negotiated(3, true)].concat());
    assert_eq!(parsed(&packet).routing_token().map(<[u8]>::len), Some(64));
}

#[test]
fn a_confirm_is_understood() {
    // Of freerdp-shadow-cli 2.11.
    let bytes = b"\x03\0\0\x13\x0e\xd0\0\0\0\0\0\x02\x1f\x08\0\x01\0\0\0more";
    let selected = Confirm::Selected { flags: 0x1f, protocol: protocol::TLS };
    assert_eq!(Confirm::parse(bytes), Ok(Some((19, selected))));
    // [MS-RDPBCGR] section 4.1.2, which answers by a source of its own.
    let bytes = b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\0\x08\0\0\0\0\0";
    assert_eq!(Confirm::parse(bytes), Ok(Some((19, Confirm::Selected { flags: 0, protocol: 0 }))));
    let bytes = b"\x03\0\0\x0b\x06\xd0\0\0\x12\x34\0";
    assert_eq!(Confirm::parse(bytes), Ok(Some((11, Confirm::Plain))));
    assert_eq!(Confirm::parse(&GOODBYE), Err(X224Error::Disconnect));
    for wrong in
        [&b"\x03\0\0\x0c\x07\xd0\0\0\0\0\0\x02"[..], b"\x03\0\0\x13\x0e\xd0\0\0\0\0\0\x04\0\x08\0\0\0\0\0"]
    {
        assert_eq!(Confirm::parse(wrong), Err(X224Error::Malformed), "{wrong:x?}");
    }
}

#[test]
fn another_packet_is_none() {
    for first in [&b"\x16"[..], b"\x03\x01", b"GET"] {
        assert_eq!(Request::parse(first), Err(X224Error::Tpkt), "{first:x?}");
    }
    for code in [CONFIRM, 0xf0, 0xe1] {
        let mut packet = request(b"");
        packet[5] = code;
        assert_eq!(Request::parse(&packet), Err(X224Error::Code { code }));
    }
}

#[test]
fn lengths_that_lie_are_found_before_they_are_believed() {
    // Too short for what every request has, and longer than any can be.
    for length in [0_u16, 4, 10, PACKET_MAX as u16 + 1, u16::MAX] {
        let [high, low] = length.to_be_bytes();
        malformed(&[3, 0, high, low]);
    }
    // One of the two lies.
    for own in [5, 7, 0, 255] {
        let mut packet = request(b"");
        packet[4] = own;
        malformed(&packet[..5]);
    }
    for length in [7, 9, 0] {
        let mut parts = negotiated(1, false);
        parts[2] = length;
        malformed(&request(&parts));
    }
}

#[test]
fn parts_stand_in_their_order() {
    let (cookie, token) = (&b"Cookie: mstshash=a\r\n"[..], &b"Cookie: msts=1\r\n"[..]);
    let (known, correlated) = (&negotiated(1, false)[..], &negotiated(1, true)[..]);
    let unannounced = [known, &correlated[8..]].concat();
    for parts in [
        [known, cookie].concat(),
        [token, cookie].concat(),
        [known, known].concat(),
        correlated[8..].to_vec(),
        unannounced,
        correlated[..43].to_vec(),
        known[..7].to_vec(),
        [cookie, &[9, 0, 8, 0, 0, 0, 0, 0]].concat(),
        b"Cookie: msts=1".to_vec(),
        b"Cookie: msts=1\n".to_vec(),
        b"Cookie: msts=\x01\r\n".to_vec(),
        vec![0; 8],
    ] {
        malformed(&request(&parts));
    }
}

prop_compose! {
    fn requests()(
        line in proptest::option::of("(Cookie: (msts|mstshash)=)?[ -~]{1,80}"),
        protocols in proptest::option::of(any::<u32>()),
        correlated: bool,
    ) -> (Option<String>, Vec<u8>) {
        (line, protocols.map(|protocols| negotiated(protocols, correlated)).unwrap_or_default())
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back((line, rest) in requests(), more in vec(any::<u8>(), 0..9)) {
        let parts = match &line {
            Some(line) => [line.as_bytes(), b"\r\n", &rest].concat(),
            None => rest.clone(),
        };
        let packet = request(&parts);
        let bytes = [&packet[..], &more].concat();
        let asked = parsed(&bytes);
        prop_assert_eq!(asked.packet(), &packet);
        prop_assert_eq!(asked.line(), line.as_ref().map(String::as_bytes));
        prop_assert_eq!(asked.without_line(), request(&rest));
        for len in 0..packet.len() {
            prop_assert_eq!(Request::parse(&packet[..len]), Ok(None));
        }
    }

    #[test]
    fn a_confirm_reads_back(flags: u8, number: u32, more in vec(any::<u8>(), 0..9)) {
        for confirm in
            [Confirm::Plain, Confirm::Selected { flags, protocol: number }, Confirm::Failed { code: number }]
        {
            let packet = confirm.encode();
            let bytes = [&packet[..], &more].concat();
            prop_assert_eq!(Confirm::parse(&bytes), Ok(Some((packet.len(), confirm))));
            for len in 0..packet.len() {
                prop_assert_eq!(Confirm::parse(&packet[..len]), Ok(None));
            }
        }
    }

    #[test]
    fn anything_may_come(mut bytes in vec(any::<u8>(), 0..400), length in 0_u16..300) {
        // Nearly a request: what is not looked at by chance is looked at.
        let header = [3, 0, (length >> 8) as u8, length as u8, length.wrapping_sub(5) as u8, REQUEST];
        for (at, byte) in header.iter().enumerate().take(bytes.len()) {
            bytes[at] = *byte;
        }
        if let Ok(Some(asked)) = Request::parse(&bytes) {
            let without = asked.without_line();
            let again = parsed(&without);
            prop_assert_eq!(again.line(), None);
            prop_assert_eq!(again.negotiation, asked.negotiation);
        }
        let _ = Confirm::parse(&bytes);
    }
}
