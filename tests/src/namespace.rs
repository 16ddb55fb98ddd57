//! Network namespaces of a test's own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::process::run;

/// Runs `body` in a fresh network namespace with `lo` up, on a thread of its own; processes that it
/// starts are in there too. The namespace is gone when the last of them is.
///
/// # Panics
/// With whatever `body` panics.
pub fn in_namespace<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let result = thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            run("ip", &["link", "set", "lo", "up"]);
            body()
        });
        inside.join()
    });
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Puts an empty folder in the place of each of `paths`, for this thread and what it starts. To be called in
/// [`in_namespace`], whose thread takes them along when it ends.
///
/// # Panics
/// The system refuses.
pub fn hide(paths: &[&str]) {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let nothing: Option<&str> = None;
    // Nothing of this is to be seen outside.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("mounts apart");
    for path in paths {
        mount(Some("tmpfs"), *path, Some("tmpfs"), MsFlags::empty(), nothing).expect("an empty folder");
    }
}

/// Mounts a bpffs at `folder`, for this thread and what it starts, as [`hide`] does.
///
/// # Panics
/// The system refuses.
pub fn mount_bpffs(folder: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("mounts apart");
    mount(Some("bpf"), folder, Some("bpf"), MsFlags::empty(), nothing).expect("a bpffs");
}

/// Another namespace, joined to that of the caller by a veth pair: `out` here, `in` there.
///
/// Addresses: 10.77.0.1/24 and fd00:77::1/64 here, .2 and ::2 there.
pub struct Neighbour {
    place: PathBuf,
    /// Held so that the namespace lives.
    _file: File,
}

/// Addresses of the two sides.
pub const HERE: [&str; 2] = ["10.77.0.1", "fd00:77::1"];
/// See [`HERE`].
pub const THERE: [&str; 2] = ["10.77.0.2", "fd00:77::2"];

impl Neighbour {
    /// Makes the namespace and the pair.
    ///
    /// # Panics
    /// The system refuses.
    pub fn new() -> Self {
        let (tell, told) = mpsc::channel();
        let (done, wait) = mpsc::channel::<()>();
        // The thread holds the namespace until the file does.
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            let tid = nix::unistd::gettid();
            tell.send(PathBuf::from(format!("/proc/{}/task/{tid}/ns/net", std::process::id())))
                .expect("heard");
            let _ = wait.recv();
        });
        let place = told.recv().expect("a namespace");
        let file = File::open(&place).expect("its file");
        let held = PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&file)
        ));
        drop(done);
        thread.join().expect("the thread ends");
        let neighbour = Self { place: held, _file: file };
        neighbour.inside(|| run("ip", &["link", "set", "lo", "up"]));
        neighbour.join();
        neighbour
    }

    /// Makes the pair, with its addresses: the first, or another after `out` was deleted.
    ///
    /// # Panics
    /// The system refuses.
    pub fn join(&self) {
        let place = self.place.to_str().expect("a path");
        run("ip", &["link", "add", "out", "type", "veth", "peer", "name", "in", "netns", place]);
        // `nodad`: an address that is still tentative cannot be used for two seconds.
        for (address, length) in HERE.iter().zip(["24", "64"]) {
            add_address("out", address, length);
        }
        run("ip", &["link", "set", "out", "up"]);
        self.inside(|| {
            for (address, length) in THERE.iter().zip(["24", "64"]) {
                add_address("in", address, length);
            }
            run("ip", &["link", "set", "in", "up"]);
        });
    }

    /// Runs `body` over there, on a thread of its own.
    ///
    /// # Panics
    /// With whatever `body` panics.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(&self.place).expect("the namespace");
                setns(file, CloneFlags::CLONE_NEWNET).expect("enters it");
                body()
            });
            inside.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Default for Neighbour {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts an address on `link`, at once.
///
/// # Panics
/// The system refuses.
pub fn add_address(link: &str, address: &str, length: &str) {
    let with_length = format!("{address}/{length}");
    if address.contains(':') {
        run("ip", &["address", "add", &with_length, "dev", link, "nodad"]);
    } else {
        run("ip", &["address", "add", &with_length, "dev", link]);
    }
}
