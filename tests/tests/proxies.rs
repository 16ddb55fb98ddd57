//! Reverse proxies of others in front of the gateway, with TLS and without, and whom they speak for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use portcullis_tests::gateway::{ADDRESS, Broker, Gateway};
use portcullis_tests::proxy::{self, Proxy};
use portcullis_tests::target::{Target, connect};
use portcullis_tests::tls::{Authority, begin_on};
use portcullis_tests::websocket::{Socket, connect_from, echoes, open_on};
use portcullis_tests::{PATIENCE, behind_every_gate, require, wait_for};
use serde_json::json;

behind_every_gate!(
    haproxy_by_its_own_protocol,
    haproxy_by_http,
    nginx_by_http,
    nobody_else_speaks_for_a_client,
    who_is_spoken_for_is_judged,
    what_a_proxy_says_badly_is_refused,
);

/// Where clients of the proxies are; proxies themselves come from 127.0.0.1.
const CLIENT: &str = "127.0.0.9";
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1/32\"]";

struct Bench {
    folder: tempfile::TempDir,
    authority: Authority,
    gateway: Gateway,
    broker: Broker,
    /// Certificate and key of a proxy, in one file.
    pem: PathBuf,
}

fn bench(backend: &str, more: &[&str]) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path());
    let lines = authority.issue(&[ADDRESS, "127.0.0.1"]);
    let lines: Vec<_> = lines.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let gateway = Gateway::start(folder.path(), backend, &lines);
    let pem = folder.path().join("proxy.pem");
    let files = ["certificate", "key"].map(|name| std::fs::read(folder.path().join(name)).expect("reads"));
    std::fs::write(&pem, files.concat()).expect("writes");
    let broker = gateway.open(Target::new().echo());
    Bench { folder, authority, gateway, broker, pem }
}

impl Bench {
    /// The broker once more, with a further ticket.
    fn further(&self) -> Broker {
        let wish = json!({ "instance_id": self.broker.instance(), "reuse": true });
        let (status, answer) = self.gateway.api().post("/v1/brokers", &wish);
        assert_eq!((status, &answer["broker_id"]), (201, &json!(self.broker.id)), "{answer}");
        Broker::read(answer)
    }

    /// A session through `proxy`, whose clients speak TLS or not, is that of the client behind it.
    fn goes_through(&self, proxy: &Proxy, tls: bool) {
        let stream = connect_from(CLIENT, proxy.endpoint);
        if tls {
            let config = self.authority.client(rustls::ALL_VERSIONS);
            self.is_of_the_client(begin_on(config, stream, "127.0.0.1"), proxy.endpoint);
        } else {
            self.is_of_the_client(stream, proxy.endpoint);
        }
    }

    fn is_of_the_client<S: Read + Write>(&self, stream: S, endpoint: SocketAddr) {
        let socket = open_on(stream, endpoint, Some(&self.further().token));
        let mut socket: Socket<S> = socket.expect("a session");
        echoes(&mut socket, &[7; 100_000]);
        assert_eq!(self.live_client(), CLIENT);
        socket.close(None).expect("closes");
        while socket.read().is_ok() {}
        self.gateway.wait_metric("portcullis_connections_active", 0.0);
    }

    /// Whose the one session is that runs.
    fn live_client(&self) -> String {
        wait_for("one session", || {
            let (_, live) = self.gateway.api().get("/v1/sessions?state=live");
            let sessions = live["items"].as_array().expect("a list");
            (sessions.len() == 1).then(|| sessions[0]["client"].as_str().expect("text").to_owned())
        })
    }

    /// What is answered to a connection from 127.0.0.1 that begins with `first`, and then asks for a session.
    fn answered(&self, first: &str, headers: &str) -> (TcpStream, String) {
        let mut stream = connect(self.broker.endpoint, PATIENCE).expect("the port is open");
        let asked = format!(
            "{first}GET /?token={} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
            self.further().token
        );
        stream.write_all(asked.as_bytes()).expect("writes");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        (stream, String::from_utf8_lossy(&status[9..]).into_owned())
    }
}

/// Both ways that clients come to a proxy: what stands behind its `bind`, and whether it is TLS.
fn fronts(pem: &Path) -> [(String, bool); 2] {
    [(String::new(), false), (format!("ssl crt {}", pem.display()), true)]
}

fn haproxy_by_its_own_protocol(backend: &str) {
    if !require::file(proxy::HAPROXY[0], proxy::HAPROXY[1]) {
        return;
    }
    let bench = bench(backend, &[TRUSTED]);
    for back in ["send-proxy", "send-proxy-v2", "send-proxy ssl verify none", "send-proxy-v2 ssl verify none"]
    {
        for (front, tls) in fronts(&bench.pem) {
            let proxy = proxy::haproxy(bench.folder.path(), "tcp", &front, bench.broker.endpoint, back);
            bench.goes_through(&proxy, tls);
        }
    }
}

fn haproxy_by_http(backend: &str) {
    if !require::file(proxy::HAPROXY[0], proxy::HAPROXY[1]) {
        return;
    }
    let bench = bench(backend, &[TRUSTED]);
    for back in ["", "ssl verify none"] {
        for (front, tls) in fronts(&bench.pem) {
            let proxy = proxy::haproxy(bench.folder.path(), "http", &front, bench.broker.endpoint, back);
            bench.goes_through(&proxy, tls);
        }
    }
}

fn nginx_by_http(backend: &str) {
    if !require::file(proxy::NGINX[0], proxy::NGINX[1]) {
        return;
    }
    let bench = bench(backend, &[TRUSTED]);
    for scheme in ["http", "https"] {
        for certificate in [None, Some(bench.pem.as_path())] {
            let proxy = proxy::nginx(bench.folder.path(), certificate, scheme, bench.broker.endpoint);
            bench.goes_through(&proxy, certificate.is_some());
        }
    }
}

const SPEAKS_FOR: &str = "X-Forwarded-For: 127.0.0.9\r\n";

fn nobody_else_speaks_for_a_client(backend: &str) {
    let bench = bench(backend, &["trusted_proxies = [\"127.0.0.2/32\"]"]);
    let (_session, status) = bench.answered("", SPEAKS_FOR);
    assert_eq!((status.as_str(), bench.live_client().as_str()), ("101", "127.0.0.1"));
    assert_eq!(bench.answered("PROXY TCP4 127.0.0.9 127.0.80.1 1 2\r\n", "").1, "400");
}

fn who_is_spoken_for_is_judged(backend: &str) {
    let mut bench = bench(backend, &[TRUSTED]);
    let wish = json!({ "instance_id": bench.broker.instance(), "client": "127.0.0.9/32" });
    let (status, answer) = bench.gateway.api().post("/v1/brokers", &wish);
    assert_eq!(status, 201, "{answer}");
    bench.broker = Broker::read(answer);
    let ask = |first: &str, headers: &str| {
        let further =
            json!({ "instance_id": bench.broker.instance(), "client": "127.0.0.9/32", "reuse": true });
        let broker = Broker::read(bench.gateway.api().post("/v1/brokers", &further).1);
        let mut stream = connect(broker.endpoint, PATIENCE).expect("the proxy is let in");
        let request = format!("GET /status?token={} HTTP/1.1\r\nHost: x\r\n{headers}\r\n", broker.token);
        stream.write_all(format!("{first}{request}").as_bytes()).expect("writes");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    for (first, headers, status) in [
        ("PROXY TCP4 127.0.0.9 127.0.80.1 1 2\r\n", "", "200"),
        ("PROXY TCP4 127.0.0.8 127.0.80.1 1 2\r\n", "", "403"),
        ("", SPEAKS_FOR, "200"),
        ("", "X-Forwarded-For: 127.0.0.9, 127.0.0.8\r\n", "403"),
        ("", "X-Forwarded-For: 127.0.0.9, unknown\r\n", "403"),
        ("", "", "403"),
    ] {
        assert_eq!(ask(first, headers), status, "{first} {headers}");
    }
}

fn what_a_proxy_says_badly_is_refused(backend: &str) {
    let bench = bench(backend, &[TRUSTED, "session.first_byte_s = 1"]);
    assert_eq!(bench.answered("PROXY TCP4 nonsense\r\n", "").1, "400");
    let mut stream = connect(bench.broker.endpoint, PATIENCE).expect("the port is open");
    stream.write_all(b"PROXY TCP4 127.0").expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}
