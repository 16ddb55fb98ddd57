//! The first bytes of a client: what kind it is. No I/O and no state: with more bytes it is asked again.
//!
//! A viewer that waits for its server to speak, as those of VNC and of serial lines do, has no first bytes; its
//! silence is the session's to notice.

/// What speaks first, and how that is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A record of TLS's handshake (RFC 8446 section 5.1).
    Tls,
    /// A request of HTTP (RFC 9112 section 3), WebSocket's among them.
    Http,
    /// The same with the method CONNECT (RFC 9110 section 9.3.6): what follows is a tunnel.
    Connect,
    /// A link message of SPICE (spice-protocol, `SPICE_MAGIC`).
    Spice,
    /// X.224's connection request ([MS-RDPBCGR] section 2.2.1.1), or a preconnection blob before it ([MS-RDPEPS]
    /// section 2.2.1).
    Rdp,
    /// RFB's version (RFC 6143 section 7.1.1), by a viewer that does not wait for the server's.
    Rfb,
    /// RDCleanPath in a WebSocket: no first bytes of a connection tell it, but where the upgrade leads.
    CleanPath,
    /// Nothing that is known.
    Other,
}

/// So many bytes are always enough.
pub const ENOUGH: usize = 24;

/// The kind of a client whose first bytes these are; `None` where there have to be more of them to tell. What
/// was told once stays so, whatever follows.
pub fn sniff(first: &[u8]) -> Option<Kind> {
    // In the order of their precedence: RFB's version looks like a method of HTTP.
    let judged = [
        (Kind::Tls, starts(first, &[Some(0x16)])),
        (Kind::Spice, starts(first, &b"REDQ".map(Some))),
        (Kind::Rfb, starts(first, &b"RFB ".map(Some))),
        (Kind::Rdp, starts(first, &[Some(3), Some(0), None, None, None, Some(0xe0)])),
        (Kind::Rdp, preconnection(first)),
        (Kind::Connect, starts(first, &b"CONNECT ".map(Some))),
        (Kind::Http, method(first)),
    ];
    for (kind, judgement) in judged {
        match judgement {
            Fit::Yes => return Some(kind),
            Fit::Perhaps => return None,
            Fit::No => {}
        }
    }
    Some(Kind::Other)
}

/// Whether bytes begin as a kind does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    Perhaps,
    No,
}

/// Whether `first` begins with `pattern`, in which `None` stands for any byte.
fn starts(first: &[u8], pattern: &[Option<u8>]) -> Fit {
    if !first.iter().zip(pattern).all(|(byte, wanted)| wanted.is_none_or(|wanted| wanted == *byte)) {
        Fit::No
    } else if first.len() < pattern.len() {
        Fit::Perhaps
    } else {
        Fit::Yes
    }
}

/// Bytes of the shortest and the longest preconnection blob that anybody sends.
pub const BLOB: std::ops::RangeInclusive<u32> = 16..=4096;

/// A preconnection blob: its size, no flags, version 1 or 2; all of 32 bits, the lowest byte first.
fn preconnection(first: &[u8]) -> Fit {
    let version = |version| {
        let zero = Some(0);
        let rest = [None, None, zero, zero, zero, zero, zero, zero, Some(version), zero, zero, zero];
        starts(first, &rest)
    };
    let size = first.first_chunk().map(|size| u32::from_le_bytes(*size));
    match (version(1), version(2)) {
        _ if size.is_some_and(|size| !BLOB.contains(&size)) => Fit::No,
        // Of two bytes that are too much already, the others need not be waited for.
        _ if first.get(1).is_some_and(|high| u32::from(*high) > BLOB.end() >> 8) => Fit::No,
        (Fit::Yes, _) | (_, Fit::Yes) => Fit::Yes,
        (Fit::No, Fit::No) => Fit::No,
        _ => Fit::Perhaps,
    }
}

/// Longest method that is waited for: those of HTTP's registry (RFC 9110 section 16.1.1), and RDG_OUT_DATA.
const METHOD_MAX: usize = 20;

/// Capital letters and what joins them, and a space behind.
fn method(first: &[u8]) -> Fit {
    let of_method = |byte: &&u8| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-');
    let len = first.iter().take_while(of_method).count();
    match first.get(len) {
        _ if len > METHOD_MAX => Fit::No,
        None => Fit::Perhaps,
        Some(b' ') if len > 0 => Fit::Yes,
        Some(_) => Fit::No,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `opening` is told to be with so many bytes of it, and not before.
    fn check(opening: &[u8], kind: Kind, after: usize) {
        assert_eq!(sniff(opening), Some(kind), "{opening:x?}");
        for len in 0..after {
            assert_eq!(sniff(&opening[..len]), None, "{opening:x?} to {len}");
        }
        for len in after..=opening.len() {
            assert_eq!(sniff(&opening[..len]), Some(kind), "{opening:x?} to {len}");
        }
    }

    #[test]
    fn each_kind_is_told_by_its_first_bytes() {
        check(&[0x16, 3, 1, 2, 0, 1], Kind::Tls, 1);
        check(b"REDQ\x02\0\0\0\x02\0\0\0", Kind::Spice, 4);
        check(b"RFB 003.008\n", Kind::Rfb, 4);
        check(b"GET / HTTP/1.1\r\n", Kind::Http, 4);
        check(b"RDG_OUT_DATA / HTTP/1.1\r\n", Kind::Http, 13);
        check(b"PRI * HTTP/2.0\r\n", Kind::Http, 4);
        check(b"REPORT / HTTP/1.1\r\n", Kind::Http, 7);
        check(b"CONNECT x:1 HTTP/1.0\r\n", Kind::Connect, 8);
        check(b"CONNECTED / HTTP/1.0\r\n", Kind::Http, 10);
    }

    #[test]
    fn rdp_begins_in_two_ways() {
        // FreeRDP's connection request, and blobs of version 1 and 2.
        check(&[3, 0, 0, 0x13, 0x0e, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0], Kind::Rdp, 6);
        check(&[0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0], Kind::Rdp, 12);
        check(&[0x47, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0], Kind::Rdp, 12);
        check(&[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], Kind::Other, 6);
    }

    #[test]
    fn what_is_none_of_them_is_other() {
        check(b"SSH-2.0-OpenSSH_9.2\r\n", Kind::Other, 5);
        check(b"hello", Kind::Other, 2);
        check(&[5, 2, 0, 1], Kind::Other, 4);
        check(&[0xff, 0xfb, 1], Kind::Other, 2);
        check(&[b'A'; ENOUGH], Kind::Other, METHOD_MAX + 1);
    }

    proptest! {
        #[test]
        fn what_was_told_stays_so(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let told: Vec<_> = (0..=bytes.len()).map(|len| sniff(&bytes[..len])).collect();
            for pair in told.windows(2) {
                prop_assert!(pair[0].is_none() || pair[0] == pair[1], "{told:?}");
            }
            if bytes.len() >= ENOUGH {
                prop_assert!(told.last().is_some_and(Option::is_some));
            }
        }

        #[test]
        fn openings_that_nearly_fit_are_told_once(
            (at, byte, mut opening) in (0_usize..12, any::<u8>(), prop_oneof![
                Just(b"CONNECT x:1 HTTP/1.0".to_vec()),
                Just(b"REDQ\x02\0\0\0\x02\0\0\0".to_vec()),
                Just(vec![3, 0, 0, 0x13, 0x0e, 0xe0, 0, 0, 0, 0, 0, 1]),
                Just(vec![0x47, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0]),
            ]),
        ) {
            opening[at] = byte;
            let told: Vec<_> = (0..=opening.len()).filter_map(|len| sniff(&opening[..len])).collect();
            prop_assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
        }
    }
}
