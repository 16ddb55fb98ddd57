//! The rules of the table. What they judge is what `portcullis_ebpf::verdict` judges.

use std::net::IpAddr;

use nftables::expr::Expression;
use nftables::stmt::{Counter, JumpTarget, Set, SetOp, Statement};
use portcullis_ebpf::layout::Limit;
use portcullis_ebpf::verdict::Verdict;
use serde_json::Value;

use super::draft::Draft;
use super::limit::over;
use super::ruleset::{ANYONE, CLIENTS, Family, LET_IN, NAMED, RATE_LIMITED, RATES, SOURCES, WRONG_SOURCE};
use crate::kernel::nft::command::{put, statement};
use crate::kernel::nft::expression::{and, concat, field, is, is_not, one_of, or, port, ports, text};
use crate::kernel::object::Plan;

/// New connections to `addresses` and the range, and the odd flags of scanners.
pub fn judged(family: &Family, addresses: &[IpAddr], plan: &Plan) -> Vec<Value> {
    let to = one_of(addresses.iter().map(|ip| text(ip.to_string())));
    let mut statements = vec![
        statement(is(and(flags(), or(vec![text("ack"), text("rst")])), Expression::Number(0))),
        statement(is(field(family.protocol, "daddr"), to)),
        statement(is(field("tcp", "dport"), ports(&plan.range))),
    ];
    if !plan.exclude.is_empty() {
        let excluded = one_of(plan.exclude.iter().copied().map(port));
        statements.push(statement(is_not(field("tcp", "dport"), excluded)));
    }
    statements.push(goto("judge", family));
    statements
}

/// What becomes of what is judged. What does not begin a connection is neither limited nor counted for its
/// broker. The limits come last: only who may come in can use up what others have.
pub fn chains(draft: &mut Draft, family: &Family, plan: &Plan) {
    let name = |chain: &str| format!("{chain}_{}", family.name);
    let over_limit = vec![vec![count(RATE_LIMITED, family)], end(Verdict::RateLimited)];
    draft.chain(&name("over"), over_limit);
    let begins = statement(is(and(flags(), text("syn")), text("syn")));
    let stranger = vec![vec![begins, count(WRONG_SOURCE, family)], end(Verdict::WrongSource)];
    draft.chain(&name("stranger"), stranger);
    draft.chain(&name("admit"), admit(family, plan));
    draft.chain(&name("judge"), judge(family));
}

fn admit(family: &Family, plan: &Plan) -> Vec<Vec<Value>> {
    let goes_on = statement(is(and(flags(), text("syn")), Expression::Number(0)));
    let mut rules = vec![[vec![goes_on], end(Verdict::Open)].concat()];
    let limits =
        [(SOURCES, source(family), plan.limits.source), (RATES, concat(broker(family)), plan.limits.broker)];
    for (set, key, limit) in limits.into_iter().filter(|(_, _, limit)| limit.is_on()) {
        rules.push(vec![limited(set, key, limit, family), goto("over", family)]);
    }
    rules.extend([vec![count(LET_IN, family)], end(Verdict::Open)]);
    rules
}

fn judge(family: &Family) -> Vec<Vec<Value>> {
    let mut client = broker(family);
    client.push(field(family.protocol, "saddr"));
    let found = |key, set: &str, chain| vec![statement(is(key, at(set, family))), goto(chain, family)];
    vec![
        found(concat(broker(family)), ANYONE, "admit"),
        found(concat(client), CLIENTS, "admit"),
        found(concat(broker(family)), NAMED, "stranger"),
        end(Verdict::Closed),
    ]
}

fn flags() -> Expression<'static> {
    field("tcp", "flags")
}

/// Where a packet goes to.
fn broker(family: &Family) -> Vec<Expression<'static>> {
    vec![field(family.protocol, "daddr"), field("tcp", "dport")]
}

/// Who pays for a new connection; see `portcullis_ebpf::rate::source`.
fn source(family: &Family) -> Expression<'static> {
    let address = field(family.protocol, "saddr");
    match family.source_mask {
        Some(mask) => and(address, text(mask)),
        None => address,
    }
}

fn at(set: &str, family: &Family) -> Expression<'static> {
    text(format!("@{set}_{}", family.name))
}

fn goto(chain: &str, family: &Family) -> Value {
    statement(Statement::Goto(JumpTarget { target: format!("{chain}_{}", family.name).into() }))
}

/// Counts `verdict`, and lets in or drops.
fn end(verdict: Verdict) -> Vec<Value> {
    let fate = if verdict == Verdict::Open { Statement::Accept(None) } else { Statement::Drop(None) };
    vec![counted(verdict), statement(fate)]
}

/// Counts `verdict`.
pub fn counted(verdict: Verdict) -> Value {
    statement(Statement::Counter(Counter::Named(verdict.name().into())))
}

/// Counts for the broker.
fn count(set: &str, family: &Family) -> Value {
    let set = format!("@{set}_{}", family.name).into();
    let set = Set { op: SetOp::Add, elem: concat(broker(family)), set };
    put(set, Statement::Counter(Counter::Anonymous(None)))
}

/// Holds where `key` is over its `limit`.
fn limited(set: &str, key: Expression<'static>, limit: Limit, family: &Family) -> Value {
    let set = format!("@{set}_{}", family.name).into();
    put(Set { op: SetOp::Update, elem: key, set }, over(limit))
}
