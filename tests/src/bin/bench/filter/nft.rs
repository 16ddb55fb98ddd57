//! A plain nftables set: one element for each open port, changed by the command `nft`.

use std::ops::Range;

use portcullis_tests::process::{feed, run};

use super::gate::Gate;
use super::{FIRST, LAST};

struct Set;

/// Closes the range.
pub fn start() -> Box<dyn Gate> {
    load(&format!(
        "table inet bench {{
            set open {{ type inet_service; }}
            chain in {{
                type filter hook input priority filter;
                tcp dport @open accept
                tcp dport {FIRST}-{LAST} drop
            }}
        }}"
    ));
    Box::new(Set)
}

fn load(text: &str) {
    feed("nft", &["-f", "-"], text);
}

impl Gate for Set {
    fn fill(&mut self, ports: Range<u16>) {
        let ports: Vec<_> = ports.map(|port| port.to_string()).collect();
        if !ports.is_empty() {
            load(&format!("add element inet bench open {{ {} }}\n", ports.join(", ")));
        }
    }

    fn open(&mut self, port: u16) {
        run("nft", &["add", "element", "inet", "bench", "open", &format!("{{ {port} }}")]);
    }

    fn close(&mut self, port: u16) {
        run("nft", &["delete", "element", "inet", "bench", "open", &format!("{{ {port} }}")]);
    }
}
