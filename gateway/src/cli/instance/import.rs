//! `portcullis instance import`: the whole file is checked before the daemon hears of it, and the daemon
//! takes all of it or nothing.

mod csv;
mod jsonl;
mod lines;

mod toml;

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use crate::control::api::wire::{IMPORT_BODY_MAX, IMPORT_MAX, ImportInstances, Imported, PutInstance};

use super::super::client::{Connection, Failure};
use super::super::say;

#[derive(Args)]
pub struct Options {
    /// The file; - is standard input.
    file: PathBuf,
    /// What it holds; by default what its name ends in. csv has a line of column names, toml a table
    /// [[instance]] for each row, jsonl an object in each line.
    #[arg(long)]
    format: Option<Format>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Toml,
    Csv,
    Jsonl,
}

/// A row, and the line where it begins.
#[derive(Debug)]
struct Row {
    line: usize,
    instance: PutInstance,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    what: String,
}

impl Wrong {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// What a format makes of a file: rows, and what is no row.
type Parsed = Vec<Result<Row, Wrong>>;

/// Largest file that is read. The body of the call is about as large as the file.
const FILE_MAX: usize = 2 * IMPORT_BODY_MAX;
/// More errors than this help nobody.
const ERRORS_MAX: usize = 100;

pub fn run(options: &Options, connection: &Connection) -> Result<(), Failure> {
    let name = if is_stdin(&options.file) { "stdin".to_owned() } else { options.file.display().to_string() };
    let format = options
        .format
        .or_else(|| by_ending(&options.file))
        .ok_or_else(|| Failure::Usage(format!("{name}: say what it holds: --format toml, csv or jsonl")))?;
    let bytes = read(&options.file).with_context(|| format!("read {name}"))?;
    if bytes.len() > FILE_MAX {
        return Err(anyhow!("{name}: larger than {} MiB, split it", FILE_MAX >> 20).into());
    }
    let instances = check(&bytes, format).map_err(|wrong| refuse(&name, &wrong))?;
    if instances.is_empty() {
        return Err(anyhow!("{name}: holds no instance").into());
    }
    let body = ImportInstances { instances };
    let length = serde_json::to_vec(&body).map_err(anyhow::Error::from)?.len();
    if body.instances.len() > IMPORT_MAX || length > IMPORT_BODY_MAX {
        let most = format!("{IMPORT_MAX} rows or {} MiB", IMPORT_BODY_MAX >> 20);
        return Err(anyhow!("{name}: more than {most} in one import, split it").into());
    }
    let imported: Imported = connection.client()?.post("/v1/instances", &body)?;
    if options.json {
        say(serde_json::to_string_pretty(&imported).map_err(anyhow::Error::from)?);
    } else {
        say(format_args!("{} created, {} updated", imported.created, imported.updated));
    }
    Ok(())
}

/// Tells what is wrong, line by line.
fn refuse(name: &str, wrong: &[Wrong]) -> Failure {
    for Wrong { line, what } in wrong.iter().take(ERRORS_MAX) {
        eprintln!("{name}:{line}: {what}");
    }
    let told =
        if wrong.len() > ERRORS_MAX { format!(", the first {ERRORS_MAX} are above") } else { String::new() };
    anyhow!("nothing was imported: {name} has errors, {} in all{told}", wrong.len()).into()
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn by_ending(file: &Path) -> Option<Format> {
    Format::from_str(file.extension()?.to_str()?, true).ok()
}

/// The bytes of the file, one more than are taken if there are more.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = FILE_MAX as u64 + 1;
    if is_stdin(file) {
        std::io::stdin().take(limit).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The instances of a file, or all that is wrong with it, in the order of its lines.
fn check(bytes: &[u8], format: Format) -> Result<Vec<PutInstance>, Vec<Wrong>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        vec![Wrong::new(line, "not UTF-8")]
    })?;
    // Some editors put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = match format {
        Format::Toml => toml::rows(text),
        Format::Csv => csv::rows(text),
        Format::Jsonl => jsonl::rows(text),
    };
    let mut lines = HashMap::new();
    let (mut instances, mut wrong) = (Vec::new(), Vec::new());
    for row in parsed {
        match row.and_then(|row| sound(row, &mut lines)) {
            Ok(instance) => instances.push(instance),
            Err(error) => wrong.push(error),
        }
    }
    wrong.sort_by_key(|wrong| wrong.line);
    if wrong.is_empty() { Ok(instances) } else { Err(wrong) }
}

/// The row, if the daemon would take it; `lines` are those of the ids before it.
fn sound(row: Row, lines: &mut HashMap<String, usize>) -> Result<PutInstance, Wrong> {
    let Row { line, instance } = row;
    let id = instance.instance_id.clone();
    let id = id.ok_or_else(|| Wrong::new(line, "missing field `instance_id`"))?;
    if let Some(first) = lines.get(&id) {
        return Err(Wrong::new(line, format!("instance_id {id:?} is that of line {first} too")));
    }
    lines.insert(id.clone(), line);
    let checked = instance.clone().into_row(id);
    checked.map_err(|problem| Wrong::new(line, problem.detail()))?;
    Ok(instance)
}

#[cfg(test)]
mod tests;
