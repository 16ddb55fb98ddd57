//! Reverse proxies in front of a gateway: haproxy and nginx, as their packages bring them.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::Guarded;
use crate::{target, wait_for};

/// A proxy that runs. It is stopped when the value is dropped.
pub struct Proxy {
    _process: Guarded,
    /// Where its clients connect to.
    pub endpoint: SocketAddr,
}

/// Programs and packages.
pub const HAPROXY: [&str; 2] = ["/usr/sbin/haproxy", "haproxy"];
/// See [`HAPROXY`].
pub const NGINX: [&str; 2] = ["/usr/sbin/nginx", "nginx-light"];

/// haproxy with `front` behind its `bind`, which passes `mode` on to `gateway` with `back` behind its `server`.
///
/// # Panics
/// It does not start.
pub fn haproxy(folder: &Path, mode: &str, front: &str, gateway: SocketAddr, back: &str) -> Proxy {
    let endpoint = free();
    let forward = if mode == "http" { "option forwardfor" } else { "" };
    let config = format!(
        "defaults\n mode {mode}\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n \
         timeout tunnel 60s\n{forward}\nlisten front\n bind {endpoint} {front}\n server gateway {gateway} {back}\n"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).expect("writes");
    let mut command = Command::new(HAPROXY[0]);
    command.args(["-db", "-f"]).arg(&file);
    start(command, folder, endpoint)
}

/// nginx, which passes on to `gateway`, `https` or `http`; with a certificate and its key in one file where its
/// clients speak TLS. One process: workers outlive a master that is killed.
///
/// # Panics
/// It does not start.
pub fn nginx(folder: &Path, certificate: Option<&Path>, scheme: &str, gateway: SocketAddr) -> Proxy {
    let endpoint = free();
    let (ssl, files) = certificate.map_or(("", String::new()), |file| {
        (" ssl", format!("ssl_certificate {0}; ssl_certificate_key {0};", file.display()))
    });
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};", folder.join(kind).display()));
    let config = format!(
        "daemon off; master_process off; pid {pid}; error_log stderr; events {{}}\n\
         http {{ access_log off; {temporary}\n\
         server {{ listen {endpoint}{ssl}; {files}\n\
         location / {{ proxy_pass {scheme}://{gateway}; proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n\
         proxy_set_header Host $http_host; proxy_read_timeout 60s;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n",
        pid = folder.join("nginx.pid").display(),
        temporary = temporary.join(" "),
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).expect("writes");
    let mut command = Command::new(NGINX[0]);
    command.arg("-p").arg(folder).args(["-e", "stderr", "-c"]).arg(&file);
    start(command, folder, endpoint)
}

fn start(mut command: Command, folder: &Path, endpoint: SocketAddr) -> Proxy {
    let log = std::fs::File::create(folder.join("proxy.log")).expect("a log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let process = Guarded::start(&mut command);
    wait_for("the proxy to listen", || {
        assert!(process.lives(), "{}", std::fs::read_to_string(folder.join("proxy.log")).unwrap_or_default());
        target::connect(endpoint, crate::PATIENCE).ok()
    });
    Proxy { _process: process, endpoint }
}

/// A port of loopback that nobody has. In a namespace of the test's own nobody takes it meanwhile.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
