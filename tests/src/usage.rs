//! What a relay uses: CPU and memory of its process and all that descend from it. And the middle of what
//! was measured often.

use std::fs;

/// Nanoseconds on a CPU so far: of threads that live (Documentation/scheduler/sched-stats.rst), which is finer
/// than the clock ticks of proc(5), and in these ticks of processes that ended.
///
/// # Panics
/// The process is gone, or the kernel does not count.
pub fn cpu_ns(root: u32) -> u64 {
    let all = tree(root);
    let ended: u64 = all.iter().map(|id| ended(*id)).sum();
    ended + all.into_iter().flat_map(threads).map(|place| on_cpu(&place)).sum::<u64>()
}

/// Proportional set size in bytes: what is shared counts once (proc(5), `smaps_rollup`).
///
/// # Panics
/// The process is gone.
pub fn pss(root: u32) -> u64 {
    let of = |id: u32| {
        let rollup = read(&format!("/proc/{id}/smaps_rollup"));
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    };
    tree(root).into_iter().map(of).sum()
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
    let mut all = vec![root];
    let mut next = 0;
    while let Some(&id) = all.get(next) {
        for place in threads(id) {
            let children = read(&format!("{place}/children"));
            all.extend(children.split_whitespace().map(|id| id.parse::<u32>().expect("an id")));
        }
        next += 1;
    }
    all
}

/// Folders of a process's threads.
fn threads(id: u32) -> Vec<String> {
    let folder = format!("/proc/{id}/task");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}

fn on_cpu(place: &str) -> u64 {
    let text = read(&format!("{place}/schedstat"));
    text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

/// Nanoseconds of children that it has waited for.
fn ended(id: u32) -> u64 {
    ticks_of_children(&read(&format!("/proc/{id}/stat"))) * TICK_NS
}

/// A tick of proc(5): a hundredth of a second on x86 and ARM.
const TICK_NS: u64 = 10_000_000;

/// Fields 16 and 17 of proc(5) `stat`. Field 2 is a name in brackets, in which anything may stand.
fn ticks_of_children(stat: &str) -> u64 {
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_whitespace().skip(13).take(2);
    ticks.map(|word| word.parse::<u64>().expect("a number")).sum()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
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
