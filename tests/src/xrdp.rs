//! An RDP server of another make: xrdp, before TigerVNC's desktop. Unlike FreeRDP's it shares the clipboard, and with a
//! VNC server behind it needs no account.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Guarded, at_home};
use crate::tigervnc::{self, Desktop, free_port};
use crate::{PATIENCE, require, target, wait_for};

/// Whether it is here.
pub fn is_here() -> bool {
    tigervnc::is_here() && require::file("/usr/sbin/xrdp", "xrdp")
}

/// Of the desktop behind it, which only it knows.
const PASSWORD: &str = "inside12";

/// A desktop behind RDP by TLS.
pub struct Xrdp {
    // Before the desktop, so that it ends first.
    _server: Guarded,
    /// What it shows.
    pub desktop: Desktop,
    /// TCP port of its RDP server, on loopback.
    pub port: u16,
}

impl Xrdp {
    /// Starts one in the network namespace of the caller; its files are in `folder`, which is to be its own.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let desktop = Desktop::start(folder, PASSWORD);
        let port = free_port(3_389);
        std::fs::write(folder.join("xrdp.ini"), settings(folder, desktop.vnc_port, port)).expect("writes");
        let server = server(folder);
        wait_for("xrdp", || target::connect(([127, 0, 0, 1], port).into(), PATIENCE).ok());
        Self { _server: server, desktop, port }
    }
}

/// Its settings: TLS by a certificate of its own, and one desktop that everybody gets.
fn settings(folder: &Path, vnc_port: u16, port: u16) -> String {
    let own = rcgen::generate_simple_self_signed(["desk.example".to_owned()]).expect("a certificate");
    let files = [("certificate", own.cert.pem()), ("key_file", own.signing_key.serialize_pem())];
    let files = files.map(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writes");
        format!("{name}={}", path.display())
    });
    format!(
        "[Globals]\nini_version=1\nfork=false\nport=tcp://127.0.0.1:{port}\nsecurity_layer=tls\n{}\n\
         ssl_protocols=TLSv1.2, TLSv1.3\nautorun=desk\nallow_channels=true\nmax_bpp=32\n\
         [Logging]\nLogFile={}\nLogLevel=DEBUG\nEnableSyslog=false\n\
         [Channels]\nrdpdr=true\nrdpsnd=true\ndrdynvc=true\ncliprdr=true\n\
         [desk]\nname=desk\nlib=libvnc.so\nip=127.0.0.1\nport={vnc_port}\nusername=na\npassword={PASSWORD}\n",
        files.join("\n"),
        folder.join("xrdp.log").display(),
    )
}

/// The server. What it writes beside its log is in a `/run` of its own, which is gone with it.
fn server(folder: &Path) -> Guarded {
    let log = File::create(folder.join("xrdp.out")).expect("a log");
    let inside = "mount -t tmpfs none /run && exec xrdp -n -c \"$0\"";
    let mut command = Command::new("unshare");
    at_home(&mut command, folder)
        .args(["--mount", "sh", "-c", inside])
        .arg(folder.join("xrdp.ini"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log);
    Guarded::start(&mut command)
}
