//! Commands as nft takes them: objects of the crate `nftables`, as JSON values. Values, because the crate cannot
//! write all that nft can read; each place that is put in by hand says what is missing there.

use nftables::schema::{NfCmd, NfListObject, NfObject, Rule};
use nftables::stmt::{Set, Statement};
use serde::Serialize;
use serde_json::Value;

/// `{"add": object}`.
pub fn add(object: NfListObject<'_>) -> Value {
    value(NfObject::CmdObject(NfCmd::Add(object)))
}

/// `{"delete": object}`.
pub fn delete(object: NfListObject<'_>) -> Value {
    value(NfObject::CmdObject(NfCmd::Delete(object)))
}

/// `{"insert": {"rule": rule}}`: before all others of its chain.
pub fn insert(rule: Rule<'_>) -> Value {
    value(NfObject::CmdObject(NfCmd::Insert(NfListObject::Rule(rule))))
}

/// `{"delete": {"rule": rule}}`, where `handle` says which one.
pub fn delete_rule(rule: Rule<'_>, handle: &Value) -> Value {
    let mut command = delete(NfListObject::Rule(rule));
    // The crate's handles have 32 bits, the kernel's 64.
    command["delete"]["rule"]["handle"] = handle.clone();
    command
}

/// `{"add": {"rule": rule}}`, with `statements` as what it does.
pub fn add_rule(rule: Rule<'_>, statements: Vec<Value>) -> Value {
    let mut command = add(NfListObject::Rule(rule));
    // A rule of the crate has statements of the crate, and one of `put` is none.
    command["add"]["rule"]["expr"] = Value::Array(statements);
    command
}

/// A statement of a rule.
pub fn statement(statement: Statement<'_>) -> Value {
    value(statement)
}

/// The statement `set`, with what becomes of the element it puts in or finds: it is counted, or has a limit.
pub fn put(set: Set<'_>, then: Statement<'_>) -> Value {
    let mut put = value(Statement::Set(set));
    // The crate knows no statements of an element, and nft leaves out the counter of its `Elem`.
    put["set"]["stmt"] = Value::Array(vec![value(then)]);
    put
}

fn value(object: impl Serialize) -> Value {
    serde_json::to_value(object).expect("names of fields and variants are the only keys")
}

#[cfg(test)]
mod tests {
    use nftables::schema::Table;
    use nftables::stmt::{Counter, SetOp};
    use nftables::types::NfFamily;
    use serde_json::json;

    use super::*;
    use crate::kernel::nft::expression::text;

    #[test]
    fn commands_are_written_as_nft_reads_them() {
        let table = || NfListObject::Table(Table { family: NfFamily::INet, name: "t".into(), handle: None });
        let named = json!({ "table": { "family": "inet", "name": "t" } });
        assert_eq!(add(table()), json!({ "add": named }));
        assert_eq!(delete(table()), json!({ "delete": named }));
    }

    #[test]
    fn what_the_crate_lacks_is_put_in() {
        let rule = || Rule { family: NfFamily::IP, table: "t".into(), chain: "c".into(), ..Rule::default() };
        let expected = |expr: Value| json!({ "family": "ip", "table": "t", "chain": "c", "expr": expr });
        let accept = statement(Statement::Accept(None));
        assert_eq!(
            add_rule(rule(), vec![accept]),
            json!({ "add": { "rule": expected(json!([{ "accept": null }])) } })
        );
        let handle = json!(u64::MAX);
        let mut deleted = expected(json!([]));
        deleted["handle"] = handle.clone();
        assert_eq!(delete_rule(rule(), &handle), json!({ "delete": { "rule": deleted } }));
        let set = Set { op: SetOp::Add, elem: text("192.0.2.1"), set: "@s".into() };
        let counted = json!({ "op": "add", "elem": "192.0.2.1", "set": "@s", "stmt": [{ "counter": null }] });
        assert_eq!(put(set, Statement::Counter(Counter::Anonymous(None))), json!({ "set": counted }));
    }
}
