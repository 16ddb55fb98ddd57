//! Autobahn's fuzzing client, by people who wrote neither us nor each other's peers, against our framing code:
//! every case of groups 1 to 7, 9 and 10.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use portcullis_tests::process::Guarded;
use portcullis_tests::{echo, require};
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tests/autobahn");
const AGENT: &str = "portcullis";

/// What a Python of that age needs longest for, and what its neighbours ask as well: 16 MiB of text, where it looks at
/// each byte itself, and 4 MiB in fragments, or in portions, of 64 and 128 bytes.
const EXCLUDED: [&str; 7] = ["9.1.6", "9.3.1", "9.4.1", "9.5.1", "9.5.2", "9.6.1", "9.6.2"];

/// How many cases there are then.
const CASES: usize = 294;

#[test]
fn no_case_fails() {
    let python = format!("{FOLDER}/python");
    if !require::file(&python, "none: cargo xtask setup --test, where there is a Python 2.7") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let groups = [1, 2, 3, 4, 5, 6, 7, 9, 10].map(|group| format!("{group}.*"));
    let wanted = json!({
        "outdir": folder.path(),
        "servers": [{ "agent": AGENT, "url": format!("ws://127.0.0.1:{}", echo::start()) }],
        "cases": groups, "exclude-cases": EXCLUDED, "exclude-agent-cases": {},
    });
    let file = folder.path().join("wanted.json");
    std::fs::write(&file, wanted.to_string()).expect("writes");
    let began = Instant::now();
    let mut client = Command::new(&python);
    client.args(["-W", "ignore", "-c", "from autobahntestsuite.wstest import run; run()"]);
    client.args(["--mode", "fuzzingclient", "--spec"]).arg(&file).env("PYTHONPATH", FOLDER);
    client.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    // It takes a minute, and longer where others work: whoever waits for all tests has a limit.
    let status = Guarded::start(&mut client).child().wait().expect("ends");
    assert!(status.success(), "{status}");
    let report = report(folder.path());
    eprintln!("{} cases in {:?}", report.len(), began.elapsed());
    let failed: Vec<_> = report.iter().filter(|(id, case)| !is_well(id, case)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(report.len(), CASES);
}

fn report(folder: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(folder.join("index.json")).expect("a report");
    let mut report: Value = serde_json::from_str(&text).expect("JSON");
    serde_json::from_value(report[AGENT].take()).expect("cases")
}

/// Whether a case was passed. Those of 6.4 ask how early text that is no UTF-8 is refused, which is nobody's
/// duty; informational ones have no right answer.
fn is_well(id: &str, case: &Value) -> bool {
    let both = [&case["behavior"], &case["behaviorClose"]];
    both.into_iter().all(|behavior| match behavior.as_str() {
        Some("OK" | "INFORMATIONAL") => true,
        Some("NON-STRICT") => id.starts_with("6.4."),
        _ => false,
    })
}
