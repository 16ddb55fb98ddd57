//! `portcullis kernel` on a bpffs of the test's own, and a daemon that has no privileges.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::gateway::{ADDRESS, Gateway, program};
use crate::namespace::mount_bpffs;

/// The user and the group `nobody`, who is to open brokers here.
pub const NOBODY: u32 = 65_534;

/// A folder with a configuration, a state folder of nobody's, and a bpffs that goes with the thread. To be
/// made in [`crate::namespace::in_namespace`].
pub struct Scene {
    folder: tempfile::TempDir,
    addresses: Vec<String>,
}

impl Scene {
    /// Broker address [`ADDRESS`], on `lo`; `more` lines of configuration.
    ///
    /// # Panics
    /// The system refuses.
    pub fn new(more: &[&str]) -> Self {
        Self::on(&[ADDRESS], more)
    }

    /// The same on `addresses`.
    ///
    /// # Panics
    /// The system refuses.
    pub fn on(addresses: &[&str], more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        for name in ["bpf", "state"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        chown(folder.path().join("state"), Some(NOBODY), Some(NOBODY)).expect("gives it away");
        mount_bpffs(&folder.path().join("bpf"));
        let scene = Self { folder, addresses: addresses.iter().map(ToString::to_string).collect() };
        scene.configure(more);
        scene
    }

    /// Changes the configuration to `more` beside what is needed.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn configure(&self, more: &[&str]) {
        drop(self.command("ebpf", more));
    }

    fn command(&self, backend: &str, more: &[&str]) -> Command {
        let pins = format!("filter.pins = {:?}", self.pins());
        let more: Vec<_> = more.iter().copied().chain([pins.as_str()]).collect();
        let addresses: Vec<_> = self.addresses.iter().map(String::as_str).collect();
        Gateway::command(self.folder.path(), &addresses, backend, &more)
    }

    /// Where the pins are to be.
    pub fn pins(&self) -> PathBuf {
        self.folder.path().join("bpf/portcullis")
    }

    /// The folder of the layout that this build has.
    pub fn version(&self) -> PathBuf {
        portcullis::kernel::pins::folder(&self.pins())
    }

    /// The folder of all.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `portcullis kernel`, to be started.
    pub fn kernel_command(&self, command: &str, more: &[&str]) -> Command {
        let mut kernel = Command::new(program());
        kernel
            .args(["kernel", command, "--config"])
            .arg(self.folder.path().join("portcullis.toml"))
            .args(more);
        kernel
    }

    /// Runs `portcullis kernel`.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn kernel(&self, command: &str, more: &[&str]) -> Output {
        self.kernel_command(command, more).output().expect("runs")
    }

    /// Loads for nobody's group.
    ///
    /// # Panics
    /// That fails.
    pub fn load(&self) -> String {
        let output = self.kernel("load", &["--group", "nogroup"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What loading fails with.
    ///
    /// # Panics
    /// It succeeds, or fails with another code than 1.
    pub fn load_fails(&self) -> String {
        fails(self.kernel("load", &["--group", "nogroup"]))
    }

    /// `kernel show --json`.
    ///
    /// # Panics
    /// It fails.
    pub fn show(&self) -> serde_json::Value {
        let output = self.kernel("show", &["--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// A daemon of nobody's, without any capability.
    ///
    /// # Panics
    /// It does not start.
    pub fn serve(&self, more: &[&str]) -> Gateway {
        // The folder of the build need not be open to everybody.
        let copy = self.folder.path().join("portcullis");
        if !copy.exists() {
            std::fs::copy(program(), &copy).expect("a copy");
        }
        let pins = format!("filter.pins = {:?}", self.pins());
        let more: Vec<_> = more.iter().copied().chain([pins.as_str()]).collect();
        let addresses: Vec<_> = self.addresses.iter().map(String::as_str).collect();
        Gateway::start_by(self.folder.path(), &addresses, "ebpf", &more, |command, _| {
            let mut nobody = Command::new("setpriv");
            nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]);
            nobody.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(copy).args(command.get_args());
            nobody
        })
    }

    /// What a daemon that does not start says.
    ///
    /// # Panics
    /// It starts.
    pub fn serve_fails(&self, backend: &str, more: &[&str]) -> String {
        let mut command = self.command(backend, more);
        // Nobody's state folder is not for root to write to.
        let state = tempfile::tempdir().expect("a folder");
        command.env("PORTCULLIS_STATE_DIR", state.path()).stderr(std::process::Stdio::piped());
        fails(command.output().expect("runs"))
    }
}

/// What a command that failed says.
///
/// # Panics
/// It did not fail with code 1.
pub fn fails(output: Output) -> String {
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}
