//! What each task needs of the system, and which of it is missing.

use std::path::Path;

use crate::exec;
use crate::run::guest;
use crate::setup::toolchain::{self, Choice, Facts};
use crate::setup::{node, probe, python};

/// How much is needed; each holds the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Compilers and Node.js.
    Build,
    /// And a virtual machine.
    Run,
    /// And a browser and the tools that tests look with.
    Test,
    /// And what the daemon is measured beside.
    Bench,
}

/// A thing that packages bring.
#[derive(Debug)]
struct Need {
    level: Level,
    what: &'static str,
    packages: &'static [&'static str],
    present: fn() -> bool,
}

const NEEDS: [Need; 36] = [
    Need {
        level: Level::Build,
        what: "a C compiler (SQLite is C)",
        packages: &["gcc", "libc6-dev"],
        present: || exec::find("cc").is_some() && Path::new("/usr/include/stdlib.h").exists(),
    },
    Need { level: Level::Build, what: "make", packages: &["make"], present: || exec::find("make").is_some() },
    Need { level: Level::Build, what: "ip", packages: &["iproute2"], present: || exec::find("ip").is_some() },
    Need {
        level: Level::Test,
        what: "a browser",
        packages: &["chromium"],
        present: || exec::find("chromium").is_some(),
    },
    Need {
        level: Level::Test,
        what: "a font for it",
        packages: &["fonts-dejavu-core"],
        present: || Path::new("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists(),
    },
    Need {
        level: Level::Test,
        what: "a font with Chinese characters",
        packages: &["fonts-droid-fallback"],
        present: || Path::new("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf").exists(),
    },
    Need {
        level: Level::Test,
        what: "a VNC server of another make",
        packages: &["tigervnc-standalone-server", "tigervnc-tools"],
        present: || exec::find("Xtigervnc").is_some() && exec::find("tigervncpasswd").is_some(),
    },
    Need {
        level: Level::Test,
        what: "a native viewer of VNC",
        packages: &["tigervnc-viewer"],
        present: || exec::find("xtigervncviewer").is_some(),
    },
    Need {
        level: Level::Test,
        what: "native viewers of SPICE",
        packages: &["virt-viewer", "spice-client-gtk"],
        present: || exec::find("remote-viewer").is_some() && exec::find("spicy-screenshot").is_some(),
    },
    Need {
        level: Level::Run,
        what: "a desktop behind RDP",
        packages: &["freerdp2-shadow-x11", "xvfb", "openbox", "xterm"],
        present: || {
            ["freerdp-shadow-cli", "Xvfb", "openbox", "xterm"]
                .iter()
                .all(|program| exec::find(program).is_some())
        },
    },
    Need {
        level: Level::Test,
        what: "a native viewer of RDP, and a clipboard",
        packages: &["freerdp2-x11", "xclip"],
        present: || exec::find("xfreerdp").is_some() && exec::find("xclip").is_some(),
    },
    Need {
        level: Level::Test,
        what: "a desktop behind RDP that shares its clipboard",
        packages: &["xrdp"],
        present: || Path::new("/usr/sbin/xrdp").exists(),
    },
    Need {
        level: Level::Test,
        what: "a screen for native viewers, with a window manager and hands",
        packages: &["xvfb", "openbox", "xdotool"],
        present: || ["Xvfb", "openbox", "xdotool"].iter().all(|program| exec::find(program).is_some()),
    },
    Need {
        level: Level::Test,
        what: "a program for its screen",
        packages: &["xterm"],
        present: || exec::find("xterm").is_some(),
    },
    Need {
        level: Level::Test,
        what: "bpftool",
        packages: &["bpftool"],
        present: || exec::find("bpftool").is_some(),
    },
    Need {
        level: Level::Test,
        what: "openssl",
        packages: &["openssl"],
        present: || exec::find("openssl").is_some(),
    },
    Need {
        level: Level::Test,
        what: "curl (the calls in README.md are made as they stand there)",
        packages: &["curl"],
        present: || exec::find("curl").is_some(),
    },
    Need {
        level: Level::Test,
        what: "Python with its virtual environments",
        packages: &["python3", "python3-venv"],
        present: python::is_here,
    },
    Need {
        level: Level::Test,
        what: "nft",
        packages: &["nftables"],
        present: || exec::find("nft").is_some(),
    },
    Need {
        level: Level::Test,
        what: "iptables, by both of its back ends",
        packages: &["iptables"],
        present: || exec::find("iptables-legacy").is_some() && exec::find("iptables-nft").is_some(),
    },
    Need {
        level: Level::Test,
        what: "a guest that starts in seconds",
        packages: &["grub-rescue-pc"],
        present: || Path::new("/usr/lib/grub-rescue/grub-rescue-cdrom.iso").exists(),
    },
    Need {
        level: Level::Test,
        what: "strace (the daemon is killed at each of its system calls)",
        packages: &["strace"],
        present: || exec::find("strace").is_some(),
    },
    Need {
        level: Level::Test,
        what: "faketime (its wall clock jumps)",
        packages: &["faketime"],
        present: || exec::find("faketime").is_some(),
    },
    Need {
        level: Level::Test,
        what: "noVNC as Debian ships it",
        packages: &["novnc"],
        present: || Path::new("/usr/share/novnc/vnc.html").exists(),
    },
    Need {
        level: Level::Test,
        what: "debootstrap (for test --bare)",
        packages: &["debootstrap"],
        present: || exec::find("debootstrap").is_some(),
    },
    Need {
        level: Level::Test,
        what: "a C++ compiler (libFuzzer is C++)",
        packages: &["g++"],
        present: || exec::find("c++").is_some(),
    },
    Need {
        level: Level::Test,
        what: "containers, and what is put into one",
        packages: &["lxc", "busybox-static"],
        present: || exec::find("lxc-start").is_some() && Path::new("/usr/share/doc/busybox-static").exists(),
    },
    Need {
        level: Level::Test,
        what: "a scanner of TLS",
        packages: &["sslscan"],
        present: || exec::find("sslscan").is_some(),
    },
    Need {
        level: Level::Test,
        what: "reverse proxies",
        packages: &["haproxy", "nginx-light"],
        present: || exec::find("haproxy").is_some() && exec::find("nginx").is_some(),
    },
    Need {
        level: Level::Test,
        what: "prometheus and promtool",
        packages: &["prometheus"],
        present: || exec::find("prometheus").is_some() && exec::find("promtool").is_some(),
    },
    Need {
        level: Level::Test,
        what: "Redis (tokens of portcullis websockify are in it)",
        packages: &["redis-server"],
        present: || exec::find("redis-server").is_some() && exec::find("redis-cli").is_some(),
    },
    Need {
        level: Level::Test,
        what: "a web server (it is asked for tokens, and relays WebSocket in the bench)",
        packages: &["lighttpd"],
        present: || exec::find("lighttpd").is_some(),
    },
    Need {
        level: Level::Test,
        what: "inetd",
        packages: &["openbsd-inetd"],
        present: || exec::find("inetd").is_some(),
    },
    Need {
        level: Level::Test,
        what: "socket activation as systemd does it",
        packages: &["systemd"],
        present: || exec::find("systemd-socket-activate").is_some(),
    },
    Need {
        level: Level::Test,
        what: "rebind.so (it moves programs that portcullis websockify wraps)",
        packages: &["websockify"],
        present: || Path::new("/usr/lib/websockify/rebind.so").exists(),
    },
    Need {
        level: Level::Bench,
        what: "websockify with numpy",
        packages: &["websockify", "python3-numpy"],
        present: || {
            exec::find("websockify").is_some() && Path::new("/usr/lib/python3/dist-packages/numpy").exists()
        },
    },
];

/// What is missing.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// For people, one clause each.
    pub(crate) what: Vec<String>,
    /// Packages that any source may bring.
    pub(crate) packages: Vec<String>,
    /// Packages that must come from the same source as the QEMU packages that are there.
    pub(crate) qemu: Vec<String>,
    /// The compiler for the kernel programs; `None` if there is no way to one.
    pub(crate) compiler: Option<Choice>,
    /// What no package mends, with advice.
    pub(crate) beyond: Vec<String>,
}

impl Missing {
    /// Looks. With `offers`, also at what the package lists offer.
    pub(crate) fn find(level: Level, offers: bool) -> Self {
        let mut missing = Self::default();
        for need in NEEDS.iter().filter(|need| need.level <= level && !(need.present)()) {
            missing.what.push(need.what.to_owned());
            missing.packages.extend(need.packages.iter().copied().map(String::from));
        }
        missing.add_node();
        missing.add_compiler(offers);
        if level >= Level::Run {
            missing.add_guest();
        }
        if level >= Level::Run && !guest::has_spice() {
            missing.what.push("QEMU's SPICE".into());
            missing.qemu.push("qemu-system-modules-spice".into());
        }
        missing
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.what.is_empty()
    }

    /// Whether packages are missing, or may be: what is beyond help may not be by fresh package lists.
    pub(crate) fn needs_packages(&self) -> bool {
        !(self.packages.is_empty() && self.qemu.is_empty() && self.beyond.is_empty())
    }

    fn add_node(&mut self) {
        match node::missing() {
            Ok(packages) if packages.is_empty() => {}
            Ok(packages) => {
                self.what.push("Node.js with npm".into());
                self.packages.extend(packages.into_iter().map(String::from));
            }
            Err(error) => {
                self.what.push("Node.js with npm".into());
                self.beyond.push(format!("{error:#}"));
            }
        }
    }

    fn add_compiler(&mut self, offers: bool) {
        let mut facts = probe::facts();
        if offers && !is_ready(&facts) {
            probe::offers(&mut facts);
        }
        self.compiler = toolchain::choose(&facts);
        match &self.compiler {
            Some(choice) if choice.is_ready() => return,
            Some(choice) => {
                self.packages.extend(choice.packages.iter().cloned());
                if choice.linker.is_some() {
                    // Building it links C++.
                    self.packages.extend(exec::find("c++").is_none().then(|| "g++".to_owned()));
                }
            }
            None => self.beyond.push(toolchain::advice()),
        }
        self.what.push("a compiler for the kernel programs".into());
    }

    fn add_guest(&mut self) {
        if exec::find(guest::QEMU).is_none() || !guest::has_firmware() {
            self.what.push("QEMU".into());
            self.qemu.extend(["qemu-system-x86", "seabios"].map(String::from));
        }
        if guest::images().is_none() {
            self.what.push("a guest with a graphical screen".into());
            self.packages.push(guest::package());
        }
    }
}

fn is_ready(facts: &Facts) -> bool {
    toolchain::choose(facts).is_some_and(|choice| choice.is_ready())
}
