//! SIGKILL at the system calls of loading, loading again, and loading for another range: what was in force
//! stays in force, and the next load leaves exactly what an undisturbed one does.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use aya::programs::{SchedClassifier, TcAttachType};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::pins::Scene;
use portcullis_tests::{require, wait_for};

/// Calls by which something becomes visible outside of the process; of `bpf`, by far the most frequent, each
/// of the tests has every third.
const CALLS: [(&str, usize); 8] = [
    ("bpf", 3),
    ("mkdir", 1),
    ("link", 1),
    ("linkat", 1),
    ("rename", 1),
    ("unlink", 1),
    ("chown", 1),
    ("chmod", 1),
];

fn attached() -> usize {
    let (_, programs) = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).expect("answers");
    programs.len()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry"));
    entries.map(|entry| entry.file_name().into_string().expect("text")).collect()
}

/// Loads, and dies at the beginning of the `nth` `call`. Returns whether it came to that.
fn dies(scene: &Scene, call: &str, nth: usize) -> bool {
    let load = scene.kernel_command("load", &["--group", "nogroup"]);
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
    strace.arg(format!("inject={call}:signal=SIGKILL:when={nth}"));
    strace.arg(load.get_program()).args(load.get_args());
    let status =
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("runs");
    // strace dies of what its process died of.
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "{call} {nth}: {status}");
    killed
}

/// Kills a loader everywhere, from `first` on of the calls that are not all tried. Before each time `prepare`
/// brings the pins into a state that a load `changes`, and says whether the filter was in force then.
fn everywhere(first: usize, prepare: impl Fn(&Scene) -> bool + Send + Sync) {
    if !require::kernel() || !require::file("/usr/bin/strace", "strace") {
        return;
    }
    in_namespace(|| {
        let scene = Scene::new(&[]);
        scene.load();
        let (whole, kept) = (names(&scene.version()), names(&scene.pins()));
        let mut kills = 0;
        for (call, step) in CALLS {
            let mut nth = if step == 1 { 1 } else { first };
            loop {
                let was_in_force = prepare(&scene);
                if !dies(&scene, call, nth) {
                    break;
                }
                kills += 1;
                let what = format!("{call} {nth}");
                assert!(!was_in_force || attached() >= 1, "{what}: nothing filters");
                scene.load();
                assert_eq!(
                    (names(&scene.pins()), names(&scene.version())),
                    (kept.clone(), whole.clone()),
                    "{what}"
                );
                wait_for("one filter", || (attached() == 1).then_some(()));
                assert_eq!(scene.show()["versions"][0]["complete"], true, "{what}");
                nth += step;
            }
        }
        assert!(kills > 25, "{kills} kills only");
        assert!(scene.kernel("clean", &[]).status.success());
        // The kernel detaches a link some time after its last pin is gone.
        wait_for("the filter to be off", || (attached() == 0).then_some(()));
    });
}

#[test]
fn killed_while_it_loads() {
    everywhere(1, |scene| {
        assert!(scene.kernel("clean", &[]).status.success());
        false
    });
}

#[test]
fn killed_while_it_loads_again() {
    everywhere(2, |_| true);
}

#[test]
fn killed_while_it_loads_for_another_range() {
    let last = std::sync::atomic::AtomicU16::new(15_000);
    everywhere(3, |scene| {
        // Always another one than before.
        let last = last.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        scene.configure(&[&format!("range.last = {last}")]);
        true
    });
}
