//! One table for bad input, of the API and of broker ports: each row is answered as it says, and afterwards
//! the gateway holds what it held before.

use std::io::{Read, Write};
use std::net::SocketAddr;

use portcullis_tests::gateway::{BODY_MAX, Broker, Gateway, padded};
use portcullis_tests::state::State;
use portcullis_tests::target::{Target, connect};
use portcullis_tests::websocket::{echoes, open};
use portcullis_tests::{PATIENCE, behind_every_gate};
use serde_json::json;

behind_every_gate!(bad_calls_are_refused_and_change_nothing, bad_clients_are_refused_and_change_nothing);

/// What is sent, and the status and code of the answer; status 0 is an end without an answer in HTTP.
type Row = (String, Vec<u8>, u16, &'static str);

/// A gateway with an instance, a broker and a session of it.
struct Bench {
    _folder: tempfile::TempDir,
    gateway: Gateway,
    broker: Broker,
}

fn bench(backend: &str) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    // The session that lasts through all rows answers no pings.
    let times = ["broker.ttl_s = 3600", "session.peer_timeout_s = 0"];
    let gateway = Gateway::start(folder.path(), backend, &times);
    let broker = gateway.open(Target::new().echo());
    Bench { _folder: folder, gateway, broker }
}

fn check(bench: &Bench, endpoint: SocketAddr, rows: Vec<Row>) {
    // Without traffic so far, which would be recorded at any time from now on.
    let mut session = open(&bench.broker).expect("a session");
    let before = State::of(&bench.gateway);
    for (what, sent, status, code) in rows {
        let answer = answer(endpoint, &sent);
        let shown = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status_of(&shown), status, "{what}: {shown:?}");
        assert!(code.is_empty() || shown.contains(&format!("\"code\":\"{code}\"")), "{what}: {shown:?}");
        before.comes_back(&bench.gateway, &what);
    }
    echoes(&mut session, b"still here");
    assert!(!bench.gateway.log().contains("panicked"), "{}", bench.gateway.log());
}

/// All that comes back, until the other side ends it. A reset is an end too: what was sent may not have been
/// read.
fn answer(endpoint: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut stream = connect(endpoint, PATIENCE).expect("the port is open");
    // The other side may have ended it before it has read all.
    let _ = stream.write_all(sent);
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => return answer,
            Ok(len) => answer.extend_from_slice(&part[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(error) => panic!("no end: {error}"),
        }
    }
}

fn status_of(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").or_else(|| answer.strip_prefix("HTTP/1.0 "));
    status.and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}

/// A request of the API.
struct Call<'a>(&'a str);

impl Call<'_> {
    fn with(&self, line: &str, headers: &str, body: &str) -> Vec<u8> {
        let key = self.0;
        let length = body.len();
        format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {key}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    fn json(&self, line: &str, body: &str) -> Vec<u8> {
        self.with(line, "Content-Type: application/json\r\n", body)
    }

    fn form(&self, body: &str) -> Vec<u8> {
        self.with("POST /iaas/", "Content-Type: application/x-www-form-urlencoded\r\n", body)
    }
}

fn bad_calls_are_refused_and_change_nothing(backend: &str) {
    let bench = bench(backend);
    let api = bench.gateway.ready("api");
    let endpoint = api.strip_prefix("http://").expect("a URL").parse().expect("an address");
    let (key, id) = (bench.gateway.api().key.as_str(), bench.broker.instance());
    let mut rows = without_the_key(key);
    rows.extend(bad_paths(key));
    rows.extend(bad_brokers(key, id));
    rows.extend(bad_instances(key));
    rows.extend(bad_actions(key, id));
    rows.extend(no_http(key));
    check(&bench, endpoint, rows);
}

fn row(what: &str, sent: Vec<u8>, status: u16, code: &'static str) -> Row {
    (what.to_owned(), sent, status, code)
}

fn without_the_key(key: &str) -> Vec<Row> {
    let cases = [
        ("", "no_key"),
        ("X-API-Key: \r\n", "wrong_key"),
        ("X-API-Key: wrong\r\n", "wrong_key"),
        ("X-API-Key: \u{e4}\r\n", "no_key"),
        (&format!("X-API-Key: {}\r\n", key.to_uppercase() + "x"), "wrong_key"),
        (&format!("X-API-Key: wrong\r\nX-API-Key: {key}\r\n"), "wrong_key"),
        ("Authorization: Basic eDp5\r\n", "no_key"),
        ("Authorization: Bearer wrong\r\n", "wrong_key"),
        (&format!("Authorization: {key}\r\n"), "no_key"),
        (&format!("Cookie: X-API-Key={key}\r\n"), "no_key"),
    ];
    let mut rows = Vec::new();
    for (headers, code) in cases {
        for line in ["GET /v1/brokers", "GET /nothing", "GET /iaas/?action=DescribeBrokers"] {
            let sent = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
            rows.push(row(&sent, sent.clone().into_bytes(), 401, code));
        }
    }
    rows
}

fn bad_paths(key: &str) -> Vec<Row> {
    let call = Call(key);
    let mut rows = Vec::new();
    for (line, status, code) in [
        ("GET /nowhere", 404, "no_such_call"),
        ("GET /v1", 404, "no_such_call"),
        ("GET /v1/brokers/", 404, "no_such_call"),
        ("GET /v1/brokers/b-0/more", 404, "no_such_call"),
        ("GET //v1/brokers", 404, "no_such_call"),
        ("GET /v1/../v1/brokers", 404, "no_such_call"),
        ("GET /V1/brokers", 404, "no_such_call"),
        ("GET /iaas", 404, "no_such_call"),
        ("GET /metrics", 404, "no_such_call"),
        ("GET /v1/brokers/%00", 404, "no_broker"),
        ("GET /v1/brokers/%ff", 400, "bad_request"),
        ("GET /v1/brokers/..%2f..%2fetc%2fpasswd", 404, "no_broker"),
        ("DELETE /v1/brokers/'%20OR%201=1--", 404, "no_broker"),
        ("GET /v1/instances/%00", 404, "no_instance"),
        ("GET /v1/instances/%c3%28", 400, "bad_request"),
        ("DELETE /v1/instances/%27%3B%20DROP%20TABLE%20instance", 404, "no_instance"),
        ("GET /v1/sessions/%ff", 400, "bad_request"),
        ("DELETE /v1/sessions/s-0", 404, "no_session"),
        ("GET /v1/brokers?limit=0", 400, "bad_request"),
        ("GET /v1/brokers?limit=1001", 400, "bad_request"),
        ("GET /v1/brokers?limit=-1", 400, "bad_request"),
        ("GET /v1/brokers?limit=1e3", 400, "bad_request"),
        ("GET /v1/brokers?limit=18446744073709551616", 400, "bad_request"),
        ("GET /v1/brokers?limit=", 400, "bad_request"),
        ("GET /v1/brokers?limit=1&limit=2", 400, "bad_request"),
        ("GET /v1/brokers?after=a&after=b", 400, "bad_request"),
        ("GET /v1/brokers?after=%ff", 400, "bad_request"),
        ("GET /v1/instances?offset=1", 400, "bad_request"),
        ("GET /v1/sessions?state=dead", 400, "bad_request"),
        ("GET /v1/sessions?state=LIVE", 400, "bad_request"),
        ("GET /v1/sessions?%73tate=live&state=live", 400, "bad_request"),
        ("DELETE /v1/brokers", 405, "method_not_allowed"),
        ("PUT /v1/brokers", 405, "method_not_allowed"),
        ("PATCH /v1/instances/i-1", 405, "method_not_allowed"),
        ("POST /v1/sessions", 405, "method_not_allowed"),
        ("POST /v1/events", 405, "method_not_allowed"),
        ("POST /openapi.json", 405, "method_not_allowed"),
        ("PUT /iaas/", 405, "method_not_allowed"),
        ("OPTIONS /v1/brokers", 405, "method_not_allowed"),
        ("TRACE /v1/brokers", 405, "method_not_allowed"),
        ("BREW /v1/brokers", 405, "method_not_allowed"),
        ("CONNECT 10.0.0.7:5901", 404, "no_such_call"),
    ] {
        rows.push(row(line, call.with(line, "", ""), status, code));
    }
    let long = format!("GET /v1/instances/{}", "x".repeat(10_000));
    rows.push(row("a long id", call.with(&long, "", ""), 404, "no_instance"));
    rows
}

fn bad_brokers(key: &str, id: &str) -> Vec<Row> {
    let call = Call(key);
    let mut rows = Vec::new();
    for (body, status, code) in [
        ("", 400, "bad_request"),
        ("{", 400, "bad_request"),
        ("null", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        ("\"i-1\"", 400, "bad_request"),
        ("{}", 400, "bad_request"),
        ("{\"instance_id\": null}", 400, "bad_request"),
        ("{\"instance_id\": 7}", 400, "bad_request"),
        ("{\"instance_id\": [\"ID\"]}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\"} {}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"instance_id\": \"ID\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"colour\": \"red\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"ttl_s\": 0}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"ttl_s\": 86401}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"ttl_s\": -1}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"ttl_s\": 1.5}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"ttl_s\": \"60\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"ttl_s\": 1e99}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"reuse\": 1}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"tickets\": \"optional\"}", 400, "bad_request"),
        (
            "{\"instance_id\": \"ID\", \"tickets\": \"Optional\", \"client\": \"10.0.0.1\"}",
            400,
            "bad_request",
        ),
        ("{\"instance_id\": \"ID\", \"tickets\": true}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"client\": \"\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"client\": \"10.0.0.1/33\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"client\": \"10.0.0\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"client\": \"10.0.0.1/-1\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"client\": \"010.0.0.1\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"client\": \"fe80::1%lo\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"client\": \"::/129\"}", 400, "bad_request"),
        ("{\"instance_id\": \"ID\", \"client\": \"localhost\"}", 400, "bad_request"),
        ("{\"instance_id\": \"\"}", 404, "no_instance"),
        ("{\"instance_id\": \"i-0\"}", 404, "no_instance"),
        ("{\"instance_id\": \"id\\u0000\"}", 404, "no_instance"),
        ("{\"instance_id\": \"\\ud800\"}", 400, "bad_request"),
        ("{\"instance_id\": \"'; DROP TABLE broker; --\"}", 404, "no_instance"),
    ] {
        rows.push(row(body, call.json("POST /v1/brokers", &body.replace("ID", id)), status, code));
    }
    let nested = "[".repeat(60_000);
    rows.push(row("a deep body", call.json("POST /v1/brokers", &nested), 400, "bad_request"));
    let large = padded("{\"instance_id\": \"", "\"}", BODY_MAX + 1);
    rows.push(row("a large body", call.json("POST /v1/brokers", &large), 413, "too_large"));
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let headers = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let body = json!({ "instance_id": id }).to_string();
        rows.push(row(&headers, call.with("POST /v1/brokers", &headers, &body), 415, "not_json"));
    }
    rows
}

fn bad_instances(key: &str) -> Vec<Row> {
    let call = Call(key);
    let sound = json!({ "host": "h", "graphics_port": 5900, "graphics_protocol": "vnc" });
    let mut rows = Vec::new();
    for (field, value) in [
        ("host", json!(null)),
        ("host", json!("")),
        ("host", json!("a b")),
        ("host", json!("a/b")),
        ("host", json!("h\0")),
        ("host", json!("h".repeat(256))),
        ("graphics_port", json!(0)),
        ("graphics_port", json!(65_536)),
        ("graphics_port", json!(-1)),
        ("graphics_port", json!("5900")),
        ("graphics_port", json!(5900.5)),
        ("graphics_protocol", json!("telnet")),
        ("graphics_protocol", json!("VNC")),
        ("hypervisor", json!("xen")),
        ("hypervisor", json!("")),
        ("graphics_passwd", json!(7)),
        ("instance_id", json!("i-3")),
        ("colour", json!("red")),
    ] {
        let mut body = sound.clone();
        body[field] = value;
        let body = body.to_string();
        rows.push(row(&body, call.json("PUT /v1/instances/i-2", &body), 400, "bad_request"));
        // As one of many: the good one is not written either.
        let mut import = json!({ "instances": [sound.clone(), serde_json::from_str::<serde_json::Value>(&body).expect("JSON")] });
        import["instances"][0]["instance_id"] = json!("i-4");
        if field != "instance_id" {
            import["instances"][1]["instance_id"] = json!("i-5");
            let import = import.to_string();
            rows.push(row(&import, call.json("POST /v1/instances", &import), 400, "bad_request"));
        }
    }
    let (sound, long) = (sound.to_string(), format!("PUT /v1/instances/{}", "x".repeat(256)));
    for line in ["PUT /v1/instances/%00", "PUT /v1/instances/a%0ab", "PUT /v1/instances/%ff", &long] {
        rows.push(row(line, call.json(line, &sound), 400, "bad_request"));
    }
    for body in ["{}", "{\"instances\": {}}", "{\"instances\": [{}]}", "{\"instances\": [7]}", "[]"] {
        rows.push(row(body, call.json("POST /v1/instances", body), 400, "bad_request"));
    }
    let twice = format!("{{\"instances\": [{0}, {0}]}}", sound.replace("{", "{\"instance_id\": \"i-2\", "));
    rows.push(row(&twice, call.json("POST /v1/instances", &twice), 400, "bad_request"));
    rows
}

fn bad_actions(key: &str, id: &str) -> Vec<Row> {
    let call = Call(key);
    let mut rows = Vec::new();
    for (query, status, code) in [
        ("", 400, "bad_request"),
        ("action=", 404, "no_such_call"),
        ("action=createbrokers&instances.1=ID", 404, "no_such_call"),
        ("action=RunInstances", 404, "no_such_call"),
        ("action=CreateBrokers", 400, "bad_request"),
        ("action=CreateBrokers&action=CreateBrokers&instances.1=ID", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&instances.1=ID", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&instances.01=ID", 400, "bad_request"),
        ("action=CreateBrokers&instances.x=ID", 400, "bad_request"),
        ("action=CreateBrokers&instances.4294967296=ID", 400, "bad_request"),
        ("action=CreateBrokers&instances=ID", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&colour=red", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&ttl_s=0", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&ttl_s=x", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&reuse=yes", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&tickets=optional", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&tickets=none&client=10.0.0.1", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&client=x", 400, "bad_request"),
        ("action=CreateBrokers&instances.1=ID&instances.2=i-0", 404, "no_instance"),
        ("action=CreateBrokers&instances.1=%00", 404, "no_instance"),
        ("action=CreateBrokers&instances.1=%ff", 400, "bad_request"),
        ("action=DeleteBrokers", 400, "bad_request"),
        ("action=DeleteBrokers&brokers.1=b-0", 404, "no_broker"),
        ("action=DeleteBrokers&brokers.1=BROKER&brokers.2=b-0", 404, "no_broker"),
        ("action=DescribeBrokers&limit=0", 400, "bad_request"),
        ("action=DescribeBrokers&limit=1001", 400, "bad_request"),
        ("action=DescribeInstances&offset=-1", 400, "bad_request"),
        ("action=DescribeInstances&offset=4294967296", 400, "bad_request"),
        ("action=DescribeInstances&verbose=1", 400, "bad_request"),
    ] {
        let query = query.replace("ID", id);
        rows.push(row(&query, call.with(&format!("GET /iaas/?{query}"), "", ""), status, code));
        rows.push(row(&query, call.form(&query), status, code));
    }
    let many: String = (0..=100).map(|n| format!("&instances.{n}={id}")).collect();
    rows.push(row("101 instances", call.form(&format!("action=CreateBrokers{many}")), 400, "bad_request"));
    let large = padded("action=CreateBrokers&instances.1=", "", BODY_MAX + 1);
    rows.push(row("a large form", call.form(&large), 413, "too_large"));
    let json = call.json("POST /iaas/", "{\"action\": \"CreateBrokers\"}");
    rows.push(row("a form in JSON", json, 415, "not_form"));
    rows
}

/// What is hardly a request, or none, comes to the API like anywhere. The key does not help it.
fn no_http(key: &str) -> Vec<Row> {
    let keyed = |line: &str| format!("{line}\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n").into_bytes();
    vec![
        row("garbage", b"\x01\x02\x03\r\n\r\n".to_vec(), 400, ""),
        row("zeros", vec![0; 100_000], 400, ""),
        row("HTTP/0.9", b"GET /v1/brokers\r\n\r\n".to_vec(), 400, ""),
        row("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 0, ""),
        row("TLS", TLS_HELLO.to_vec(), 400, ""),
        row("a zero byte in the path", keyed("GET /v1/\0brokers HTTP/1.1"), 400, ""),
        row(
            "no UTF-8 in the path",
            [b"GET /v1/\xff HTTP/1.1\r\n".as_slice(), &keyed("X: y")].concat(),
            400,
            "",
        ),
        row(
            "a head too long",
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(500_000)).into_bytes(),
            431,
            "",
        ),
        row(
            "two lengths",
            keyed("POST /v1/brokers HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2"),
            400,
            "",
        ),
        row("no length", keyed("POST /v1/brokers HTTP/1.1\r\nContent-Length: x"), 400, ""),
    ]
}

/// The beginning of a TLS handshake (RFC 8446 section 5.1), whole in itself.
const TLS_HELLO: &[u8] = &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3];

fn upgrade(line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

/// A handshake that is good but for what is put in.
fn handshake(path: &str, more: &str) -> Vec<u8> {
    let good = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    upgrade(&format!("GET {path} HTTP/1.1"), &format!("{good}{more}"))
}

fn bad_clients_are_refused_and_change_nothing(backend: &str) {
    let bench = bench(backend);
    let endpoint = bench.broker.endpoint;
    let mut rows = bad_beginnings();
    rows.extend(bad_handshakes());
    rows.extend(bad_tickets(&bench.broker));
    check(&bench, endpoint, rows);
}

fn bad_beginnings() -> Vec<Row> {
    vec![
        row("garbage", b"\x01\x02\x03\r\n\r\n".to_vec(), 400, "bad_handshake"),
        row("zeros", vec![0; 100_000], 400, "bad_handshake"),
        row("RFB", b"RFB 003.008\n\r\n\r\n".to_vec(), 0, ""),
        row("HTTP/0.9", b"GET /\r\n\r\n".to_vec(), 400, "bad_handshake"),
        row("HTTP/1.0", upgrade("GET / HTTP/1.0", ""), 400, "bad_handshake"),
        row("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 400, "bad_handshake"),
        row("TLS where it is off", TLS_HELLO.to_vec(), 0, ""),
        row("SSH", b"SSH-2.0-x\r\n".to_vec(), 400, "bad_handshake"),
        row("POST", upgrade("POST / HTTP/1.1", ""), 400, "bad_handshake"),
        row("CONNECT", upgrade("CONNECT 10.0.0.7:5901 HTTP/1.1", ""), 403, "wrong_name"),
        row("a zero byte", upgrade("GET /\0 HTTP/1.1", ""), 400, "bad_handshake"),
        row("a header without a name", upgrade("GET / HTTP/1.1", ": x\r\n"), 400, "bad_handshake"),
        row(
            "a long head",
            upgrade("GET / HTTP/1.1", &format!("X: {}\r\n", "x".repeat(20_000))),
            431,
            "head_too_long",
        ),
        row("many headers", upgrade("GET / HTTP/1.1", &"X: y\r\n".repeat(500)), 400, "bad_handshake"),
        row("an endless method", vec![b'G'; 20_000], 400, "bad_handshake"),
        row("an endless line", [&b"GET "[..], &[b'G'; 20_000]].concat(), 431, "head_too_long"),
        row("no page", upgrade("GET /nothing HTTP/1.1", ""), 404, "no_page"),
        row("a way out", upgrade("GET /../../etc/passwd HTTP/1.1", ""), 404, "no_page"),
        row("a way out, encoded", upgrade("GET /%2e%2e/etc/passwd HTTP/1.1", ""), 404, "no_page"),
    ]
}

fn bad_handshakes() -> Vec<Row> {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let both = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let rows = [
        "Upgrade: websocket\r\n".to_owned(),
        format!("Upgrade: websocket\r\n{version}{key}"),
        format!("Upgrade: h2c\r\nConnection: Upgrade\r\n{version}{key}"),
        format!("Upgrade: websocket\r\nConnection: close\r\n{version}{key}"),
        format!("{both}{version}"),
        format!("{both}{key}"),
        format!("{both}{key}Sec-WebSocket-Version: 12\r\n"),
        format!("{both}{key}Sec-WebSocket-Version: x\r\n"),
        format!("{both}{version}Sec-WebSocket-Key: short\r\n"),
        format!("{both}{version}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=\r\n"),
    ];
    let refused =
        |headers: &String| row(headers, upgrade("GET /websockify HTTP/1.1", headers), 400, "bad_handshake");
    rows.iter().map(refused).collect()
}

fn bad_tickets(broker: &Broker) -> Vec<Row> {
    let token = &broker.token;
    let cut = &token[..63];
    let (upper, origin) = (token.to_uppercase(), "Origin: http://evil\r\n");
    let cookie = format!("Cookie: portcullis_{}={token}\r\n{origin}", broker.id);
    vec![
        row("no ticket", handshake("/websockify", ""), 401, "no_ticket"),
        row("an empty ticket", handshake("/websockify?token=", ""), 401, "no_ticket"),
        row("a ticket of another name", handshake(&format!("/?ticket={token}"), ""), 401, "no_ticket"),
        row("Basic", handshake("/", &format!("Authorization: Basic {token}\r\n")), 401, "no_ticket"),
        row("a ticket cut short", handshake(&format!("/?token={cut}"), ""), 403, "wrong_ticket"),
        row("a ticket and more", handshake(&format!("/?token={token}0"), ""), 403, "wrong_ticket"),
        row("a ticket in capitals", handshake(&format!("/?token={upper}"), ""), 403, "wrong_ticket"),
        row(
            "a ticket, encoded",
            handshake(&format!("/?token=%{:02x}{}", token.as_bytes()[0], &token[1..]), ""),
            403,
            "wrong_ticket",
        ),
        row("two tickets", handshake(&format!("/?token=0&token={token}"), ""), 403, "wrong_ticket"),
        row("SQL", handshake("/?token='--", ""), 403, "wrong_ticket"),
        row("a long ticket", handshake(&format!("/?token={}", "0".repeat(10_000)), ""), 403, "wrong_ticket"),
        row("a strange page's cookie", handshake("/", &cookie), 403, "wrong_origin"),
        row("a strange page's cookie, status", upgrade("GET /status HTTP/1.1", &cookie), 403, "wrong_origin"),
        row("status without a ticket", upgrade("GET /status HTTP/1.1", ""), 401, "no_ticket"),
    ]
}
