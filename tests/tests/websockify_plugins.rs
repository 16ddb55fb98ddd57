//! `portcullis websockify`: where tokens lead and who may come in, each by what really knows: files, lighttpd,
//! Redis, tokens that jwcrypto made, certificates of clients.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_tests::dropin::{Dropin, PYTHON, ask, endpoint, enter, enter_by, listens, theirs_is_here};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::{Guarded, run};
use portcullis_tests::target::Target;
use portcullis_tests::tls::{Authority, begin};
use portcullis_tests::websocket::{Refused, Socket, echoes};
use portcullis_tests::{require, wait_for};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// In a namespace, where the port is nobody else's.
fn alone(check: fn(&Path)) {
    if require::root() {
        in_namespace(|| check(tempfile::tempdir().expect("a folder").path()));
    }
}

/// The target that a session leads to, by the port that it says first.
fn led_to(entered: Result<Socket, Refused>) -> Result<u16, Refused> {
    let mut socket = entered?;
    match socket.read().expect("reads") {
        Message::Binary(port) => Ok(u16::from_be_bytes([port[0], port[1]])),
        other => panic!("{other:?}"),
    }
}

fn by_token(token: &str) -> Result<u16, Refused> {
    led_to(enter(&format!("/websockify?token={token}"), &[]))
}

fn refused(status: u16, code: &str) -> Result<u16, Refused> {
    Err((status, code.to_owned()))
}

fn named() -> u16 {
    Target::new().named_echo()
}

#[test]
fn tokens_are_in_files() {
    alone(|folder| {
        let (a, b) = (named(), named());
        let put = |name: &str, text: String| fs::write(folder.join(name), text).expect("writes");
        put("tokens", format!("# machines\na: 127.0.0.1:{a}\nb: localhost:{b}\n"));
        let line = |class| ["--token-plugin", class, "--token-source", "tokens", "6080"];
        let again = Dropin::start(folder, &line("TokenFile"));
        assert_eq!((by_token("a"), by_token("b")), (Ok(a), Ok(b)));
        assert_eq!(by_token("c"), refused(403, "wrong_token"));
        assert_eq!(led_to(enter("/", &[])), refused(401, "no_token"));
        put("tokens", format!("c: 127.0.0.1:{b}\n"));
        assert_eq!((by_token("a"), by_token("c")), (refused(403, "wrong_token"), Ok(b)));
        fs::remove_file(folder.join("tokens")).expect("removes");
        assert_eq!(by_token("c"), refused(503, "lookup_failed"));
        assert!(again.log().contains("token not looked up"), "{}", again.log());
        drop(again);

        put("tokens", format!("a: 127.0.0.1:{a}\n"));
        let once = Dropin::start(folder, &line("ReadOnlyTokenFile"));
        assert_eq!(by_token("a"), Ok(a));
        put("tokens", format!("a: 127.0.0.1:{b}\n"));
        assert_eq!(by_token("a"), Ok(a));
        drop(once);

        // A folder of them, as its older name; and the token as the host's name.
        fs::create_dir(folder.join("folder")).expect("a folder");
        put("folder/1", format!("vm1.example: 127.0.0.1:{a}\n"));
        put("folder/2", format!("vm2.example: 127.0.0.1:{b}\n"));
        let _relay = Dropin::start(folder, &["--target-config", "folder", "--host-token", "6080"]);
        let host = |name| led_to(enter("/?token=other", &[("Host", name)]));
        assert_eq!((host("vm1.example:6080"), host("vm2.example")), (Ok(a), Ok(b)));
        assert_eq!(host("vm3.example"), refused(403, "wrong_token"));
    });
}

#[test]
fn tokens_are_names_of_files_and_sockets() {
    alone(|folder| {
        let a = named();
        fs::create_dir(folder.join("tokens")).expect("a folder");
        fs::write(folder.join("tokens/a"), format!("127.0.0.1:{a}\n")).expect("writes");
        fs::write(folder.join("b"), format!("127.0.0.1:{a}\n")).expect("writes");
        let line = ["--token-plugin", "TokenFileName", "--token-source", "tokens", "6080"];
        let relay = Dropin::start(folder, &line);
        assert_eq!(by_token("a"), Ok(a));
        assert_eq!(by_token("..%2Fb"), refused(403, "wrong_token"));
        drop(relay);

        fs::create_dir(folder.join("vms")).expect("a folder");
        let listener = UnixListener::bind(folder.join("vms/vm7")).expect("a socket");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(&7_u16.to_be_bytes())
        });
        let line = ["--token-plugin", "UnixDomainSocketDirectory", "--token-source", "vms", "6080"];
        let _relay = Dropin::start(folder, &line);
        assert_eq!(by_token("vm7"), Ok(7));
        assert_eq!(by_token("vm8"), refused(403, "wrong_token"));
        assert_eq!(by_token("..%2Ftokens"), refused(403, "wrong_token"));
    });
}

#[test]
fn a_web_server_knows_tokens() {
    if !require::file("/usr/sbin/lighttpd", "lighttpd") {
        return;
    }
    alone(|folder| {
        let (a, b) = (named(), named());
        let put = |name: &str, text: String| fs::write(folder.join(name), text).expect("writes");
        put("a", format!("127.0.0.1:{a}"));
        put("b", json!({ "host": "127.0.0.1", "port": b }).to_string());
        put("broken", "nobody knows".to_owned());
        let config = folder.join("lighttpd.conf");
        let root = folder.display();
        put(
            "lighttpd.conf",
            format!(
                "server.document-root = \"{root}\"\nserver.bind = \"127.0.0.1\"\nserver.port = 8099\n\
                 url.redirect = (\"^/moved\" => \"/a\")\nserver.modules = (\"mod_redirect\")\n"
            ),
        );
        let mut command = Command::new("/usr/sbin/lighttpd");
        let server = Guarded::start(command.arg("-D").arg("-f").arg(&config));
        wait_for("lighttpd", || listens(8099).then_some(()));
        let line =
            |class| ["--token-plugin", class, "--token-source", "http://127.0.0.1:8099/%s?x=100%%25", "6080"];
        let relay = Dropin::start(folder, &line("BaseTokenAPI"));
        assert_eq!((by_token("a"), by_token("moved")), (Ok(a), Ok(a)));
        assert_eq!(by_token("none"), refused(403, "wrong_token"));
        assert_eq!(by_token("broken"), refused(503, "lookup_failed"));
        drop(relay);
        let relay = Dropin::start(folder, &line("JSONTokenApi"));
        assert_eq!(by_token("b"), Ok(b));
        assert_eq!(by_token("a"), refused(503, "lookup_failed"));
        drop(server);
        assert_eq!(by_token("b"), refused(503, "lookup_failed"));
        let log = relay.log();
        assert!(log.contains("ask http://127.0.0.1:8099/") && !log.contains("8099/b"), "{log}");
    });
}

#[test]
fn redis_knows_tokens() {
    if !require::file("/usr/bin/redis-server", "redis-server") {
        return;
    }
    alone(|folder| {
        let (a, b) = (named(), named());
        let mut command = Command::new("/usr/bin/redis-server");
        command.args(["--port", "6399", "--bind", "127.0.0.1", "--save", "", "--requirepass", "word"]);
        let server = Guarded::start(command.current_dir(folder).stdout(Stdio::null()));
        wait_for("Redis", || listens(6399).then_some(()));
        let put = |database: &str, key: &str, value: &str| {
            let line = ["-p", "6399", "-a", "word", "--no-auth-warning", "-n", database, "set", key, value];
            assert_eq!(run("redis-cli", &line).trim(), "OK");
        };
        put("0", "a", &format!("127.0.0.1:{a}"));
        put("2", "space:b", &json!({ "host": format!("127.0.0.1:{b}") }).to_string());
        put("2", "space:broken", "nobody knows");
        let line = |source| ["--token-plugin", "TokenRedis", "--token-source", source, "6080"];
        let relay = Dropin::start(folder, &line("127.0.0.1:6399::word"));
        assert_eq!((by_token("a"), by_token("b")), (Ok(a), refused(403, "wrong_token")));
        drop(relay);
        let relay = Dropin::start(folder, &line("127.0.0.1:6399:2:word:space"));
        assert_eq!((by_token("b"), by_token("a")), (Ok(b), refused(403, "wrong_token")));
        assert_eq!(by_token("broken"), refused(503, "lookup_failed"));
        drop(relay);
        let relay = Dropin::start(folder, &line("127.0.0.1:6399::wrong"));
        assert_eq!(by_token("a"), refused(503, "lookup_failed"));
        drop(server);
        assert_eq!(by_token("a"), refused(503, "lookup_failed"));
        assert!(!relay.log().contains("wrong\""), "{}", relay.log());
    });
}

#[test]
fn tokens_of_jwcrypto_say_where_they_lead() {
    if !theirs_is_here() {
        return;
    }
    alone(|folder| {
        let a = named();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/websockify/tokens.py");
        let claims = json!({ "host": "127.0.0.1", "port": a }).to_string();
        let made: Value = serde_json::from_str(&run(PYTHON, &[script, &claims])).expect("JSON");
        let line = ["--token-plugin", "JWTTokenApi", "--token-source", "key", "6080"];
        let relay = Dropin::start(folder, &line);
        for (kind, expected) in [("good", Ok(a)), ("bad", refused(403, "wrong_token"))] {
            let tokens = made[kind].as_object().expect("tokens");
            assert!(tokens.len() >= 7, "{kind}");
            for (name, pair) in tokens {
                let (key, token) = (pair[0].as_str().expect("a key"), pair[1].as_str().expect("a token"));
                fs::write(folder.join("key"), key).expect("writes");
                assert_eq!(by_token(token), expected, "{name}: {}", relay.log());
            }
        }
        fs::write(folder.join("key"), "no key!").expect("writes");
        assert_eq!(by_token("a.b.c"), refused(503, "lookup_failed"));
        // A certificate's key is as good as a public one.
        let certificate =
            ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "private", "-out", "cert"];
        let mut openssl = Command::new("openssl");
        openssl.args(certificate).args(["-subj", "/CN=x"]).current_dir(folder);
        assert!(openssl.stderr(Stdio::null()).status().expect("runs").success());
        let sign = "import sys; from jwcrypto import jwk, jwt; k = jwk.JWK.from_pem(open('private','rb').read()); \
                    t = jwt.JWT(header={'alg': 'RS256'}, claims=sys.argv[1]); t.make_signed_token(k); \
                    print(t.serialize())";
        let signed = Command::new(PYTHON).args(["-c", sign, &claims]).current_dir(folder).output();
        let token = String::from_utf8(signed.expect("runs").stdout).expect("text");
        fs::copy(folder.join("cert"), folder.join("key")).expect("copies");
        assert_eq!(by_token(token.trim()), Ok(a), "{}", relay.log());
        assert!(!relay.log().contains(token.trim()), "a token is in the log");
    });
}

#[test]
fn a_password_is_asked_for() {
    alone(|folder| {
        fs::write(folder.join("index.html"), "<p>hello").expect("writes");
        let target = format!("127.0.0.1:{}", Target::new().echo());
        let line = ["--auth-plugin", "BasicHTTPAuth", "--auth-source", "me:pass:word", "--web", "."];
        let shown = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let page = |credentials: Option<&str>| {
            let header = credentials.map(|text| format!("Authorization: {}", shown(text)));
            let mut head = vec!["GET / HTTP/1.1", "Host: x", "Connection: close"];
            head.extend(header.as_deref());
            ask(&head).expect("an answer")
        };
        let relay = Dropin::start(folder, &[&line[..], &["6080", &target]].concat());
        let by = |text: &str| enter("/", &[("Authorization", &shown(text))]);
        echoes(&mut by("me:pass:word").expect("a session"), b"hello");
        assert_eq!(by("me:wrong").err(), Some((401, "password".to_owned())));
        assert_eq!(enter("/", &[]).err(), Some((401, "password".to_owned())));
        assert_eq!(enter("/", &[("Authorization", "Bearer x")]).err(), Some((403, "forbidden".to_owned())));
        assert_eq!(page(None).status, 200, "files are for all");
        drop(relay);
        let _relay = Dropin::start(folder, &[&line[..], &["--web-auth", "6080", &target]].concat());
        let refused = page(None);
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (401, Some("Basic realm=\"Websockify\""))
        );
        assert_eq!(page(Some("me:pass:word")).status, 200);
    });
}

#[test]
fn only_some_pages_may_connect() {
    alone(|folder| {
        let target = format!("127.0.0.1:{}", Target::new().echo());
        let line = ["--auth-plugin", "ExpectOrigin", "--auth-source", "https://a.example http://b:8080"];
        let _relay = Dropin::start(folder, &[&line[..], &["6080", &target]].concat());
        for origin in ["https://a.example", "http://b:8080"] {
            echoes(&mut enter("/", &[("Origin", origin)]).expect("a session"), b"hello");
        }
        for headers in [&[][..], &[("Origin", "https://evil.example")]] {
            assert_eq!(enter("/", headers).err(), Some((403, "wrong_origin".to_owned())));
        }
    });
}

#[test]
fn only_some_certificates_may_connect() {
    alone(|folder| {
        let authority = Authority::new(folder);
        authority.issue(&["127.0.0.1"]);
        let openssl = |line: &str| {
            let mut command = Command::new("openssl");
            let status = command.args(line.split(' ')).current_dir(folder).stderr(Stdio::null()).status();
            assert!(status.expect("runs").success(), "{line}");
        };
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out clients -subj /CN=CA",
        );
        for name in ["alice", "mallory"] {
            openssl(&format!(
                "req -x509 -CA clients -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                 -keyout {name}.key -out {name}.pem -subj /CN={name} -extensions usr_cert"
            ));
        }
        let target = format!("127.0.0.1:{}", Target::new().echo());
        let tls = ["--cert", "certificate", "--key", "key", "--verify-client", "--cafile", "clients"];
        let auth = ["--auth-plugin", "ClientCertCNAuth", "--auth-source", "alice bob"];
        let _relay = Dropin::start(folder, &[&tls[..], &auth, &["6080", &target]].concat());
        let config = |name: Option<&str>| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(authority.file()).expect("a certificate")).expect("one");
            let config = ClientConfig::builder_with_provider(portcullis::tls::provider())
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots);
            Arc::new(match name {
                None => config.with_no_client_auth(),
                Some(name) => config
                    .with_client_auth_cert(
                        vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).expect("one")],
                        PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("a key"),
                    )
                    .expect("a certificate with its key"),
            })
        };
        let by = |name| enter_by(begin(config(Some(name)), endpoint()), "/", &[]);
        echoes(&mut by("alice").expect("a session"), b"hello");
        assert_eq!(by("mallory").err(), Some((403, "forbidden".to_owned())));
        // Without one there is no TLS; in the clear there is none.
        let mut bare = begin(config(None), endpoint());
        let sent = bare.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| bare.read(&mut [0; 1]));
        assert!(sent.is_err(), "{sent:?}");
        assert_eq!(enter("/", &[]).err(), Some((403, "forbidden".to_owned())));
    });
}
