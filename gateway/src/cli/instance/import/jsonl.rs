//! One JSON object in each line; empty lines are none.

use super::{Parsed, Row, Wrong};

pub fn rows(text: &str) -> Parsed {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, text)| row(index + 1, text)).collect()
}

fn row(line: usize, text: &str) -> Result<Row, Wrong> {
    let instance = serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // The parser sees one line: the number of that line is not the one in the file.
        let what = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
        Wrong::new(line, format!("{what} (column {})", error.column()))
    })?;
    Ok(Row { line, instance })
}
