//! Containers: real LXC around the smallest system that has a shell.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::process::run;
use crate::require;

const BUSYBOX: &str = "/bin/busybox";

/// A shell on the container's console, again and again.
const INIT: &str = "#!/bin/sh\nexport PS1='in c1# ' HOME=/root TERM=xterm\n\
    while true; do setsid -c sh -i </dev/console >/dev/console 2>&1; sleep 1; done\n";

/// Whether there is LXC, and what is put into a container.
pub fn is_here() -> bool {
    require::root() && require::file("/usr/bin/lxc-start", "lxc") && require::file(BUSYBOX, "busybox-static")
}

/// A running container that is called `c1`. It is stopped when the value is dropped.
pub struct Container {
    folder: PathBuf,
}

impl Container {
    /// Starts one; its files are in `folder`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(folder: &Path) -> Self {
        let home = folder.join("c1");
        let root = home.join("rootfs");
        for name in ["bin", "dev", "proc", "sys", "tmp", "etc", "root"] {
            fs::create_dir_all(root.join(name)).expect("a folder");
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).expect("copies");
        for name in ["sh", "setsid", "sleep", "hostname"] {
            symlink("busybox", root.join("bin").join(name)).expect("a link");
        }
        fs::write(root.join("init"), INIT).expect("writes");
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).expect("a mode");
        let config = format!(
            "lxc.include = /usr/share/lxc/config/common.conf\nlxc.rootfs.path = dir:{}\nlxc.uts.name = c1\n\
             lxc.net.0.type = empty\nlxc.apparmor.profile = unconfined\nlxc.tty.max = 1\nlxc.init.cmd = /init\n",
            root.display()
        );
        fs::write(home.join("config"), config).expect("writes");
        run("lxc-start", &["-P", &folder.display().to_string(), "-n", "c1", "-d"]);
        Self { folder: folder.to_owned() }
    }

    /// The command that shows its console, as a configuration of the gateway has it.
    pub fn console(&self) -> String {
        let folder = self.folder.display();
        format!(
            "[\"/usr/bin/lxc-console\", \"-P\", \"{folder}\", \"-n\", \"{{1}}\", \"-t\", \"0\", \"-e\", \"-1\"]"
        )
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let folder = self.folder.display().to_string();
        let _ = std::process::Command::new("lxc-stop").args(["-P", &folder, "-n", "c1", "-k"]).status();
    }
}
