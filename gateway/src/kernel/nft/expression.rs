//! Expressions of rules and elements, and the conditions made of them.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use nftables::expr::{
    BinaryOperation, Expression, NamedExpression, Payload, PayloadField, Prefix, Range, SetItem,
};
use nftables::stmt::{Match, Operator, Statement};

/// An address, a word, or `@` and the name of a set.
pub fn text(text: impl Into<Cow<'static, str>>) -> Expression<'static> {
    Expression::String(text.into())
}

/// A port.
pub fn port(port: u16) -> Expression<'static> {
    Expression::Number(port.into())
}

/// `first-last`.
pub fn ports(range: &RangeInclusive<u16>) -> Expression<'static> {
    Expression::Range(Box::new(Range { range: [port(*range.start()), port(*range.end())] }))
}

/// `addr/len`.
pub fn network(network: ipnet::IpNet) -> Expression<'static> {
    let addr = Box::new(text(network.addr().to_string()));
    Expression::Named(NamedExpression::Prefix(Prefix { addr, len: network.prefix_len().into() }))
}

/// A field of a packet: `ip daddr`.
pub fn field(protocol: &'static str, field: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

/// `a . b`.
pub fn concat(parts: Vec<Expression<'static>>) -> Expression<'static> {
    Expression::Named(NamedExpression::Concat(parts))
}

/// `ip . port`.
pub fn endpoint(endpoint: SocketAddr) -> Vec<Expression<'static>> {
    vec![text(endpoint.ip().to_string()), port(endpoint.port())]
}

/// `{ a, b }`.
pub fn one_of(items: impl IntoIterator<Item = Expression<'static>>) -> Expression<'static> {
    Expression::Named(NamedExpression::Set(items.into_iter().map(SetItem::Element).collect()))
}

/// `left & right`.
pub fn and(left: Expression<'static>, right: Expression<'static>) -> Expression<'static> {
    Expression::BinaryOperation(Box::new(BinaryOperation::AND(left, right)))
}

/// `a | b`.
pub fn or(parts: Vec<Expression<'static>>) -> Expression<'static> {
    Expression::BinaryOperation(Box::new(BinaryOperation::OR(parts)))
}

/// `left == right`; for a set, `left` is one of it.
pub fn is(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::EQ })
}

/// `left != right`; for a set, `left` is none of it.
pub fn is_not(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::NEQ })
}
