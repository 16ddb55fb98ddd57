//! The program `nft`: what it is told, and what it says, both in JSON (libnftables-json(5)). What it is told is
//! built in `command` and `expression` from the objects of the crate `nftables`. The crate's own way to run
//! the program loses what that says of an error, and it reads counters as 32 bits: what it says is read as it is.

pub mod command;
pub mod expression;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::filter::FilterError;

/// Where such programs are, beside the search path: an ordinary user's often lacks the half of it.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];

/// Where the program `name` is.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let places = folders.chain(FOLDERS.map(PathBuf::from));
    places.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Does all of `commands` or none of them, in one transaction. `what` says what that is in an error.
///
/// # Errors
/// There is no nft, or it refused: with its own words.
pub fn run(what: &str, commands: &[Value]) -> Result<(), FilterError> {
    told(what, &["--json", "-f", "-"], &document(commands)).map(drop)
}

/// The same without doing it: the kernel looks at it and takes it back.
///
/// # Errors
/// See [`run`].
pub fn check(what: &str, commands: &[Value]) -> Result<(), FilterError> {
    told(what, &["--check", "--json", "-f", "-"], &document(commands)).map(drop)
}

fn document(commands: &[Value]) -> String {
    json!({ "nftables": commands }).to_string()
}

/// The objects that `nft list` finds for `arguments`.
///
/// # Errors
/// See [`run`]; or it answered something else than JSON.
pub fn list(arguments: &[&str]) -> Result<Vec<Value>, FilterError> {
    let what = format!("nft list {}", arguments.join(" "));
    let output = told(&what, &[&["--json", "list"], arguments].concat(), "")?;
    let answer: Result<Value, _> = serde_json::from_slice(&output.stdout);
    match answer.map_err(|error| FilterError::new(what, error))?["nftables"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

fn told(what: &str, arguments: &[&str], input: &str) -> Result<Output, FilterError> {
    let failed = |error| FilterError::new(format!("{what}: run nft"), error);
    let none = || FilterError::new(what, "there is no program nft (package nftables)");
    let output = speak(&find("nft").ok_or_else(none)?, arguments, input).map_err(failed)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(FilterError::new(what, reason(&said).unwrap_or_else(|| output.status.to_string())))
}

fn speak(program: &Path, arguments: &[&str], input: &str) -> std::io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not listen to the end says why on its other side.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

/// The reason in what nft printed, as a clause: `internal:0:0-0: Error: Could not process rule: Operation not
/// permitted` is `operation not permitted`. Of several it is the first: those that follow say where that was.
fn reason(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains("Error: ")).or_else(|| said.lines().next())?;
    let told = line.rsplit_once("Error: ").map_or(line, |(_, told)| told).trim();
    let told = told.strip_prefix("Could not process rule: ").unwrap_or(told).trim_end_matches('.');
    let mut letters = told.chars();
    let first = letters.next()?;
    Some(first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_what_nft_prints() {
        for (said, expected) in [
            (
                "internal:0:0-0: Error: Could not process rule: Operation not permitted\n\n",
                Some("operation not permitted"),
            ),
            ("internal:0:0-0: Error: No such file or directory\n\n", Some("no such file or directory")),
            (
                "internal:0:0-0: Error: Unknown statement object 'bogus'.\n\n\
                 internal:0:0-0: Error: Parsing expr array at index 0 failed.\n\n\
                 internal:0:0-0: Error: Parsing command array at index 2 failed.\n\n",
                Some("unknown statement object 'bogus'"),
            ),
            (
                "Operation not permitted (you must be root)\nnetlink: Error: cache initialization failed: Operation not permitted\n",
                Some("cache initialization failed: Operation not permitted"),
            ),
            ("killed", Some("killed")),
            ("", None),
        ] {
            assert_eq!(reason(said).as_deref(), expected, "{said}");
        }
    }

    #[test]
    fn a_program_is_found_beyond_the_search_path() {
        assert!(find("sh").is_some());
        assert_eq!(find("portcullis-no-such-program"), None);
    }
}
