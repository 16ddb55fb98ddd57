//! The commands that make a table, in the order in which they are written.

use nftables::schema::{Chain, Counter, NfListObject, Rule, Set, Table};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::Value;

use crate::kernel::nft::command::{add, add_rule, delete};

/// A table that is being written.
pub struct Draft {
    table: String,
    commands: Vec<Value>,
}

/// The table `name`, as far as a command has to name it.
pub fn named(name: &str) -> NfListObject<'_> {
    NfListObject::Table(Table { family: NfFamily::INet, name: name.into(), handle: None })
}

impl Draft {
    /// An empty table `name` in the place of any that has this name.
    pub fn new(name: &str) -> Self {
        // Only what is there can be deleted.
        let commands = vec![add(named(name)), delete(named(name)), add(named(name))];
        Self { table: name.to_owned(), commands }
    }

    pub fn counter(&mut self, name: &str) {
        let table = self.table.as_str().into();
        let counter = Counter { family: NfFamily::INet, table, name: name.into(), ..Counter::default() };
        self.commands.push(add(NfListObject::Counter(counter)));
    }

    /// `set`, whichever table it names.
    pub fn set(&mut self, set: Set<'_>) {
        let table = self.table.clone().into();
        let set = Set { family: NfFamily::INet, table, ..set };
        self.commands.push(add(NfListObject::Set(Box::new(set))));
    }

    /// A chain that rules go to.
    pub fn chain(&mut self, name: &str, rules: Vec<Vec<Value>>) {
        self.add_chain(Chain { name: name.into(), ..Chain::default() });
        for statements in rules {
            self.rule(name, statements);
        }
    }

    /// A chain for all that comes in, which lets in what no rule drops.
    pub fn input(&mut self, name: &str, priority: i32) {
        self.add_chain(Chain {
            name: name.into(),
            _type: Some(NfChainType::Filter),
            hook: Some(NfHook::Input),
            prio: Some(priority),
            policy: Some(NfChainPolicy::Accept),
            ..Chain::default()
        });
    }

    fn add_chain(&mut self, chain: Chain<'_>) {
        let table = self.table.clone().into();
        self.commands.push(add(NfListObject::Chain(Chain { family: NfFamily::INet, table, ..chain })));
    }

    /// A rule at the end of `chain`.
    pub fn rule(&mut self, chain: &str, statements: Vec<Value>) {
        let table = self.table.as_str().into();
        let rule = Rule { family: NfFamily::INet, table, chain: chain.into(), ..Rule::default() };
        self.commands.push(add_rule(rule, statements));
    }

    /// What was written.
    pub fn commands(self) -> Vec<Value> {
        self.commands
    }
}
