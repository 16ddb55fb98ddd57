//! A table `[[instance]]` for each row.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use crate::control::api::wire::PutInstance;

use super::lines::Lines;
use super::{Parsed, Row, Wrong};

const KEY: &str = "instance";

pub fn rows(text: &str) -> Parsed {
    let lines = Lines::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser made of the rest may not be what was meant.
        return errors.iter().map(|error| Err(wrong(error, &lines, 0))).collect();
    }
    let mut parsed = Vec::new();
    for (key, value) in document.into_inner() {
        let line = lines.at(key.span().start);
        match value.into_inner() {
            DeValue::Array(tables) if key.get_ref() == KEY => {
                parsed.extend(tables.into_iter().map(|table| row(table, &lines)));
            }
            _ => parsed.push(Err(Wrong::new(line, format!("{:?} is no [[{KEY}]]", key.get_ref())))),
        }
    }
    parsed
}

fn row(table: Spanned<DeValue<'_>>, lines: &Lines) -> Result<Row, Wrong> {
    let start = table.span().start;
    let instance = PutInstance::deserialize(ValueDeserializer::from(table));
    let instance = instance.map_err(|error| wrong(&error, lines, start))?;
    Ok(Row { line: lines.at(start), instance })
}

/// An error that names no place is one of the table that begins at `start`.
fn wrong(error: &Error, lines: &Lines, start: usize) -> Wrong {
    Wrong::new(lines.at(error.span().map_or(start, |span| span.start)), error.message())
}
