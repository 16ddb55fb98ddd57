//! The same requests to websockify 0.13 of PyPI and to `portcullis websockify`: the same status, headers and close
//! codes, but for what is meant to be better, which is listed here with its reason.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use portcullis_tests::dropin::{Dropin, PORT, answer, ask, endpoint, listens, ours, theirs, theirs_is_here};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::target::{self, Target};
use portcullis_tests::websocket::frame;
use portcullis_tests::{PATIENCE, require, wait_for};

/// What is asked, what websockify does, what we do instead, and why.
type Better = (&'static str, &'static str, &'static str, &'static str);

/// Silence and a closed connection.
const CLOSED: &str = "closed";

/// Headers whose values are compared.
const COMPARED: [&str; 7] = [
    "upgrade",
    "connection",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "www-authenticate",
    "location",
    "last-modified",
];

const UPGRADE: [&str; 5] = [
    "Host: x:6080",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// An upgrade at `path`, without the headers that begin with one of `less`, and with `more`.
fn upgrade(path: &str, less: &[&str], more: &[&str]) -> Vec<String> {
    let line = format!("GET {path} HTTP/1.1");
    let kept = UPGRADE.iter().filter(|header| !less.iter().any(|less| header.starts_with(less)));
    [line].into_iter().chain(kept.chain(more).map(|header| (*header).to_owned())).collect()
}

/// What comes back, as one line.
fn outcome(lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let Some(answer) = ask(&lines) else { return CLOSED.to_owned() };
    let headers = COMPARED.iter().filter_map(|name| {
        let value = answer.header(name)?;
        Some(format!("; {name}: {value}"))
    });
    // The body of an error is for people, and ours is for programs too.
    let body =
        if answer.status == 200 { String::from_utf8_lossy(&answer.body).into_owned() } else { String::new() };
    format!("{}{}{body}", answer.status, headers.collect::<String>())
}

/// How a session ends in which the client sends these bytes behind its upgrade: the payloads of the frames before
/// the close frame, and its code.
fn ends(sent: &[u8]) -> String {
    let mut stream = target::connect(endpoint(), PATIENCE).expect("the port is open");
    let head = upgrade("/", &[], &[]).join("\r\n");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).expect("writes");
    assert_eq!(answer(&mut stream).map(|answer| answer.status), Some(101));
    // Who ends it at the first frame reads no other.
    let _ = stream.write_all(sent);
    let mut said = String::new();
    loop {
        let mut head = [0; 2];
        if stream.read_exact(&mut head).is_err() {
            return format!("{said}no close");
        }
        let mut length = usize::from(head[1]);
        if length == 126 {
            let mut long = [0; 2];
            stream.read_exact(&mut long).expect("a length");
            length = u16::from_be_bytes(long).into();
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).expect("a payload");
        match (head[0] & 15, payload.as_slice()) {
            (8, []) => return format!("{said}empty close"),
            (8, [high, low, ..]) => return format!("{said}close {}", u16::from_be_bytes([*high, *low])),
            (opcode, _) => said += &format!("opcode {opcode} of {length}, "),
        }
    }
}

/// Asks both, which run with the same arguments, and compares.
fn check(folder: &Path, arguments: &[&str], better: &[Better], ask: impl Fn() -> Vec<(String, String)>) {
    let by = |command: &mut std::process::Command| {
        let relay = Dropin::run(folder, command);
        let said = ask();
        drop(relay);
        wait_for("the port to close", || (!listens(PORT)).then_some(()));
        said
    };
    let (theirs, ours) = (by(&mut theirs(arguments)), by(&mut ours(arguments)));
    let mut met = 0;
    for ((name, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        match better.iter().find(|(known, ..)| known == name) {
            Some((_, old, new, why)) => {
                assert_eq!((theirs.as_str(), ours.as_str()), (*old, *new), "{name}: {why}");
                met += 1;
            }
            None => assert_eq!(theirs, ours, "{name}: theirs, and ours"),
        }
    }
    assert_eq!(met, better.len(), "a difference is listed that nobody asks for");
}

fn alone(body: fn(&Path)) {
    if theirs_is_here() && require::root() {
        in_namespace(|| body(tempfile::tempdir().expect("a folder").path()));
    }
}

fn echo() -> String {
    format!("127.0.0.1:{}", Target::new().echo())
}

const OK_101: &str =
    "101; upgrade: websocket; connection: Upgrade; sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[test]
fn handshakes_are_answered_alike() {
    const OLD: &str = "drafts of the protocol from before 2012, which no browser speaks any more";
    const STRICT: &str = "what RFC 6455 section 4.2.1 asks for is asked for: caches in between rely on it";
    const LIBERAL: &str = "a list that websockify cannot read keeps nobody out";
    const BINARY: &str = "101; upgrade: websocket; connection: Upgrade; \
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=; sec-websocket-protocol: binary";
    const REFUSED: &str = "400; connection: close";
    let better = [
        ("version 8", OK_101, REFUSED, OLD),
        ("version 7", OK_101, REFUSED, OLD),
        ("without Connection", OK_101, REFUSED, STRICT),
        (
            "a short key",
            "101; upgrade: websocket; connection: Upgrade; sec-websocket-accept: JQHdhQRrQ3pd0VAHx7vMGlEiL+4=",
            REFUSED,
            STRICT,
        ),
        ("offers base64", REFUSED, OK_101, LIBERAL),
        ("offers chat", REFUSED, OK_101, LIBERAL),
        ("offers base64, binary", REFUSED, BINARY, LIBERAL),
    ];
    if !(theirs_is_here() && require::root()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        check(folder.path(), &["127.0.0.1:6080", &echo()], &better, || {
            let request = |line: &str, more: &[&str]| {
                let lines = [line, "Host: x", "Connection: close"].into_iter().chain(more.iter().copied());
                outcome(&lines.map(str::to_owned).collect::<Vec<_>>())
            };
            let mut by_post = upgrade("/", &[], &[]);
            by_post[0] = "POST / HTTP/1.1".to_owned();
            let version = |number: u8| {
                let version = format!("Sec-WebSocket-Version: {number}");
                outcome(&upgrade("/", &["Sec-WebSocket-Version"], &[&version]))
            };
            let mut said: Vec<(String, String)> = [
                ("an upgrade", outcome(&upgrade("/", &[], &[]))),
                ("any path", outcome(&upgrade("/a/b?c=d", &[], &[]))),
                ("GET", request("GET / HTTP/1.1", &[])),
                ("HEAD", request("HEAD / HTTP/1.1", &[])),
                ("POST", request("POST / HTTP/1.1", &["Content-Length: 0"])),
                ("an upgrade by POST", outcome(&by_post)),
                ("version 12", version(12)),
                ("version 8", version(8)),
                ("version 7", version(7)),
                ("no version", outcome(&upgrade("/", &["Sec-WebSocket-Version"], &[]))),
                ("no key", outcome(&upgrade("/", &["Sec-WebSocket-Key"], &[]))),
                (
                    "a short key",
                    outcome(&upgrade("/", &["Sec-WebSocket-Key"], &["Sec-WebSocket-Key: short"])),
                ),
                ("without Connection", outcome(&upgrade("/", &["Connection"], &[]))),
                (
                    "an extension",
                    outcome(&upgrade("/", &[], &["Sec-WebSocket-Extensions: permessage-deflate"])),
                ),
            ]
            .map(|(name, said)| (name.to_owned(), said))
            .into();
            for offer in [
                "binary",
                "binary, base64",
                "base64,binary",
                "binary,chat",
                "base64",
                "base64, binary",
                "chat",
            ] {
                let header = format!("Sec-WebSocket-Protocol: {offer}");
                said.push((format!("offers {offer}"), outcome(&upgrade("/", &[], &[&header]))));
            }
            said
        });
    });
}

#[test]
fn sessions_end_alike() {
    const TEXT: &str = "terminals send text, which is bytes to a target";
    const RFC: &str = "a close code that may not be sent is not sent back (RFC 6455 section 7.4)";
    const BITS: &str = "reserved bits mean nothing that was agreed on, and are not passed on (section 5.2)";
    const ERROR: &str = "what breaks the protocol is 1002, not 1003 (section 7.4.1)";
    let better = [
        ("text", "close 1003", "opcode 2 of 2, close 1000", TEXT),
        ("a close of one byte", "empty close", "close 1002", RFC),
        ("close 1005", "close 1005", "close 1002", RFC),
        ("close 999", "close 999", "close 1002", RFC),
        ("close 5000", "close 5000", "close 1002", RFC),
        ("a close with bad UTF-8", "close 1002", "close 1007", "that is what 1007 is for (section 7.4.1)"),
        ("a reserved bit", "opcode 2 of 2, close 1000", "close 1002", BITS),
        ("an unknown opcode", "close 1003", "close 1002", ERROR),
        ("a ping in fragments", "close 1003", "close 1002", ERROR),
        (
            "an empty first fragment",
            "close 1002",
            "opcode 2 of 2, close 1000",
            "a first fragment may be empty (section 5.4)",
        ),
        (
            "a long ping",
            "opcode 10 of 126, close 1000",
            "close 1002",
            "a control frame has at most 125 bytes (section 5.5)",
        ),
    ];
    if !(theirs_is_here() && require::root()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        check(folder.path(), &["127.0.0.1:6080", &echo()], &better, || {
            let close = |code: u16| frame(0x88, &code.to_be_bytes());
            let then_close = |sent: Vec<u8>| [sent, close(1000)].concat();
            [
                ("close 1000", close(1000)),
                ("close 1001", frame(0x88, b"\x03\xe9bye")),
                ("close 3000", close(3000)),
                ("close 4999", close(4999)),
                ("an empty close", frame(0x88, b"")),
                ("a close of one byte", frame(0x88, b"\x03")),
                ("close 1005", close(1005)),
                ("close 999", close(999)),
                ("close 5000", close(5000)),
                ("a close with bad UTF-8", frame(0x88, b"\x03\xe8\xff")),
                ("no mask", vec![0x82, 2, b'h', b'i']),
                ("a pong", then_close(frame(0x8a, b"yo"))),
                ("a long ping", then_close(frame(0x89, &[b'x'; 126]))),
                ("a ping in fragments", then_close(frame(0x09, b"yo"))),
                ("a continuation first", then_close(frame(0x80, b"hi"))),
                ("an unknown opcode", then_close(frame(0x83, b"hi"))),
                ("an empty message", then_close(frame(0x82, b""))),
            ]
            .map(|(name, sent)| (name.to_owned(), ends(&sent)))
            .into_iter()
            .chain(
                [
                    ("text", frame(0x81, b"hi")),
                    ("a reserved bit", frame(0xc2, b"hi")),
                    ("bytes", frame(0x82, b"hi")),
                    ("a ping", frame(0x89, b"hi")),
                    ("fragments", [frame(0x02, b"h"), frame(0x80, b"i")].concat()),
                    ("an empty first fragment", [frame(0x02, b""), frame(0x80, b"hi")].concat()),
                ]
                .map(|(name, sent)| (name.to_owned(), echoed(&sent))),
            )
            .collect()
        });
    });
}

/// The same, where the close frame is sent when the bytes came back: who closes at once may not wait for them.
fn echoed(sent: &[u8]) -> String {
    let mut stream = target::connect(endpoint(), PATIENCE).expect("the port is open");
    let head = upgrade("/", &[], &[]).join("\r\n");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).expect("writes");
    assert_eq!(answer(&mut stream).map(|answer| answer.status), Some(101));
    stream.write_all(sent).expect("writes");
    let (mut said, mut payload) = (String::new(), Vec::new());
    loop {
        let mut head = [0; 2];
        if stream.read_exact(&mut head).is_err() {
            return format!("{said}no close");
        }
        let mut part = vec![0; usize::from(head[1])];
        stream.read_exact(&mut part).expect("a payload");
        if head[0] & 15 == 8 {
            return format!("{said}close {}", u16::from_be_bytes([part[0], part[1]]));
        }
        payload.extend_from_slice(&part);
        if payload == b"hi" {
            said = format!("opcode {} of 2, ", head[0] & 15);
            stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).expect("writes");
        }
    }
}

#[test]
fn dead_and_ending_targets_are_told_alike() {
    alone(|folder| {
        let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let better = [(
            "a target that is not there",
            OK_101,
            "502; connection: close",
            "that the target is not there is told before 101, with a status: a page sees more than code 1006",
        )];
        check(folder, &["127.0.0.1:6080", &gone.to_string()], &better, || {
            vec![("a target that is not there".to_owned(), outcome(&upgrade("/", &[], &[])))]
        });
        let target = Target::new();
        let port = target.port();
        std::thread::spawn(move || {
            loop {
                drop(target.wait());
            }
        });
        check(folder, &["127.0.0.1:6080", &format!("127.0.0.1:{port}")], &[], || {
            vec![("a target that ends".to_owned(), ends(&[]))]
        });
    });
}

#[test]
fn files_are_served_alike() {
    alone(|folder| {
        let web = folder.join("web");
        fs::create_dir_all(web.join("app")).expect("a folder");
        fs::create_dir_all(web.join("page")).expect("a folder");
        for (name, text) in
            [("a.html", "<p>a"), ("a b.txt", "a b"), ("app/ui.js", "x"), ("page/index.html", "<p>p")]
        {
            fs::write(web.join(name), text).expect("writes");
        }
        let requests = |folders: &[(&str, &str)]| {
            let files = [
                ("a file", "GET /a.html HTTP/1.1"),
                ("its head", "HEAD /a.html HTTP/1.1"),
                ("a file with a query", "GET /a.html?x=y HTTP/1.1"),
                ("a file in a folder", "GET /app/ui.js HTTP/1.1"),
                ("a name with a space", "GET /a%20b.txt HTTP/1.1"),
                ("no file", "GET /none HTTP/1.1"),
                ("outside", "GET /../dropin.log HTTP/1.1"),
                ("a folder's page", "GET /page/ HTTP/1.1"),
                ("a folder without its slash", "GET /page HTTP/1.1"),
                ("POST", "POST /a.html HTTP/1.1"),
            ];
            let request = |line: &str| {
                let lines = [line, "Host: x", "Connection: close", "Content-Length: 0"].map(str::to_owned);
                let said = outcome(&lines);
                // Whether the connection is said to end is not the same for each, and means nothing: it was asked for.
                said.replace("; connection: close", "")
            };
            let all = files.iter().chain(folders).map(|(name, line)| ((*name).to_owned(), request(line)));
            all.collect::<Vec<_>>()
        };
        let line = ["--web", web.to_str().expect("a path"), "127.0.0.1:6080", &echo()];
        check(folder, &line, &[], || requests(&[]));
        let line = [&["--file-only"][..], &line].concat();
        check(folder, &line, &[], || requests(&[("a folder that is not listed", "GET /app/ HTTP/1.1")]));
    });
}

/// An upgrade with `more` headers. That the connection ends is said by us alone, and done by both.
fn refusal(more: &[&str]) -> String {
    outcome(&upgrade("/", &[], more)).replace("; connection: close", "")
}

#[test]
fn tokens_and_passwords_are_judged_alike() {
    const TOLD: &str = "who is not let in is told why, where websockify closes the connection without a byte";
    alone(|folder| {
        let target = echo();
        fs::write(folder.join("tokens"), format!("# all\na: {target}\nb.example: {target}\nbroken\n"))
            .expect("writes");
        let tokens = folder.join("tokens");
        let tokens = ["--token-plugin", "TokenFile", "--token-source", tokens.to_str().expect("a path")];
        let better = [
            ("no token", CLOSED, "401; connection: close", TOLD),
            ("an empty token", CLOSED, "401; connection: close", TOLD),
            ("a wrong token", CLOSED, "403; connection: close", TOLD),
        ];
        check(folder, &[&tokens[..], &["127.0.0.1:6080"]].concat(), &better, || {
            [
                ("a token", "/?token=a"),
                ("the first of two", "/websockify?x=y&token=a&token=b"),
                ("a token and a line's end", "/?token=a%0A"),
                ("no token", "/"),
                ("an empty token", "/?token="),
                ("a wrong token", "/?token=c"),
            ]
            .map(|(name, path)| (name.to_owned(), outcome(&upgrade(path, &[], &[]))))
            .into()
        });
        let by_host = [&tokens[..], &["--host-token", "127.0.0.1:6080"]].concat();
        check(folder, &by_host, &[("a wrong host", CLOSED, "403; connection: close", TOLD)], || {
            [
                ("a host", "Host: b.example:6080"),
                ("without its port", "Host: b.example"),
                ("a wrong host", "Host: c"),
            ]
            .map(|(name, host)| (name.to_owned(), outcome(&upgrade("/", &["Host"], &[host]))))
            .into()
        });

        let password =
            ["--auth-plugin", "BasicHTTPAuth", "--auth-source", "me:pass:word", "127.0.0.1:6080", &target];
        check(folder, &password, &[], || {
            [
                ("the password", &["Authorization: Basic bWU6cGFzczp3b3Jk"][..]),
                ("a wrong password", &["Authorization: Basic bWU6eA=="]),
                ("nonsense", &["Authorization: Basic !"]),
                ("another scheme", &["Authorization: Bearer x"]),
                ("no password", &[]),
            ]
            .map(|(name, more)| (name.to_owned(), refusal(more)))
            .into()
        });
        let origin = [
            "--auth-plugin",
            "ExpectOrigin",
            "--auth-source",
            "http://a http://b",
            "127.0.0.1:6080",
            &target,
        ];
        check(folder, &origin, &[], || {
            [("an origin", &["Origin: http://b"][..]), ("another", &["Origin: http://c"]), ("none", &[])]
                .map(|(name, more)| (name.to_owned(), refusal(more)))
                .into()
        });
    });
}
