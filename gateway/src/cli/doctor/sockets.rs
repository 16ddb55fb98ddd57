//! Sockets of others where the daemon wants to be: on broker ports, and where it listens for API and
//! metrics.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;

use crate::config::{At, Config};

use super::Check;
use super::socket_file::in_the_way;

/// More names than this help nobody.
const NAMED: usize = 5;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listening {
    at: SocketAddr,
    uid: u32,
    inode: u64,
}

/// `daemon` is the one that runs with this state folder, if any: its sockets are ours. `filtered` says
/// whether the filter would stand.
pub fn checks(config: &Config, daemon: Option<u32>, filtered: bool) -> [Check; 2] {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut sockets = listening(&read("/proc/net/tcp"));
    sockets.extend(listening(&read("/proc/net/tcp6")));
    sockets.retain(|socket| on_broker_port(socket, config) || on_ours(socket, config));
    let owners = Owners::find(&sockets, daemon);
    sockets.retain(|socket| !owners.is_the_daemon(socket));
    let (ours, brokers): (Vec<_>, Vec<_>) = sockets.iter().partition(|socket| on_ours(socket, config));
    let files = socket_files(config, daemon.is_some());
    [foreign(&brokers, &owners, filtered), taken(config, &ours, &files, &owners)]
}

/// What is in the way of our Unix sockets.
fn socket_files(config: &Config, daemon: bool) -> Vec<String> {
    let listening = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let ours = [&config.api.at, &config.metrics.at];
    ours.into_iter()
        .filter_map(|at| match at {
            At::Unix { path, .. } => in_the_way(path, &listening, daemon),
            At::Tcp(_) => None,
        })
        .collect()
}

fn foreign(sockets: &[&Listening], owners: &Owners, filtered: bool) -> Check {
    const NAME: &str = "broker ports";
    if sockets.is_empty() {
        return Check::ok(NAME, "no other service listens there");
    }
    let mut seen = format!("others listen there: {}", owners.names(sockets));
    if filtered {
        seen.push_str("; the filter cuts them off from broker addresses");
    }
    let mut ports: Vec<_> = sockets.iter().map(|socket| socket.at.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    Check::degraded(NAME, seen, format!("move them to other ports, or range.exclude = {ports:?}"))
}

fn taken(config: &Config, sockets: &[&Listening], files: &[String], owners: &Owners) -> Check {
    const NAME: &str = "listen";
    if !files.is_empty() {
        let remedy =
            "make the folder, remove what is not needed, or name another: api.listen, metrics.listen";
        return Check::missing(NAME, files.join(", "), remedy);
    }
    if sockets.is_empty() {
        return Check::ok(NAME, format!("API on {}, metrics on {}", config.api.at, config.metrics.at));
    }
    let remedy = "stop them, or name other addresses: api.listen, metrics.listen";
    Check::missing(NAME, format!("others listen there: {}", owners.names(sockets)), remedy)
}

/// Whether the socket is in the way of a broker. What is excluded is not.
fn on_broker_port(socket: &Listening, config: &Config) -> bool {
    let port = socket.at.port();
    config.range.contains(&port)
        && !config.exclude.contains(&port)
        && config.addresses.iter().any(|address| meets(socket.at.ip(), *address))
}

fn on_ours(socket: &Listening, config: &Config) -> bool {
    let ours = [config.api.at.tcp(), config.metrics.at.tcp()];
    ours.iter()
        .flatten()
        .any(|wanted| wanted.port() == socket.at.port() && meets(socket.at.ip(), wanted.ip()))
}

/// Whether sockets on the two addresses want the same packets. One on `::` takes IPv4 too, unless it was
/// told not to, which does not show.
fn meets(there: IpAddr, wanted: IpAddr) -> bool {
    let (there, wanted) = (there.to_canonical(), wanted.to_canonical());
    let all = |one: IpAddr, other: IpAddr| one.is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    there == wanted || all(there, wanted) || all(wanted, there)
}

/// The listening sockets of /proc/net/tcp or tcp6 (proc(5)).
fn listening(table: &str) -> Vec<Listening> {
    const LISTEN: &str = "0A";
    let sockets = table.lines().skip(1).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let listens = words.get(3).is_some_and(|state| *state == LISTEN);
        let at = endpoint(words.get(1).filter(|_| listens)?)?;
        Some(Listening { at, uid: words.get(7)?.parse().ok()?, inode: words.get(9)?.parse().ok()? })
    });
    sockets.collect()
}

/// Address and port in hexadecimal. The kernel prints each four bytes of an address as one number of its
/// own byte order.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Who has which socket, as far as this user may know.
struct Owners {
    processes: HashMap<u64, u32>,
    daemon: Option<(u32, Option<u32>)>,
}

impl Owners {
    fn find(sockets: &[Listening], daemon: Option<u32>) -> Self {
        let wanted: Vec<_> =
            sockets.iter().map(|socket| (format!("socket:[{}]", socket.inode), socket.inode)).collect();
        let mut processes = HashMap::new();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // Nobody to look for is the usual case.
        for id in ids.filter(|_| !wanted.is_empty()) {
            for descriptor in fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten() {
                let Ok(leads_to) = fs::read_link(descriptor.path()) else { continue };
                let found = wanted.iter().find(|(name, _)| leads_to.as_os_str() == name.as_str());
                processes.extend(found.map(|(_, inode)| (*inode, id)));
            }
        }
        let user = |id: u32| fs::metadata(format!("/proc/{id}")).ok().map(|about| about.uid());
        Self { processes, daemon: daemon.map(|id| (id, user(id))) }
    }

    fn is_the_daemon(&self, socket: &Listening) -> bool {
        match (self.daemon, self.processes.get(&socket.inode)) {
            (Some((daemon, _)), Some(owner)) => *owner == daemon,
            // Its descriptors are not shown to this user: what its user has is taken for its own.
            (Some((_, user)), None) => user == Some(socket.uid),
            (None, _) => false,
        }
    }

    /// What to call the first of `sockets`.
    fn names(&self, sockets: &[&Listening]) -> String {
        let named = sockets.iter().take(NAMED);
        let mut names: Vec<_> =
            named.map(|socket| format!("{} on {}", self.name(socket), socket.at)).collect();
        if sockets.len() > NAMED {
            names.push(format!("and {} more", sockets.len() - NAMED));
        }
        names.join(", ")
    }

    fn name(&self, socket: &Listening) -> String {
        let Some(id) = self.processes.get(&socket.inode) else {
            return format!("a process of user {}", socket.uid);
        };
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        format!("{} ({id})", name.trim().escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0150007F:2710 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0
   1: 0100007F:2711 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:2712 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0 100 0 0 10 0
   1: B80D0120000000000000000001000000:2713 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4715 1 0 100 0 0 10 0
";

    fn at(endpoint: &str, uid: u32, inode: u64) -> Listening {
        Listening { at: endpoint.parse().expect("an endpoint"), uid, inode }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn listening_sockets_are_read() {
        assert_eq!(listening(TCP), [at("127.0.80.1:10000", 1000, 4711), at("0.0.0.0:22", 0, 4713)]);
        assert_eq!(listening(TCP6), [at("[::1]:10002", 0, 4714), at("[2001:db8::1]:10003", 0, 4715)]);
        for text in ["", "\n", "header\n 0: 0100:1 x 0A\n", "header\n 0: zz00007F:2710 0 0A 0 0 0 0 0 1\n"] {
            assert_eq!(listening(text), [], "{text:?}");
        }
    }

    #[test]
    fn a_socket_on_all_addresses_is_on_each() {
        for (there, wanted, expected) in [
            ("127.0.80.1", "127.0.80.1", true),
            ("127.0.0.1", "127.0.80.1", false),
            ("0.0.0.0", "127.0.80.1", true),
            ("0.0.0.0", "fd00::1", false),
            ("::", "127.0.80.1", true),
            ("::", "fd00::1", true),
            ("::ffff:127.0.80.1", "127.0.80.1", true),
            ("127.0.0.1", "0.0.0.0", true),
        ] {
            let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(meets(ip(there), ip(wanted)), expected, "{there} {wanted}");
        }
    }

    #[test]
    fn what_the_daemon_has_is_not_foreign() {
        let sockets =
            [at("127.0.80.1:10000", 7, 1), at("127.0.80.1:10001", 8, 2), at("127.0.80.1:10002", 7, 3)];
        let are_ours = |daemon| {
            let owners = Owners { processes: HashMap::from([(1, u32::MAX)]), daemon };
            sockets.each_ref().map(|socket| owners.is_the_daemon(socket))
        };
        assert_eq!(are_ours(None), [false, false, false]);
        assert_eq!(are_ours(Some((u32::MAX, Some(7)))), [true, false, true]);
        assert_eq!(are_ours(Some((1, Some(7)))), [false, false, true]);
    }

    #[test]
    fn not_all_of_many_are_named() {
        let owners = Owners { processes: HashMap::new(), daemon: None };
        let socket = at("127.0.80.1:10000", 7, 1);
        assert_eq!(owners.names(&[&socket]), "a process of user 7 on 127.0.80.1:10000");
        assert!(owners.names(&[&socket; 8]).ends_with(", and 3 more"));
    }

    #[test]
    fn excluded_ports_are_in_nobodys_way() {
        let text = "addresses = [\"127.0.80.1\"]\nrange.exclude = [10001]\n";
        let config = Config::parse(text, |_| None).expect("is sound");
        for (endpoint, in_the_way) in [
            ("0.0.0.0:10000", true),
            ("0.0.0.0:10001", false),
            ("0.0.0.0:22", false),
            ("127.0.0.1:10000", false),
        ] {
            let socket = at(endpoint, 0, 1);
            assert_eq!(on_broker_port(&socket, &config), in_the_way, "{endpoint}");
        }
        assert!(on_ours(&at("[::]:8700", 0, 1), &config) && !on_ours(&at("0.0.0.0:8701", 0, 1), &config));
    }
}
