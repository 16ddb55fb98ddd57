//! A line of column names, and a record for each row. An empty field is none.

use ::csv::{ErrorKind, ReaderBuilder, StringRecord};

use crate::control::api::wire::PutInstance;

use super::lines::Lines;
use super::{Parsed, Row, Wrong};

/// The columns, and whether each record has to have them.
const COLUMNS: [(&str, bool); 13] = [
    ("instance_id", true),
    ("hypervisor", false),
    ("host", false),
    ("graphics_port", false),
    ("graphics_protocol", false),
    ("graphics_passwd", false),
    ("tls", false),
    ("tls_pin", false),
    ("tls_server_name", false),
    ("tls_start", false),
    ("graphics_path", false),
    ("graphics_command", false),
    (ARGUMENTS, false),
];

/// The column that is a list: none of its parts has a space, which stands between them.
const ARGUMENTS: &str = "graphics_arguments";

pub fn rows(text: &str) -> Parsed {
    let place = Place { text, lines: Lines::of(text) };
    let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return vec![Err(place.wrong(&error))],
    };
    let line = place.line(header.position());
    let wrong = columns(&header);
    if !wrong.is_empty() {
        return wrong.into_iter().map(|what| Err(Wrong::new(line, what))).collect();
    }
    let records = reader.records().map(|record| record.map_err(|error| place.wrong(&error)));
    records.map(|record| row(&record?, &header, &place)).collect()
}

/// What is wrong with the column names.
fn columns(header: &StringRecord) -> Vec<String> {
    let names = COLUMNS.map(|(name, _)| name).join(", ");
    let unknown = header.iter().filter(|name| COLUMNS.iter().all(|(known, _)| known != name));
    let unknown = unknown.map(|name| format!("unknown column {name:?}, known are {names}"));
    let wrong_count = COLUMNS.iter().filter_map(|(name, needed)| {
        match header.iter().filter(|there| there == name).count() {
            0 if *needed => Some(format!("no column {name:?}")),
            0 | 1 => None,
            _ => Some(format!("more than one column {name:?}")),
        }
    });
    unknown.chain(wrong_count).collect()
}

fn row(record: &StringRecord, header: &StringRecord, place: &Place<'_>) -> Result<Row, Wrong> {
    let line = place.line(record.position());
    let given = header.iter().zip(record).filter(|(name, field)| !field.is_empty() && *name != ARGUMENTS);
    let (names, fields): (StringRecord, StringRecord) = {
        let (names, fields): (Vec<_>, Vec<_>) = given.unzip();
        (names.into(), fields.into())
    };
    let mut instance: PutInstance = fields.deserialize(Some(&names)).map_err(|error| match error.kind() {
        ErrorKind::Deserialize { err, .. } => {
            let column = err.field().and_then(|field| names.get(usize::try_from(field).ok()?));
            let column = column.map(|column| format!("{column}: ")).unwrap_or_default();
            Wrong::new(line, format!("{column}{}", err.kind()))
        }
        _ => Wrong::new(line, error.to_string()),
    })?;
    let arguments = header.iter().zip(record).find(|(name, _)| *name == ARGUMENTS);
    let arguments = arguments.map(|(_, field)| field).unwrap_or_default();
    instance.graphics_arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Ok(Row { line, instance })
}

struct Place<'a> {
    text: &'a str,
    lines: Lines,
}

impl Place<'_> {
    /// The line of what the reader was about to read. It counts from the end of what was before, so empty
    /// lines between are passed over here.
    fn line(&self, position: Option<&::csv::Position>) -> usize {
        let start = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or_default();
        let empty = rest.len() - rest.trim_start_matches(['\r', '\n']).len();
        self.lines.at(start + empty)
    }

    fn wrong(&self, error: &::csv::Error) -> Wrong {
        let line = self.line(error.position());
        match error.kind() {
            ErrorKind::UnequalLengths { expected_len, len, .. } => {
                Wrong::new(line, format!("{len} fields, but {expected_len} columns"))
            }
            _ => Wrong::new(line, error.to_string()),
        }
    }
}
