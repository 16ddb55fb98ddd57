use proptest::prelude::*;

use super::*;

/// A connection request of IronRDP: the user of a cookie, TLS and CredSSP.
pub const PACKET: &[u8] = b"\x03\x00\x00\x2a\x25\xe0\x00\x00\x00\x00\x00Cookie: mstshash=user\r\n\
    \x01\x00\x08\x00\x03\x00\x00\x00";

fn pdu() -> RDCleanPathPdu {
    RDCleanPathPdu::new_request(PACKET.to_vec(), "anywhere:3389".into(), "t1".into(), None).expect("short")
}

fn der(change: impl FnOnce(&mut RDCleanPathPdu)) -> Vec<u8> {
    let mut pdu = pdu();
    change(&mut pdu);
    pdu.to_der().expect("short")
}

fn octets(bytes: &[u8]) -> Option<OctetString> {
    Some(OctetString::new(bytes).expect("short"))
}

#[test]
fn a_request_has_a_ticket_and_what_the_server_is_asked() {
    let request = Request::parse(&der(|_| {})).expect("good").expect("whole");
    assert_eq!((request.ticket(), request.packet.as_slice()), (Some("t1"), PACKET));
    assert!(!format!("{request:?}").contains("t1"));
    // Without a ticket it is one all the same: another way may have brought it.
    for without in [None, Some(String::new())] {
        let request = Request::parse(&der(|pdu| pdu.proxy_auth = without)).expect("good").expect("whole");
        assert_eq!(request.ticket(), None);
    }
    // A blob means nothing.
    let blob = der(|pdu| pdu.preconnection_blob = Some("vm".into()));
    assert_eq!(Request::parse(&blob).expect("good").expect("whole").packet, PACKET);
}

#[test]
fn a_routing_token_goes_nowhere() {
    let packet = b"\x03\x00\x00\x26\x21\xe0\x00\x00\x00\x00\x00Cookie: msts=elsewhere\r\n\x01\x00\x08\x00\x01\x00\x00\x00";
    let mut packet = packet.to_vec();
    let length = packet.len() as u8;
    (packet[3], packet[4]) = (length, length - 5);
    let request = Request::parse(&der(|pdu| pdu.x224_connection_pdu = octets(&packet)));
    let bare = b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x01\x00\x00\x00";
    assert_eq!(request.expect("good").expect("whole").packet, bare);
}

#[test]
fn what_is_no_request_is_refused() {
    use BadRequest::{Malformed, NoPacket, TooLong};
    let good = der(|_| {});
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (what, bytes, expected) in [
        ("more behind it", [good.as_slice(), &[0]].concat(), Malformed),
        ("a second one behind it", [good.as_slice(), &good].concat(), Malformed),
        ("no sequence", with(0, 0x31), Malformed),
        ("no version first", with(2, 0xa2), Malformed),
        ("an endless length", with(1, 0x80), Malformed),
        ("a length in too many bytes", [&[0x30, 0x81, 0x05][..], &good[2..7]].concat(), Malformed),
        ("another version", der(|pdu| pdu.version += 1), Malformed),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Malformed),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1], Malformed),
        ("no destination", der(|pdu| pdu.destination = None), Malformed),
        ("an error", RDCleanPathPdu::new_http_error(403).to_der().expect("short"), Malformed),
        ("an answer", response(PACKET.to_vec(), vec![vec![0]], "x".into()).expect("short"), Malformed),
        ("both", der(|pdu| pdu.server_addr = Some("x".into())), Malformed),
        ("no packet", der(|pdu| pdu.x224_connection_pdu = None), NoPacket),
        ("an empty packet", der(|pdu| pdu.x224_connection_pdu = octets(b"")), NoPacket),
        ("another packet", der(|pdu| pdu.x224_connection_pdu = octets(&x224::GOODBYE)), NoPacket),
        ("half a packet", der(|pdu| pdu.x224_connection_pdu = octets(&PACKET[..20])), NoPacket),
        ("two packets", der(|pdu| pdu.x224_connection_pdu = octets(&[PACKET, PACKET].concat())), NoPacket),
        ("too much", der(|pdu| pdu.proxy_auth = Some("x".repeat(REQUEST_MAX))), TooLong),
        ("the promise of too much", vec![0x30, 0x82, 0xff, 0xff, 0xa0, 4, 2, 2, 0x0d, 0x3e], TooLong),
    ] {
        assert_eq!(Request::parse(&bytes), Err(expected), "{what}");
    }
    for len in 0..good.len() {
        assert_eq!(Request::parse(&good[..len]), Ok(None), "{len} bytes of a good one");
    }
}

#[test]
fn an_answer_is_what_clients_read() {
    let confirm = x224::Confirm::Selected { flags: 0, protocol: x224::protocol::TLS }.encode();
    let bytes = response(confirm.clone(), vec![vec![1, 2]], "192.0.2.1:10000".into()).expect("short");
    let read = RDCleanPathPdu::from_der(&bytes).expect("one");
    assert_eq!(read.version, 3390);
    assert_eq!(read.x224_connection_pdu, octets(&confirm));
    assert_eq!(read.server_addr.as_deref(), Some("192.0.2.1:10000"));
    assert_eq!(read.server_cert_chain, octets(&[1, 2]).map(|own| vec![own]));
    for (failure, code, status, alert) in [
        (Failure::Http(403), 1, Some(403), None),
        (Failure::Tls(48), 1, None, Some(48)),
        (Failure::Negotiation(confirm.clone()), 2, None, None),
    ] {
        let negotiated = matches!(failure, Failure::Negotiation(_));
        let read = RDCleanPathPdu::from_der(&failure.encode()).expect("one");
        let error = read.error.expect("an error");
        assert_eq!((error.error_code, error.http_status_code, error.tls_alert_code), (code, status, alert));
        assert_eq!(read.x224_connection_pdu.is_some(), negotiated);
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn what_is_spoiled_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = der(|_| {});
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Some(request)) = Request::parse(&bytes) {
            prop_assert!(x224::Request::parse(&request.packet).is_ok_and(|parsed| parsed.is_some()));
        }
    }
}
