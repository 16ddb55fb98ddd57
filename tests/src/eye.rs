//! What is open, as the API, the store, the kernel and the sockets each tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapInfo};
use portcullis_ebpf::layout::{BROKERS, BrokerKey, BrokerKeyWords, OPEN, Slot, SlotWords};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

use crate::gateway::{Api, Gateway};

/// Broker ports of all tests that do not say otherwise.
const RANGE: std::ops::RangeInclusive<u16> = 10_000..=15_000;

/// Looks at one run of a gateway. It holds a connection to the store, and one to the API.
pub struct Eye {
    api: Api,
    runtime: tokio::runtime::Runtime,
    store: SqliteConnection,
    kernel: Option<HashMap<MapData, BrokerKeyWords, SlotWords>>,
}

/// What is open at one moment. The four are read one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Open brokers as the API lists them.
    pub listed: BTreeMap<String, SocketAddr>,
    /// Open brokers in the store.
    pub stored: BTreeMap<String, SocketAddr>,
    /// Ports that the kernel lets in; `None` without a filter.
    pub kernel: Option<BTreeSet<SocketAddr>>,
    /// Listening sockets in the range.
    pub listening: BTreeSet<SocketAddr>,
    /// Sessions with a connection as the API lists them, and their brokers.
    pub live: BTreeMap<String, String>,
    /// Sessions without an end in the store.
    pub stored_live: BTreeSet<String>,
}

impl Eye {
    /// Looks at `gateway`, whose files are in `folder`.
    ///
    /// # Panics
    /// Its store or its map cannot be opened.
    pub fn new(gateway: &Gateway, folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options = SqliteConnectOptions::new().filename(folder.join("state/store.db")).read_only(true);
        let store = runtime.block_on(SqliteConnection::connect_with(&options)).expect("the store opens");
        let kernel = (gateway.ready("backend") == "ebpf").then(|| brokers_map(gateway.id()));
        Self { api: gateway.api().clone().kept(), runtime, store, kernel }
    }

    /// What is open now.
    ///
    /// # Panics
    /// Somebody does not answer.
    pub fn look(&mut self) -> Sight {
        Sight {
            listed: self.list("/v1/brokers?limit=1000", broker_of),
            stored: self.stored_brokers(),
            kernel: self.kernel.as_ref().map(open_ports),
            listening: listening(),
            live: self.list("/v1/sessions?state=live&limit=1000", session_of),
            stored_live: self
                .column("SELECT session_id FROM session WHERE ended_at IS NULL")
                .into_iter()
                .collect(),
        }
    }

    /// The session that used the ticket with this hash; `None` if it is not used.
    ///
    /// # Panics
    /// The store has no such ticket.
    pub fn session_of_ticket(&mut self, hash: &[u8; 32]) -> Option<String> {
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let query = sqlx::query("SELECT session_id FROM ticket WHERE hash = $1").bind(hash);
        let row = self.runtime.block_on(query.fetch_one(&mut self.store)).expect("a ticket");
        row.get(0)
    }

    /// Whether the broker is open in the store.
    ///
    /// # Panics
    /// The store does not answer.
    pub fn stores(&mut self, broker_id: &str) -> bool {
        self.stored_brokers().contains_key(broker_id)
    }

    fn column(&mut self, query: &'static str) -> Vec<String> {
        let rows = self.runtime.block_on(sqlx::query(query).fetch_all(&mut self.store)).expect("rows");
        rows.iter().map(|row| row.get(0)).collect()
    }

    fn stored_brokers(&mut self) -> BTreeMap<String, SocketAddr> {
        let query = "SELECT broker_id, broker_ip, broker_port FROM broker WHERE closed_at IS NULL";
        let rows = self.runtime.block_on(sqlx::query(query).fetch_all(&mut self.store)).expect("rows");
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let ip: String = row.get(1);
            (row.get(0), SocketAddr::new(ip.parse().expect("an address"), row.get(2)))
        };
        rows.iter().map(read).collect()
    }

    fn list<T>(&self, path: &str, read: fn(&Value) -> (String, T)) -> BTreeMap<String, T> {
        let mut all = BTreeMap::new();
        let mut after = String::new();
        loop {
            let (status, page) = self.api.get(&format!("{path}{after}"));
            assert_eq!(status, 200, "{page}");
            all.extend(page["items"].as_array().expect("a list").iter().map(read));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return all,
            }
        }
    }
}

impl Sight {
    /// Where the four disagree: nothing is open in one place and not in another.
    pub fn differences(&self, backend: &str) -> Vec<String> {
        let endpoints: BTreeSet<SocketAddr> = self.listed.values().copied().collect();
        let sockets = if backend == "none" { endpoints.clone() } else { BTreeSet::new() };
        let live: BTreeSet<String> = self.live.keys().cloned().collect();
        let mut found = Vec::new();
        let mut same = |what: &str, same: bool| {
            if !same {
                found.push(format!("{what}: {self:?}"));
            }
        };
        same("API and store differ about brokers", self.listed == self.stored);
        same("the kernel differs", self.kernel.as_ref().is_none_or(|kernel| *kernel == endpoints));
        same("the listening sockets differ", self.listening == sockets);
        same("API and store differ about sessions", live == self.stored_live);
        found
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}

fn broker_of(item: &Value) -> (String, SocketAddr) {
    let port = item["broker_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    let ip = text(item, "broker_ip").parse().expect("an address");
    (text(item, "broker_id"), SocketAddr::new(ip, port))
}

fn session_of(item: &Value) -> (String, String) {
    (text(item, "session_id"), text(item, "broker_id"))
}

/// The map of open brokers among those that a process has open (proc_pid_fdinfo(5)).
///
/// # Panics
/// It has none.
pub fn brokers_map(id: u32) -> HashMap<MapData, BrokerKeyWords, SlotWords> {
    let map_id = |entry: std::io::Result<std::fs::DirEntry>| {
        let info = std::fs::read_to_string(entry.ok()?.path()).ok()?;
        info.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse::<u32>().ok()
    };
    let infos = std::fs::read_dir(format!("/proc/{id}/fdinfo")).expect("the process is there");
    let is_ours = |id: &u32| MapInfo::from_id(*id).is_ok_and(|info| info.name_as_str() == Some(BROKERS));
    let id = infos.filter_map(map_id).find(is_ours).expect("the map of brokers");
    let data = MapData::from_id(id).expect("the map opens");
    HashMap::try_from(Map::HashMap(data)).expect("a hash map")
}

fn open_ports(map: &HashMap<MapData, BrokerKeyWords, SlotWords>) -> BTreeSet<SocketAddr> {
    // An entry that goes while the map is walked ends the walk; whoever compares looks again.
    let entries = map.iter().map_while(Result::ok);
    let open = entries.filter(|(_, slot)| Slot::from_words(*slot).state == OPEN);
    open.filter_map(|(key, _)| BrokerKey::from_words(key).endpoint()).collect()
}

/// Listening IPv4 sockets of this namespace with a port of the range. The file has those that listen first.
fn listening() -> BTreeSet<SocketAddr> {
    const LISTEN: &str = "0A";
    let file = std::fs::File::open("/proc/thread-self/net/tcp").expect("a list of sockets");
    let lines = BufReader::new(file).lines().skip(1).map_while(Result::ok);
    let mut found = BTreeSet::new();
    for line in lines {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next().expect("an address"), words.nth(1).expect("a state"));
        if state != LISTEN {
            break;
        }
        let (ip, port) = local.split_once(':').expect("address and port");
        let ip = u32::from_str_radix(ip, 16).expect("hexadecimal").swap_bytes();
        let port = u16::from_str_radix(port, 16).expect("hexadecimal");
        if RANGE.contains(&port) {
            found.insert(SocketAddrV4::new(Ipv4Addr::from_bits(ip), port).into());
        }
    }
    found
}
