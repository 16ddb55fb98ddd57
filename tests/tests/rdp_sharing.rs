//! What a native viewer of RDP shares with its machine goes through the gateway as if it was not there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::gateway::{Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::Guarded;
use portcullis_tests::rdp::{self, Security, Shadow};
use portcullis_tests::viewer::Desk;
use portcullis_tests::xrdp::{self, Xrdp};
use portcullis_tests::{require, wait_for};

/// A gateway that knows a desktop at `port`, and a broker for it.
fn broker(folder: &Path, port: u16) -> (Gateway, Broker) {
    let gateway = Gateway::start(folder, "ebpf", &[]);
    gateway.add_instance_speaking("i-desk", "rdp", port);
    let broker = gateway.open_again("i-desk");
    (gateway, broker)
}

/// FreeRDP's viewer on a screen of its own.
struct Seat {
    // Before the screen, so that it ends first.
    _viewer: Guarded,
    desk: Desk,
    folder: PathBuf,
}

impl Seat {
    /// The viewer comes to `address`; its files are in `folder`.
    fn take(folder: &Path, address: &str, more: &[&str]) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        Self::take_at(Desk::start(folder), folder, address, more)
    }

    /// The same before a screen that is there.
    fn take_at(desk: Desk, folder: &Path, address: &str, more: &[&str]) -> Self {
        // Into a file by itself: what several threads write to its output is torn.
        let place = format!("WLOG_FILEAPPENDER_OUTPUT_FILE_PATH={}", folder.display());
        let log = ["WLOG_APPENDER=file", &place, "WLOG_FILEAPPENDER_OUTPUT_FILE_NAME=viewer.log", "xfreerdp"];
        let usual = [address, "/cert:ignore", "/u:someone", "/p:secret34", "/log-level:DEBUG"];
        let viewer = desk.open("env", &[&log[..], &usual, more].concat());
        Self { _viewer: viewer, desk, folder: folder.to_owned() }
    }

    /// Which channels and devices it has, and what was agreed on, each thing once and without numbers, which are those
    /// of one connection.
    fn channels(&self) -> BTreeSet<String> {
        let log = std::fs::read(self.folder.join("viewer.log")).unwrap_or_default();
        let said = |line: &str| {
            let at = line.find("[com.freerdp.")?;
            let is_of_channels = OF_CHANNELS.iter().any(|words| line.contains(words));
            is_of_channels.then(|| line[at..].replace(|sign: char| sign.is_ascii_digit(), ""))
        };
        String::from_utf8_lossy(&log).lines().filter_map(said).collect()
    }
}

/// What FreeRDP's log says where a channel is loaded, opened by the server, or agreed on. How much goes through one,
/// and in which pieces, is that of a moment.
const OF_CHANNELS: [&str; 9] = [
    "loading channelEx ",
    "Loading Dynamic Virtual Channel ",
    "Loading device service ",
    " backend for ",
    "create_listener: ",
    " ChannelName=",
    "Audio Formats",
    "QualityMode",
    "microphone uses ",
];

/// What is on a screen's clipboard.
fn clipboard(desk: &Desk) -> String {
    let mut command = Command::new("timeout");
    command.args(["5", "xclip", "-selection", "clipboard", "-o"]).env("DISPLAY", desk.display());
    String::from_utf8_lossy(&command.output().expect("xclip").stdout).into_owned()
}

#[test]
fn the_clipboard_is_shared_both_ways() {
    if !require::kernel() || !rdp::is_here() || !xrdp::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Xrdp::start(&folder.path().join("xrdp"));
        let (gateway, broker) = broker(folder.path(), machine.port);
        let desk = Desk::start(folder.path());
        // Before the viewer comes: xrdp 0.9 takes nothing any more from who had nothing at first.
        let text = folder.path().join("text");
        std::fs::write(&text, "from here").expect("writes");
        let _owner =
            desk.open("xclip", &["-quiet", "-selection", "clipboard", "-i", text.to_str().expect("text")]);
        wait_for("the clipboard", || (clipboard(&desk) == "from here").then_some(()));

        let (address, blob) = (format!("/v:{}", broker.endpoint), format!("/pcb:{}", broker.token));
        let seat = Seat::take_at(desk, folder.path(), &address, &["+clipboard", &blob]);
        let desk = &seat.desk;
        gateway.wait_metric("portcullis_sessions_active{protocol=\"rdp\"}", 1.0);
        wait_for("the text to be pasted on the desktop", || {
            desk.press("shift+Insert");
            machine.desktop.typed().windows(9).any(|part| part == b"from here").then_some(())
        });
        machine.desktop.copy("from there");
        wait_for("the text to be on this side", || (clipboard(desk) == "from there").then_some(()));
        desk.shot("rdp-clipboard");
    });
}

#[test]
fn devices_and_sound_are_as_in_a_direct_connection() {
    if !require::kernel() || !rdp::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Shadow::start(&folder.path().join("shadow"), Security::Tls);
        let (_gateway, broker) = broker(folder.path(), machine.port);
        let drive = format!("/drive:lab,{}", folder.path().display());
        let shared = [
            &drive,
            "+clipboard",
            "/printer:labprinter",
            "/smartcard",
            "/serial:COM,/dev/null",
            "/parallel:LPT,/dev/null",
            "/sound:sys:fake",
            "/microphone:sys:oss",
            "/video",
        ];
        let straight = format!("/v:127.0.0.1:{}", machine.port);
        let direct = Seat::take(&folder.path().join("direct"), &straight, &shared);
        let (address, blob) = (format!("/v:{}", broker.endpoint), format!("/pcb:{}", broker.token));
        let more = [&shared[..], &[&blob]].concat();
        let relayed = Seat::take(&folder.path().join("relayed"), &address, &more);
        let expected = [
            "device service drive [lab]",
            "device service printer [labprinter]",
            "device service smartcard",
            "device service serial [COM]",
            "device service parallel [LPT]",
            "Server Audio Formats",
            "Client Audio Formats",
            "QualityMode",
            "ChannelName=AUDIO_INPUT",
            "loading channelEx cliprdr",
        ];
        wait_for("the same channels in both", || {
            let (direct, relayed) = (direct.channels(), relayed.channels());
            let has = |wanted: &&str| relayed.iter().any(|said| said.contains(*wanted));
            (direct == relayed && expected.iter().all(has)).then_some(())
        });
        relayed.desk.shot("rdp-sharing");
    });
}
