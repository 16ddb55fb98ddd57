//! Whom a proxy in front of the gateway speaks for: the PROXY protocol, versions 1 and 2 (HAProxy's
//! proxy-protocol.txt), and `X-Forwarded-For`. Only those are believed that the configuration names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Proxies that are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies(pub Vec<IpNet>);

impl Proxies {
    /// Whether `peer` is one of them.
    pub fn has(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// The client, of what `X-Forwarded-For` says by all of its lines: each proxy has appended whom it heard, so
    /// that it is the last that is no proxy itself. `None` where that is no address.
    pub fn client<'a>(&self, lines: impl Iterator<Item = &'a str>) -> Option<IpAddr> {
        let lines: Vec<_> = lines.collect();
        let mut hops = lines.into_iter().rev().flat_map(|line| line.rsplit(',')).map(str::trim);
        let first = hops.find(|hop| address(hop).is_none_or(|hop| !self.has(hop)))?;
        address(first)
    }
}

/// An address as proxies write it: with its port or without, IPv6 in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let bare =
        text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inside, _)| inside);
    let without_port = bare.rsplit_once(':').map_or(bare, |(host, _)| host);
    let parsed = bare.parse().or_else(|_| without_port.parse::<Ipv4Addr>().map(IpAddr::V4)).ok();
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// How version 1 begins.
const V1: &[u8; 6] = b"PROXY ";
/// How version 2 begins.
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Shortest and longest header of version 1, with its end of line.
const V1_MIN: usize = b"PROXY UNKNOWN\r\n".len();
const V1_MAX: usize = 107;
/// The part of a header of version 2 that is always there.
const V2_LEN: usize = 16;
/// Longest header of version 2: proxies add what they know of TLS, which is a few hundred bytes.
pub const HEADER_MAX: usize = 4096;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// This is no header.
    None,
    /// It may become one: at least so many more bytes of it have to come.
    Partial(usize),
    /// A header of so many bytes, and for whom; `None` where the proxy speaks for itself.
    Header(usize, Option<IpAddr>),
    /// It begins like a header, and is none.
    Broken,
}

/// Reads the header that `bytes` begin with.
pub fn header(bytes: &[u8]) -> Begin {
    let may_be = |signature: &[u8]| {
        let len = signature.len().min(bytes.len());
        bytes[..len] == signature[..len]
    };
    match bytes.len() {
        0 => Begin::Partial(1),
        len if may_be(V1) && len < V1_MIN => Begin::Partial(V1_MIN - len),
        _ if may_be(V1) => version_1(bytes),
        len if may_be(V2) && len < V2_LEN => Begin::Partial(V2_LEN - len),
        _ if may_be(V2) => version_2(bytes),
        _ => Begin::None,
    }
}

/// Section 2.1: a line of text.
fn version_1(bytes: &[u8]) -> Begin {
    let window = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_MAX { Begin::Partial(1) } else { Begin::Broken };
    };
    let Ok(line) = std::str::from_utf8(&window[V1.len()..end]) else { return Begin::Broken };
    let words: Vec<_> = line.split(' ').collect();
    let client = match words[..] {
        ["UNKNOWN", ..] => return Begin::Header(end + 2, None),
        ["TCP4", source, to, from_port, to_port] => {
            let ports = [from_port, to_port].iter().all(|port| port.parse::<u16>().is_ok());
            let to: Option<Ipv4Addr> = to.parse().ok();
            source.parse().ok().filter(|_| ports && to.is_some()).map(IpAddr::V4)
        }
        ["TCP6", source, to, from_port, to_port] => {
            let ports = [from_port, to_port].iter().all(|port| port.parse::<u16>().is_ok());
            let to: Option<Ipv6Addr> = to.parse().ok();
            source.parse().ok().filter(|_| ports && to.is_some()).map(IpAddr::V6)
        }
        _ => None,
    };
    client.map_or(Begin::Broken, |client| Begin::Header(end + 2, Some(client.to_canonical())))
}

/// Section 2.2: version and command, family and transport, length, addresses, and more that nobody here needs.
fn version_2(bytes: &[u8]) -> Begin {
    let len = V2_LEN + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if len > HEADER_MAX {
        return Begin::Broken;
    }
    let Some(addresses) = bytes.get(V2_LEN..len) else { return Begin::Partial(len - bytes.len()) };
    match (bytes[12], bytes[13] >> 4) {
        // LOCAL: the proxy looks after us, and speaks for nobody. Unix sockets and what is not said are the same.
        (0x20, _) | (0x21, 0 | 3) => Begin::Header(len, None),
        (0x21, 1) if addresses.len() >= 12 => {
            let source = [addresses[0], addresses[1], addresses[2], addresses[3]];
            Begin::Header(len, Some(Ipv4Addr::from(source).into()))
        }
        (0x21, 2) if addresses.len() >= 36 => {
            let source = addresses.first_chunk::<16>().map(|source| Ipv6Addr::from(*source));
            source.map_or(Begin::Broken, |source| Begin::Header(len, Some(IpAddr::V6(source).to_canonical())))
        }
        _ => Begin::Broken,
    }
}

/// Takes a header from the front of `stream`, and nothing behind it. Returns for whom it is, if anybody. There is
/// no deadline. Nothing else of what the gateway is spoken to with begins as a header does.
///
/// # Errors
/// `InvalidData` where it is broken; `UnexpectedEof`; what broke the connection.
pub async fn take_header(stream: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut first = [0];
    let len = stream.peek(&mut first).await?;
    if header(&first[..len]) == Begin::None {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        match header(&bytes) {
            Begin::Header(_, client) => return Ok(client),
            Begin::None | Begin::Broken => return Err(io::ErrorKind::InvalidData.into()),
            Begin::Partial(more) => {
                let have = bytes.len();
                bytes.resize(have + more, 0);
                stream.read_exact(&mut bytes[have..]).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::relay::pipe::tests::connection;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let len = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [V2, &[command, family][..], &len, addresses].concat()
    }

    #[test]
    fn headers_are_told_from_everything_else() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xc0, 0, 0x1f, 0x90];
        let v6 = [[0x20; 16], [0; 16]].concat().into_iter().chain([0, 1, 0, 2]);
        let v6: Vec<u8> = v6.collect();
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 8080\r\n".to_vec(), Some(ip("192.0.2.7"))),
            (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), Some(ip("2001:db8::7"))),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), Some(ip("192.0.2.7"))),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(None)),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), Some(None)),
            (version_2(0x21, 0x11, &v4), Some(ip("192.0.2.7"))),
            (version_2(0x21, 0x21, &v6), Some(ip("2020:2020:2020:2020:2020:2020:2020:2020"))),
            (version_2(0x21, 0x11, &[&v4[..], &[3, 0, 1, 9]].concat()), Some(ip("192.0.2.7"))),
            (version_2(0x20, 0x00, &[]), Some(None)),
            (version_2(0x21, 0x31, &[0; 216]), Some(None)),
            (version_2(0x21, 0x11, &v4[..11]), None),
            (version_2(0x22, 0x11, &v4), None),
            (version_2(0x11, 0x11, &v4), None),
            (version_2(0x21, 0x11, &[0; HEADER_MAX]), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 49152\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 99999\r\n".to_vec(), None),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), None),
            (b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), None),
            ([b"PROXY UNKNOWN ".as_slice(), &[b'x'; V1_MAX]].concat(), None),
        ] {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            match expected {
                None => assert_eq!(header(&bytes), Begin::Broken, "{shown}"),
                Some(client) => {
                    let len = bytes.len();
                    let more = [&bytes, b"GET".as_slice()].concat();
                    assert_eq!(header(&more), Begin::Header(len, client), "{shown}");
                    for cut in 0..len {
                        let partial = header(&bytes[..cut]);
                        assert!(
                            matches!(partial, Begin::Partial(need) if cut + need <= len),
                            "{shown} {cut}"
                        );
                    }
                }
            }
        }
        for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"POST", b"\r\n\r\nGET", b"REDQ"] {
            assert_eq!(header(other), Begin::None, "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_header_is_taken_and_nothing_behind_it() {
        for (sent, client) in [
            (&b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 8080\r\nGET"[..], Ok(ip("192.0.2.7"))),
            (b"GET", Ok(None)),
            (b"POST / HTTP/1.1\r\n\r\n", Err(io::ErrorKind::InvalidData)),
            (b"PROXY TCP4", Err(io::ErrorKind::UnexpectedEof)),
        ] {
            let (mut proxy, mut near) = connection().await;
            for byte in sent {
                proxy.write_all(&[*byte]).await.expect("writes");
            }
            proxy.shutdown().await.expect("ends");
            let taken = take_header(&mut near).await;
            assert_eq!(taken.as_ref().map_err(io::Error::kind).copied(), client);
            if taken.is_ok() {
                let mut rest = Vec::new();
                near.read_to_end(&mut rest).await.expect("reads");
                assert_eq!(rest, b"GET");
            }
        }
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_is_the_client() {
        let proxies = Proxies(vec!["10.0.0.0/8".parse().expect("a network")]);
        for (lines, client) in [
            (&["192.0.2.7"][..], ip("192.0.2.7")),
            (&["198.51.100.1, 192.0.2.7, 10.1.2.3"], ip("192.0.2.7")),
            (&["198.51.100.1", "192.0.2.7,10.1.2.3"], ip("192.0.2.7")),
            (&["192.0.2.7:4711, 10.0.0.1:80"], ip("192.0.2.7")),
            (&["\"spoofed\", [2001:db8::7]:4711"], ip("2001:db8::7")),
            (&["2001:db8::7"], ip("2001:db8::7")),
            (&["::ffff:192.0.2.7"], ip("192.0.2.7")),
            (&["192.0.2.7, unknown"], None),
            (&["10.0.0.1"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(proxies.client(lines.iter().copied()), client, "{lines:?}");
        }
    }
}
