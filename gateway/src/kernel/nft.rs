//! The program `nft`: what it is told, and what it says. It speaks its own language (nft(8)) and answers in
//! JSON (libnftables-json(5)).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

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

/// Does all of `script` or nothing of it, in one transaction. `what` says what that is in an error.
///
/// # Errors
/// There is no nft, or it refused: with its own words.
pub fn run(what: &str, script: &str) -> Result<(), FilterError> {
    told(what, &["-f", "-"], script).map(drop)
}

/// The same without doing it: the kernel looks at it and takes it back.
///
/// # Errors
/// See [`run`].
pub fn check(what: &str, script: &str) -> Result<(), FilterError> {
    told(what, &["--check", "-f", "-"], script).map(drop)
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

fn told(what: &str, arguments: &[&str], script: &str) -> Result<Output, FilterError> {
    let failed = |error| FilterError::new(format!("{what}: run nft"), error);
    let none = || FilterError::new(what, "there is no program nft (package nftables)");
    let output = speak(&find("nft").ok_or_else(none)?, arguments, script).map_err(failed)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(FilterError::new(what, reason(&said).unwrap_or_else(|| output.status.to_string())))
}

fn speak(program: &Path, arguments: &[&str], script: &str) -> std::io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not listen to the end says why on its other side.
        let _ = input.write_all(script.as_bytes());
    }
    child.wait_with_output()
}

/// The reason in what nft printed, as a clause: `/dev/stdin:1:1-9: Error: Could not process rule: Operation
/// not permitted` is `operation not permitted`.
fn reason(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains("Error: ")).or_else(|| said.lines().next())?;
    let told = line.rsplit_once("Error: ").map_or(line, |(_, told)| told).trim();
    let told = told.strip_prefix("Could not process rule: ").unwrap_or(told);
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
                "/dev/stdin:1:1-17: Error: Could not process rule: Operation not permitted\nadd table inet q\n^^^\n",
                Some("operation not permitted"),
            ),
            (
                "/dev/stdin:3:2-6: Error: syntax error, unexpected chain\n chain a\n",
                Some("syntax error, unexpected chain"),
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
