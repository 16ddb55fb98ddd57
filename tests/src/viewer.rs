//! Native viewers, on an X screen of their own that tests can see.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Guarded, at_home};
use crate::qemu::{Machine, Screen};
use crate::tigervnc::free_port;
use crate::{PATIENCE, eventually, require, target, wait_for};

/// Whether there is a screen, who sees to windows, and hands.
pub fn is_here() -> bool {
    require::file("/usr/bin/Xvfb", "xvfb")
        && require::file("/usr/bin/openbox", "openbox")
        && require::file("/usr/bin/xdotool", "xdotool")
}

/// A screen, of 1280 by 1024 pixels unless said otherwise, reached by TCP of the namespace only.
pub struct Desk {
    // Before the server, so that it ends first.
    _windows: Guarded,
    _server: Guarded,
    folder: PathBuf,
    display: String,
}

impl Desk {
    /// Starts one; its files are in `folder`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(folder: &Path) -> Self {
        Self::start_sized(folder, "1280x1024")
    }

    /// The same with another size, `WIDTHxHEIGHT` in pixels.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_sized(folder: &Path, size: &str) -> Self {
        let port = free_port(6_000);
        let log = |name: &str| File::create(folder.join(name)).expect("a log");
        let mut server = Command::new("Xvfb");
        server
            .arg(format!(":{}", port - 6_000))
            .args(["-screen", "0", &format!("{size}x24"), "-fbdir"])
            .arg(folder)
            // Without `-noreset` it begins anew when whoever was alone on it leaves, and ends who is just coming.
            .args(["-nolock", "-nolisten", "unix", "-nolisten", "local", "-listen", "tcp", "-ac", "-noreset"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log("xvfb.log"));
        let server = Guarded::start(&mut server);
        wait_for("Xvfb", || target::connect(([127, 0, 0, 1], port).into(), PATIENCE).ok());
        // Its picture is zeros until the screen is made.
        let picture = folder.join("Xvfb_screen0");
        wait_for("its picture", || {
            std::fs::read(&picture).ok()?.iter().take(8).any(|byte| *byte > 0).then_some(())
        });
        let (display, folder) = (format!("127.0.0.1:{}", port - 6_000), folder.to_owned());
        // A window that comes while it is only beginning may never be seen.
        let ready = folder.join("openbox.ready");
        let mut windows = Command::new("openbox");
        windows.arg("--startup").arg(format!("touch {}", ready.display()));
        at_home(&mut windows, &folder).env("DISPLAY", &display).stdin(Stdio::null()).stdout(Stdio::null());
        let windows = Guarded::start(windows.stderr(log("openbox.log")));
        wait_for("openbox", || ready.exists().then_some(()));
        Self { _windows: windows, _server: server, folder, display }
    }

    /// Starts a program on it, which is ended by the system if nobody else does.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn open(&self, program: &str, arguments: &[&str]) -> Guarded {
        let name = Path::new(program).file_name().unwrap_or_default();
        let log = File::create(self.folder.join(name).with_extension("log")).expect("a log");
        let mut command = Command::new("timeout");
        at_home(&mut command, &self.folder)
            .args(["--kill-after=5", "180", program])
            .args(arguments)
            .env("DISPLAY", &self.display)
            // No bus of a session, and nobody to reach over it.
            .env("GIO_USE_VFS", "local")
            .env("GSETTINGS_BACKEND", "memory")
            .env("NO_AT_BRIDGE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        Guarded::start(&mut command)
    }

    /// What programs on it, and the screen itself, said.
    fn logs(&self) -> Vec<PathBuf> {
        // Asked where a test has failed already, which a second panic would hide.
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|file| file.path());
        files.filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
    }

    /// Its name, for programs that are started otherwise.
    pub fn display(&self) -> &str {
        &self.display
    }

    /// What is on it.
    ///
    /// # Panics
    /// It is gone.
    pub fn screen(&self) -> Screen {
        Screen::read_xwd(&std::fs::read(self.folder.join("Xvfb_screen0")).expect("the screen"))
    }

    /// Writes a picture of it to `target/screenshots`, for people to look at.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn shot(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = File::create(folder.join(name).with_extension("png")).expect("a file");
        let screen = self.screen();
        let mut encoder = png::Encoder::new(file, screen.width as u32, screen.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&screen.rgb))
            .expect("a picture");
    }

    /// Waits until the machine's screen is on it, in at least 99 of 100 pixels.
    pub fn shows(&self, machine: &mut Machine) {
        let (mut ink, mut likeness) = (0, 0.0);
        let in_time = eventually(|| {
            let (there, here) = (machine.screen(), self.screen());
            ink = there.ink();
            // Nothing is everywhere.
            likeness = if ink > 1_000 { here.likeness_within(&there) } else { 0.0 };
            likeness >= 0.99
        });
        if !in_time {
            // Before the viewer is ended, with which its window goes.
            self.shot("failed");
            panic!("the viewer does not show the machine's screen: {ink} pixels of text, {likeness} of it");
        }
    }

    /// Puts the pointer into the middle and types a key, by its X11 name.
    pub fn press(&self, key: &str) {
        let mut xdotool = Command::new("timeout");
        xdotool.args(["30", "xdotool", "mousemove", "640", "512", "click", "1", "key", key]);
        xdotool.env("DISPLAY", &self.display);
        assert!(xdotool.status().expect("xdotool").success());
    }
}

impl Drop for Desk {
    /// Whoever reads why a test failed is told what its programs said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in self.logs() {
                let said = std::fs::read(&log).unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                let from = said.lines().count().saturating_sub(40);
                let tail: Vec<_> = said.lines().skip(from).collect();
                println!("--- {}\n{}", log.display(), tail.join("\n"));
            }
        }
    }
}
