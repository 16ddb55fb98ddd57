//! What a test could leave in the kernel, before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::exec;

/// The kernel frees programs and namespaces a moment after their last user has gone.
const SETTLE: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4)];

/// Lines that describe one kind of thing, or why it could not be looked at.
type Look = Result<Vec<String>>;

/// What was there when we looked, by kind.
#[derive(Debug)]
pub(crate) struct Traces(BTreeMap<&'static str, Look>);

impl Traces {
    pub(crate) fn look() -> Self {
        Self(BTreeMap::from([
            ("bpf programs and links", bpf()),
            ("bpf pins", Ok(pins(Path::new("/sys/fs/bpf")))),
            ("bpf mounts", mounts()),
            ("network namespaces", read("ip", &["netns"])),
            (
                "links",
                read("ip", &["-oneline", "link"]).map(|lines| lines.iter().map(|line| link(line)).collect()),
            ),
            (
                "addresses",
                read("ip", &["-oneline", "address"])
                    .map(|lines| lines.iter().map(|line| address(line)).collect()),
            ),
            ("nftables rules", read("nft", &["--stateless", "list", "ruleset"])),
            ("iptables rules", read("iptables-save", &[]).map(without_counters)),
            ("ip6tables rules", read("ip6tables-save", &[]).map(without_counters)),
        ]))
    }

    /// Fails with all that is there now and was not before, or the other way round. What cannot be looked
    /// at for want of root is named, and fails only where PORTCULLIS_REQUIRE_ALL is set.
    pub(crate) fn compare(&self) -> Result<()> {
        let mut waits = SETTLE.into_iter();
        let (differences, unseen) = loop {
            let (differences, unseen) = self.differences(&Self::look());
            match waits.next() {
                Some(wait) if !differences.is_empty() => thread::sleep(wait),
                _ => break (differences, unseen),
            }
        };
        for unseen in &unseen {
            eprintln!("note: not looked at: {unseen}");
        }
        if !differences.is_empty() {
            bail!("{} lines differ from before:\n{}", differences.len(), differences.join("\n"));
        }
        if !unseen.is_empty() && std::env::var_os("PORTCULLIS_REQUIRE_ALL").is_some() {
            bail!("not all could be looked at");
        }
        Ok(())
    }

    fn differences(&self, after: &Self) -> (Vec<String>, Vec<String>) {
        let (mut differences, mut unseen) = (Vec::new(), Vec::new());
        for (kind, after) in &after.0 {
            match (self.0.get(kind), after) {
                (Some(Ok(before)), Ok(after)) => {
                    let mut lines = diff(before, after);
                    // A daemon that someone has stopped meanwhile took its programs along.
                    lines.retain(|line| line.starts_with('+') || !kind.starts_with("bpf"));
                    differences.extend(lines.into_iter().map(|line| format!("{kind}: {line}")));
                }
                (Some(Err(error)), _) | (_, Err(error)) => unseen.push(format!("{kind} ({error:#})")),
                (None, Ok(_)) => {}
            }
        }
        (differences, unseen)
    }
}

/// `+ line` for what came, `- line` for what went; the same line may stand there several times.
fn diff(before: &[String], after: &[String]) -> Vec<String> {
    let mut counts = BTreeMap::<&str, i64>::new();
    for line in after {
        *counts.entry(line).or_default() += 1;
    }
    for line in before {
        *counts.entry(line).or_default() -= 1;
    }
    let changed = counts.into_iter().filter(|(_, count)| *count != 0);
    changed.map(|(line, count)| format!("{} {}", if count > 0 { '+' } else { '-' }, line.trim())).collect()
}

fn read(program: &str, arguments: &[&str]) -> Look {
    let text = exec::read(exec::command(program).args(arguments))?;
    Ok(text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect())
}

/// Our programs, and the links that hold them.
fn bpf() -> Look {
    let list = |kind| -> Result<Value> {
        let text = exec::read(exec::command("bpftool").args(["--json", kind, "show"]))?;
        serde_json::from_str(&text).with_context(|| format!("read the list of bpf {kind}s"))
    };
    Ok(ours(&list("prog")?, &list("link")?))
}

fn ours(programs: &Value, links: &Value) -> Vec<String> {
    let number = |value: &Value, key| value.get(key).and_then(Value::as_u64);
    let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    let programs: BTreeMap<_, _> = programs
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|program| {
            let name = name(program).filter(|name| name.starts_with("portcullis"))?;
            Some((number(program, "id")?, name))
        })
        .collect();
    let held = links.as_array().into_iter().flatten().filter_map(|link| {
        let program = programs.get(&number(link, "prog_id")?)?;
        Some(format!("link {} of {program}", number(link, "id")?))
    });
    programs.iter().map(|(id, name)| format!("program {id} {name}")).chain(held).collect()
}

/// Names below the bpf file system that start like ours.
fn pins(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("portcullis"));
    names.map(|entry| entry.path().display().to_string()).collect()
}

/// Mounts of the bpf file system; fields of proc_pid_mountinfo(5), where `-` comes before the type.
fn mounts() -> Look {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(table
        .lines()
        .filter(|line| line.contains(" - bpf "))
        .filter_map(|line| line.split(' ').nth(4))
        .map(str::to_owned)
        .collect())
}

/// `3: eth0@if2: <...>` without what changes by itself.
fn link(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `1: lo    inet 127.0.0.1/8 ...` up to the address: lifetimes run.
fn address(line: &str) -> String {
    line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}

/// Drops the remarks, which hold the time, and the packet counters `[1:60]`.
fn without_counters(lines: Vec<String>) -> Vec<String> {
    let rules = lines.into_iter().filter(|line| !line.starts_with('#'));
    rules.map(|line| line.split(" [").next().unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_difference_has_a_direction() {
        let (before, after) = (lines(&["a", "b", "b"]), lines(&["b", "c", "a"]));
        assert_eq!(diff(&before, &after), ["- b", "+ c"]);
        assert!(diff(&before, &before).is_empty());
    }

    #[test]
    fn only_our_programs_and_their_links_count() {
        let programs =
            serde_json::json!([{"id": 4, "name": "portcullis_filt"}, {"id": 5, "name": "other"}, {"id": 6}]);
        let links = serde_json::json!([{"id": 1, "prog_id": 4}, {"id": 2, "prog_id": 5}]);
        assert_eq!(ours(&programs, &links), ["program 4 portcullis_filt", "link 1 of portcullis_filt"]);
        assert!(ours(&serde_json::json!([]), &links).is_empty());
    }

    #[test]
    fn what_changes_by_itself_is_left_out() {
        assert_eq!(link("4: eth0@if2: <UP> mtu 1400 qdisc x"), "4: eth0@if2:");
        assert_eq!(address("4: eth0    inet 192.0.2.2/24 brd x valid_lft 5sec"), "4: eth0 inet 192.0.2.2/24");
        let saved = lines(&[
            "# Generated on Monday",
            "*filter",
            ":INPUT ACCEPT [12:700]",
            "-A INPUT -j DROP",
            "COMMIT",
        ]);
        assert_eq!(without_counters(saved), ["*filter", ":INPUT ACCEPT", "-A INPUT -j DROP", "COMMIT"]);
    }

    #[test]
    fn a_bpf_program_that_went_is_no_trace_but_a_rule_is() {
        let with = |kind| Traces(BTreeMap::from([(kind, Ok(lines(&["x"])))]));
        let without = |kind| Traces(BTreeMap::from([(kind, Ok(vec![]))]));
        assert!(with("bpf programs").differences(&without("bpf programs")).0.is_empty());
        assert_eq!(without("bpf programs").differences(&with("bpf programs")).0, ["bpf programs: + x"]);
        assert_eq!(with("rules").differences(&without("rules")).0, ["rules: - x"]);
    }

    #[test]
    fn what_could_not_be_looked_at_is_named() {
        let seen = Traces(BTreeMap::from([("links", Ok(lines(&["1: lo:"])))]));
        let blind = Traces(BTreeMap::from([("links", Err(anyhow::anyhow!("not permitted")))]));
        assert_eq!(blind.differences(&seen), (vec![], lines(&["links (not permitted)"])));
        assert_eq!(seen.differences(&seen), (vec![], vec![]));
    }
}
