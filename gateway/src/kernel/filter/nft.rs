//! The filter as a table of nftables: an element of a set is an open broker, and its time-out the deadline.

mod counts;
mod draft;
mod elements;
mod limit;
mod rules;
mod ruleset;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::{Backend, BrokerCounts, BrokerId, Change, Counters, Entry, FilterError};
use crate::kernel::nft;
use crate::kernel::nft::command::delete;
use crate::kernel::object::Plan;

use draft::named;
use elements::{Elements, is_open};

/// A table of our own, which goes when the value is dropped. While its daemon is dead it stays, and what
/// is in its sets times out.
pub struct NftFilter {
    name: String,
    /// The commands that make the table, without brokers.
    ruleset: Vec<Value>,
    addresses: Vec<IpAddr>,
    /// Sets of what is kept of each broker while it is open.
    kept: Vec<&'static str>,
    /// What the sets hold, or held until it timed out.
    open: HashMap<SocketAddr, Entry>,
    /// Whose counts there are.
    generations: HashMap<SocketAddr, u32>,
}

/// What the names of all such tables begin with.
const PREFIX: &str = "portcullis_";

/// The name of the table that judges `range` of `addresses`: the same after a crash, so that what a dead daemon
/// left is replaced, and another one for other addresses or ports of this machine.
pub fn table_name(addresses: &[IpAddr], range: &RangeInclusive<u16>) -> String {
    let mut addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    addresses.sort();
    let judged = format!("{} {}-{}", addresses.join(" "), range.start(), range.end());
    let digits: String = Sha256::digest(judged).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{digits}")
}

/// Looks for tables that daemons left which were killed: a filter that nobody opens is a wall. `name` is
/// removed, if it is there, unless it is `in_use`; others may belong to somebody who lives, and are told of.
pub fn clear(name: &str, in_use: bool) {
    // Without nft, or without the privilege to ask it, there is nobody who could have made one.
    let objects = nft::list(&["tables", "inet"]).unwrap_or_default();
    let tables = objects.iter().filter_map(|object| object["table"]["name"].as_str());
    for table in tables.filter(|table| table.starts_with(PREFIX)) {
        if table != name {
            warn!(table, "another daemon filters here with nftables, or one that was killed left its table");
        } else if !in_use {
            warn!(table, "removing the table that a daemon left which was killed");
            remove(table);
        }
    }
}

/// It is there no more, or that is told.
fn remove(table: &str) {
    if let Err(error) = nft::run(&format!("delete table inet {table}"), &[delete(named(table))]) {
        warn!(%error, "the table of the filter stays");
    }
}

impl NftFilter {
    /// Makes the table in the place of any that judges the same. All brokers are closed from then on.
    ///
    /// # Errors
    /// There is no nft, or it or the kernel refused.
    pub fn new(plan: &Plan) -> Result<Self, FilterError> {
        let name = table_name(&plan.addresses, &plan.range);
        let mut filter = Self {
            ruleset: ruleset::table(&name, plan),
            name,
            addresses: plan.addresses.clone(),
            kept: ruleset::kept(plan),
            open: HashMap::new(),
            generations: HashMap::new(),
        };
        match filter.install(&[]) {
            Ok(()) => Ok(filter),
            Err(error) => {
                // There is nothing that dropping it would have to remove.
                filter.name.clear();
                Err(error)
            }
        }
    }

    /// Whether [`Self::new`] would succeed: the kernel looks at the table and takes it back.
    ///
    /// # Errors
    /// See there.
    pub fn rehearse(plan: &Plan) -> Result<(), FilterError> {
        // Not the name of a daemon that may run.
        let name = "portcullis_try";
        nft::check(&format!("try table inet {name}"), &ruleset::table(name, plan))
    }

    /// The whole table anew, with `open` in it, in one transaction: there is no moment without it.
    fn install(&mut self, open: &[Entry]) -> Result<(), FilterError> {
        let open: Vec<_> = open.iter().filter(|entry| is_open(entry)).collect();
        let mut elements = Elements::default();
        for entry in &open {
            elements.open(entry);
        }
        let commands = [self.ruleset.clone(), elements.commands(&self.name)].concat();
        nft::run(&format!("replace table inet {}", self.name), &commands)?;
        self.open = open.iter().map(|entry| (entry.endpoint, **entry)).collect();
        self.generations = open.iter().map(|entry| (entry.endpoint, entry.generation)).collect();
        Ok(())
    }

    /// One transaction for what is new in `changes`.
    fn change(&mut self, changes: &HashMap<SocketAddr, Option<Entry>>) -> Result<(), FilterError> {
        let mut elements = Elements::default();
        for (endpoint, entry) in changes {
            if let Some(old) = self.open.get(endpoint) {
                elements.close(old);
            }
            let Some(entry) = entry else { continue };
            elements.open(entry);
            if self.generations.get(endpoint).is_some_and(|generation| *generation != entry.generation) {
                elements.forget(*endpoint, &self.kept);
            }
        }
        nft::run(&format!("change table inet {}", self.name), &elements.commands(&self.name))?;
        for (endpoint, entry) in changes {
            self.remember(*endpoint, entry.as_ref());
        }
        Ok(())
    }

    fn remember(&mut self, endpoint: SocketAddr, entry: Option<&Entry>) {
        match entry {
            Some(entry) => {
                self.open.insert(endpoint, *entry);
                self.generations.insert(endpoint, entry.generation);
            }
            None => drop(self.open.remove(&endpoint)),
        }
    }

    fn is_there(&self) -> bool {
        nft::list(&["counters", "table", "inet", &self.name]).is_ok()
    }
}

impl Drop for NftFilter {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            remove(&self.name);
        }
    }
}

impl Backend for NftFilter {
    fn name(&self) -> &'static str {
        "nft"
    }

    fn replace(&mut self, open: &[Entry]) -> Result<(), FilterError> {
        self.install(open)
    }

    /// All of `changes` or none of them. Where the table is gone it is made anew, with all that was open:
    /// whoever loads the rules of a host's firewall often flushes all others with them.
    fn apply(&mut self, changes: &[Change]) -> Result<(), FilterError> {
        let last = last_of_each(changes);
        if !last.is_empty() {
            let changed = self.change(&last);
            if changed.is_ok() || self.is_there() {
                return changed;
            }
        } else if self.is_there() {
            return Ok(());
        }
        warn!(table = self.name, "the table of the filter is gone; it is made anew");
        let open: Vec<Entry> = self.open.values().copied().collect();
        self.install(&open)?;
        if last.is_empty() { Ok(()) } else { self.change(&last) }
    }

    fn counters(&self) -> Result<Counters, FilterError> {
        counts::verdicts(&nft::list(&["counters", "table", "inet", &self.name])?)
    }

    fn broker_counts(&self, brokers: &[BrokerId]) -> Result<Vec<Option<BrokerCounts>>, FilterError> {
        let counted = counts::brokers(&self.name, &self.addresses)?;
        let of = |broker: &BrokerId| {
            let known = self.generations.get(&broker.endpoint) == Some(&broker.generation);
            counted.get(&broker.endpoint).copied().filter(|_| known).unwrap_or_default()
        };
        let ours = |broker: &BrokerId| self.addresses.contains(&broker.endpoint.ip());
        Ok(brokers.iter().map(|broker| ours(broker).then(|| of(broker))).collect())
    }
}

/// What becomes of each endpoint in the end; `None` for closed.
fn last_of_each(changes: &[Change]) -> HashMap<SocketAddr, Option<Entry>> {
    let change = |change: &Change| match change {
        Change::Open(entry) => (entry.endpoint, Some(*entry).filter(is_open)),
        Change::Close(endpoint) => (*endpoint, None),
    };
    changes.iter().map(change).collect()
}
