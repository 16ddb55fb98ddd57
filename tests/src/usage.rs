//! What a relay uses: CPU and memory of its process and all that descend from it. And the middle of what
//! was measured often.

use std::{fs, io};

/// Nanoseconds on a CPU so far: of threads that live (Documentation/scheduler/sched-stats.rst), which is finer
/// than the clock ticks of proc(5), and in these ticks of processes that ended.
///
/// # Panics
/// The process is gone, or the kernel does not count.
pub fn cpu_ns(root: u32) -> u64 {
    whole(root, || {
        let all = tree_of(root)?;
        let mut used = all.iter().map(|id| ended(*id)).sum::<io::Result<u64>>()?;
        for id in all {
            used += threads(id)?.iter().map(|place| on_cpu(place)).sum::<io::Result<u64>>()?;
        }
        Ok(used)
    })
}

/// Proportional set size in bytes: what is shared counts once (proc(5), `smaps_rollup`).
///
/// # Panics
/// The process is gone.
pub fn pss(root: u32) -> u64 {
    let of = |id: u32| {
        let rollup = read(&format!("/proc/{id}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss");
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
    };
    whole(root, || tree_of(root)?.into_iter().map(of).sum())
}

/// The upper of the two in the middle.
///
/// # Panics
/// There is none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A process and its descendants.
///
/// # Panics
/// It is gone.
pub fn tree(root: u32) -> Vec<u32> {
    whole(root, || tree_of(root))
}

/// Looks again where a child or a thread ended while it was looked at, and would count nowhere.
fn whole<T>(root: u32, look: impl Fn() -> io::Result<T>) -> T {
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(error) => assert!(fs::exists(format!("/proc/{root}")).is_ok_and(|is| is), "{root}: {error}"),
        }
    }
}

fn tree_of(root: u32) -> io::Result<Vec<u32>> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(&id) = all.get(next) {
        for place in threads(id)? {
            let children = read(&format!("{place}/children"))?;
            all.extend(children.split_whitespace().map(|id| id.parse::<u32>().expect("an id")));
        }
        next += 1;
    }
    Ok(all)
}

/// Folders of a process's threads.
fn threads(id: u32) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{id}/task"))?;
    entries.map(|entry| Ok(entry?.path().display().to_string())).collect()
}

fn on_cpu(place: &str) -> io::Result<u64> {
    let text = read(&format!("{place}/schedstat"))?;
    Ok(text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number"))
}

/// Nanoseconds of children that it has waited for.
fn ended(id: u32) -> io::Result<u64> {
    Ok(ticks_of_children(&read(&format!("/proc/{id}/stat"))?) * TICK_NS)
}

/// A tick of proc(5): a hundredth of a second on x86 and ARM.
const TICK_NS: u64 = 10_000_000;

/// Fields 16 and 17 of proc(5) `stat`. Field 2 is a name in brackets, in which anything may stand.
fn ticks_of_children(stat: &str) -> u64 {
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_whitespace().skip(13).take(2);
    ticks.map(|word| word.parse::<u64>().expect("a number")).sum()
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_that_ended_count() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 95 3000 0 0 11 12 300 45 20 0 1 0 100 4096 50";
        assert_eq!(ticks_of_children(stat), 345);
    }

    #[test]
    fn the_median_does_not_see_what_is_far_off() {
        assert_eq!(median(&mut [2.0, 90.0, 1.0]), 2.0);
        assert_eq!(median(&mut [1.0, 3.0]), 3.0);
    }
}
