//! `portcullis websockify`: what its options do. Tokens and who may come in are in `websockify_plugins`, what is
//! the same as in websockify itself in `websockify_differential`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use portcullis_tests::browser::{self, Browser};
use portcullis_tests::dropin::{Dropin, PORT, ask, endpoint, enter, enter_by, listens, ours};
use portcullis_tests::gateway::program;
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::qemu::{self, Machine, same_picture};
use portcullis_tests::target::{self, Target};
use portcullis_tests::tls::{Authority, front};
use portcullis_tests::websocket::{closed, echoes};
use portcullis_tests::{PATIENCE, require, tigervnc, wait_for};
use tokio_tungstenite::tungstenite::Message;

const NOVNC: &str = "/usr/share/novnc";
const CANVAS: &str = "#noVNC_container canvas";

/// A target that sends everything back, as the command line names it.
fn echo() -> String {
    format!("127.0.0.1:{}", Target::new().echo())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// In a namespace, where the port is nobody else's.
fn alone(check: fn(&Path)) {
    if require::root() {
        in_namespace(|| check(folder().path()));
    }
}

#[test]
fn stock_novnc_shows_a_machine() {
    let page = require::file("/usr/share/novnc/vnc.html", "novnc");
    if page && require::root() && browser::is_here() && qemu::is_here() {
        in_namespace(|| {
            let folder = folder();
            let mut machine = Machine::start(folder.path());
            let target = format!("localhost:{}", machine.vnc_port);
            let relay = Dropin::start(folder.path(), &["--web", NOVNC, "6080", &target]);
            let mut browser = Browser::open(&format!("http://127.0.0.1:{PORT}/vnc.html?autoconnect=1"));
            browser.wait_for(CANVAS);
            wait_for("GRUB's menu", || (machine.screen().ink() > 5_000).then_some(()));
            // It stops the countdown.
            browser.press_in(CANVAS, "ArrowDown");
            let menu = same_picture(&mut machine, || browser.screen_in(CANVAS));
            browser.press_in(CANVAS, "c");
            wait_for("the page to show what the key did", || {
                (same_picture(&mut machine, || browser.screen_in(CANVAS)).likeness(&menu) < 0.99)
                    .then_some(())
            });
            browser.shot("websockify");
            assert!(relay.log().contains("session begins"), "{}", relay.log());
            assert!(relay.stop().success());
        });
    }
}

#[test]
fn bytes_go_both_ways() {
    alone(|folder| {
        let relay = Dropin::start(folder, &["127.0.0.1:6080", &echo()]);
        for path in ["/", "/websockify", "/any/path?x=y"] {
            echoes(&mut enter(path, &[]).expect("a session"), &[7; 100_000]);
        }
        // Many at once.
        let mut sessions: Vec<_> = (0..50).map(|_| enter("/", &[]).expect("a session")).collect();
        for socket in &mut sessions {
            echoes(socket, b"hello");
        }
        assert!(relay.stop().success());
        assert_eq!(closed(&mut sessions[0]), Some((1001, "the gateway is stopping".to_owned())));
    });
}

#[test]
fn a_target_that_is_not_there_is_told_before_the_upgrade() {
    alone(|folder| {
        let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let relay = Dropin::start(folder, &["6080", &gone.to_string()]);
        assert_eq!(enter("/", &[]).err(), Some((502, "target_refused".to_owned())));
        assert!(relay.log().contains("target not reached"), "{}", relay.log());
        drop(relay);
        // And the end of one that is, by its close code.
        let target = Target::new();
        let relay = Dropin::start(folder, &["6080", &target.address().to_string()]);
        let mut socket = enter("/", &[]).expect("a session");
        drop(target.accept());
        assert_eq!(closed(&mut socket).map(|(code, _)| code), Some(1000));
        assert!(relay.stop().success());
    });
}

#[test]
fn unix_sockets_are_listened_to_and_dialled() {
    alone(|folder| {
        let console = folder.join("console");
        let listener = UnixListener::bind(&console).expect("a socket");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut reader = stream.try_clone()?;
                    std::io::copy(&mut reader, &mut stream)
                });
            }
        });
        let console = console.to_str().expect("a path");
        let relay = Dropin::start(folder, &["--unix-target", console, "6080"]);
        echoes(&mut enter("/", &[]).expect("a session"), &[3; 1_000_000]);
        drop(relay);

        let path = folder.join("listen");
        let line = ["--unix-listen", "listen", "--unix-listen-mode", "660", "--unix-target", console];
        let mut relay = Dropin::begin(folder, &mut ours(&line));
        let stream = wait_for("the socket", || {
            assert!(relay.lives(), "{}", relay.log());
            UnixStream::connect(&path).ok()
        });
        assert_eq!(fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, 0o660);
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        echoes(&mut enter_by(stream, "/", &[]).expect("a session"), &[4; 100_000]);
        // One that was left behind is replaced.
        drop(relay);
        assert!(path.exists());
        relay = Dropin::begin(folder, &mut ours(&line));
        wait_for("the socket", || {
            assert!(relay.lives(), "{}", relay.log());
            UnixStream::connect(&path).ok()
        });
    });
}

#[test]
fn files_are_served_beside_sessions() {
    alone(|folder| {
        let web = folder.join("web");
        fs::create_dir_all(web.join("app")).expect("a folder");
        fs::write(web.join("index.html"), "<p>hello").expect("writes");
        fs::write(web.join("app/ui.js"), "export {}").expect("writes");
        fs::write(folder.join("secret"), "secret").expect("writes");
        let target = echo();
        let get = |path: &str| ask(&[&format!("GET {path} HTTP/1.1"), "Host: x", "Connection: close"]);
        let status = |path: &str| get(path).expect("an answer").status;
        let relay = Dropin::start(folder, &["--web", "web", "6080", &target]);
        let script = get("/app/ui.js").expect("an answer");
        assert_eq!((script.status, script.body.as_slice()), (200, &b"export {}"[..]));
        assert_eq!(script.header("content-type"), Some("text/javascript"));
        assert_eq!(get("/").expect("an answer").body, b"<p>hello");
        assert!(String::from_utf8_lossy(&get("/app/").expect("a list").body).contains("ui.js"));
        assert_eq!((status("/none"), status("/../secret"), status("/%2e%2e/secret")), (404, 404, 404));
        echoes(&mut enter("/websockify", &[]).expect("a session"), b"hello");
        // Requests one after the other on one connection, and then a session.
        let mut stream = target::connect(endpoint(), PATIENCE).expect("the port is open");
        for _ in 0..2 {
            stream.write_all(b"GET /app/ui.js HTTP/1.1\r\nHost: x\r\n\r\n").expect("writes");
            let answer = portcullis_tests::dropin::answer(&mut stream).expect("an answer");
            assert_eq!(answer.body, b"export {}");
        }
        echoes(&mut enter_by(stream, "/", &[]).expect("a session"), b"hello");
        drop(relay);

        let _relay = Dropin::start(folder, &["--web", "web", "--file-only", "6080", &target]);
        assert_eq!((status("/app/ui.js"), status("/app/")), (200, 404));
    });
}

#[test]
fn tls_and_plain_share_the_port() {
    alone(|folder| {
        let authority = Authority::new(folder);
        authority.issue(&["127.0.0.1"]);
        let target = echo();
        let line = ["--cert", "certificate", "--key", "key", "6080", &target];
        let relay = Dropin::start(folder, &line);
        let by_tls = || enter_by(authority.connect(endpoint()), "/", &[]);
        echoes(&mut by_tls().expect("a session"), &[5; 200_000]);
        echoes(&mut enter("/", &[]).expect("a session"), b"plain");
        // A new certificate is used without a restart.
        let serial = || {
            let mut stream = authority.connect(endpoint());
            stream.flush().expect("a handshake");
            stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
        };
        let before = serial();
        authority.issue(&["127.0.0.1"]);
        assert_ne!(before, serial());
        drop(relay);

        let only = [&["--ssl-only", "--ssl-version", "tlsv1_3"][..], &line].concat();
        let relay = Dropin::start(folder, &only);
        echoes(&mut by_tls().expect("a session"), b"hello");
        assert_eq!(enter("/", &[]).err(), Some((400, "tls_required".into())));
        drop(relay);

        // The key has a password; without a certificate there is no TLS.
        let sealed = ["pkcs8", "-topk8", "-in", "key", "-out", "sealed", "-passout", "pass:word"];
        assert!(Command::new("openssl").args(sealed).current_dir(folder).status().expect("runs").success());
        let line = |password| {
            ["--cert", "certificate", "--key", "sealed", "--key-password", password, "6080", &target]
        };
        let relay = Dropin::start(folder, &line("word"));
        echoes(&mut by_tls().expect("a session"), b"hello");
        drop(relay);
        let mut relay = Dropin::begin(folder, &mut ours(&line("wrong")));
        assert_eq!(relay.ended().code(), Some(1));
        assert!(relay.log().contains("--key-password does not open"), "{}", relay.log());
    });
}

#[test]
fn a_target_may_speak_tls() {
    alone(|folder| {
        let authority = Authority::new(folder);
        authority.issue(&["localhost"]);
        let port = front(folder, Target::new().echo());
        let target = |host: &str| format!("{host}:{port}");
        let trusting = |host: &str| {
            let mut command = ours(&["--ssl-target", "6080", &target(host)]);
            command.env("SSL_CERT_FILE", authority.file());
            command
        };
        let relay = Dropin::run(folder, &mut trusting("localhost"));
        echoes(&mut enter("/", &[]).expect("a session"), &[6; 200_000]);
        drop(relay);
        // Not the name that is in the certificate; and nobody who vouches for it.
        let relay = Dropin::run(folder, &mut trusting("127.0.0.1"));
        assert_eq!(enter("/", &[]).err(), Some((502, "target_tls".to_owned())));
        drop(relay);
        let _relay = Dropin::start(folder, &["--ssl-target", "6080", &target("localhost")]);
        assert_eq!(enter("/", &[]).err(), Some((502, "target_tls".to_owned())));
    });
}

#[test]
fn one_session_is_enough_for_run_once() {
    alone(|folder| {
        let target = echo();
        let line = ["--run-once", "--web", NOVNC, "6080", &target];
        if !require::file("/usr/share/novnc/vnc.html", "novnc") {
            return;
        }
        let mut relay = Dropin::start(folder, &line);
        // A page is no session.
        let head = ["GET /vnc.html HTTP/1.1", "Host: x", "Connection: close"];
        assert_eq!(ask(&head).expect("an answer").status, 200);
        let mut socket = enter("/", &[]).expect("a session");
        echoes(&mut socket, b"hello");
        wait_for("the port to close", || (!listens(PORT)).then_some(()));
        assert!(relay.lives());
        socket.close(None).expect("closes");
        assert_eq!(relay.ended().code(), Some(0));
    });
}

#[test]
fn it_ends_when_its_time_is_over() {
    alone(|folder| {
        let target = echo();
        // On a slow machine it may be over before anybody sees it listen.
        let mut relay = Dropin::begin(folder, &mut ours(&["--idle-timeout", "1", "6080", &target]));
        assert_eq!(relay.ended().code(), Some(0));
        assert!(relay.log().contains("--idle-timeout is over"), "{}", relay.log());

        // A session goes on; nobody else is let in.
        let mut relay = Dropin::start(folder, &["--timeout", "10", "6080", &target]);
        let mut socket = enter("/", &[]).expect("a session");
        wait_for("the port to close", || (!listens(PORT)).then_some(()));
        echoes(&mut socket, b"hello");
        assert!(relay.lives());
        drop(socket);
        assert_eq!(relay.ended().code(), Some(0));
    });
}

#[test]
fn clients_are_pinged() {
    alone(|folder| {
        let target = Target::new();
        let _relay = Dropin::start(folder, &["--heartbeat=1", "6080", &target.address().to_string()]);
        let mut socket = enter("/", &[]).expect("a session");
        let _console = target.accept();
        for _ in 0..2 {
            assert!(matches!(socket.read(), Ok(Message::Ping(_))));
        }
    });
}

#[test]
fn sessions_are_recorded_and_shown() {
    alone(|folder| {
        let record = folder.join("tape");
        let record = record.to_str().expect("a path");
        let target = echo();
        let mut command = ours(&["--record", record, "--traffic", "6080", &target]);
        let mut relay = Dropin::run(folder, &mut command);
        echoes(&mut enter("/", &[]).expect("a session"), b"it's\n\xff");
        let tape = folder.join("tape.1");
        let text = wait_for("the end of the recording", || {
            fs::read_to_string(&tape).ok().filter(|text| text.ends_with("'EOF'];\n"))
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (4, "var VNC_frame_data = ["), "{text}");
        assert!(lines[1].starts_with("'}") && lines[1].ends_with("}it\\'s\\n\\xff',"), "{text}");
        assert!(lines[2].starts_with("'{") && lines[2].ends_with("{it\\'s\\n\\xff',"), "{text}");
        assert_eq!(fs::metadata(&tape).expect("a file").permissions().mode() & 0o777, 0o600);
        // Where nothing can be written nobody is let in.
        drop(relay);
        relay = Dropin::start(folder, &["--record", "/none/such/tape", "6080", &target]);
        assert_eq!(enter("/", &[]).err(), Some((503, "not_recorded".to_owned())));
        assert!(relay.log().contains("session not recorded"), "{}", relay.log());
    });
}

#[test]
fn it_goes_to_the_background_and_logs_to_a_file_and_syslog() {
    alone(|folder| {
        let syslog = UnixDatagram::bind(folder.join("syslog")).expect("a socket");
        syslog.set_read_timeout(Some(PATIENCE)).expect("an option");
        let target = echo();
        // Should the test fail, it ends by itself.
        let line = ["--daemon", "--run-once", "--timeout", "60", "--log-file", "log", "--syslog", "syslog"];
        let line = [&line[..], &["6080", &target]].concat();
        let mut relay = Dropin::begin(folder, &mut ours(&line));
        assert_eq!(relay.ended().code(), Some(0), "{}", relay.log());
        assert!(listens(PORT), "it listens before it goes to the background");
        echoes(&mut enter("/", &[]).expect("a session"), b"hello");
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        wait_for("the end", || log().contains("session ended").then_some(()));
        assert!(log().contains("session begins"), "{}", log());
        let mut room = [0; 2048];
        let len = syslog.recv(&mut room).expect("a message");
        let message = String::from_utf8_lossy(&room[..len]);
        assert!(message.starts_with("<30>1 ") && message.contains(" websockify "), "{message}");
        wait_for("the port to close", || (!listens(PORT)).then_some(()));
    });
}

#[test]
fn inetd_hands_its_socket_over() {
    let here = require::file("/usr/sbin/inetd", "openbsd-inetd")
        && require::file("/usr/bin/systemd-socket-activate", "systemd");
    if !here {
        return;
    }
    alone(|folder| {
        let target = echo();
        let program = program().canonicalize().expect("our program");
        let program = program.to_str().expect("a path");
        // As inetd has it: standard input listens.
        let relay = {
            let listener = TcpListener::bind(endpoint()).expect("a port");
            let mut command = ours(&["--inetd", &target]);
            Dropin::run(folder, command.stdin(Stdio::from(OwnedFd::from(listener))))
        };
        echoes(&mut enter("/", &[]).expect("a session"), b"hello");
        drop(relay);
        wait_for("the port to close", || (!listens(PORT)).then_some(()));

        // inetd itself, which starts it with the first client.
        let line = format!(
            "127.0.0.1:{PORT} stream tcp wait root {program} websockify websockify --inetd --run-once {target}\n"
        );
        let config = folder.join("inetd.conf");
        fs::write(&config, line).expect("writes");
        let mut command = Command::new("/usr/sbin/inetd");
        let relay = Dropin::run(folder, command.arg("-i").arg(&config));
        echoes(&mut enter("/", &[]).expect("a session"), b"by inetd");
        drop(relay);
        wait_for("the port to close", || (!listens(PORT)).then_some(()));

        // And socket activation.
        let mut command = Command::new("/usr/bin/systemd-socket-activate");
        command.args(["--inetd", "-l", "127.0.0.1:6080", program, "websockify", "--inetd", &target]);
        let _relay = Dropin::run(folder, &mut command);
        echoes(&mut enter("/", &[]).expect("a session"), b"by systemd");
    });
}

#[test]
fn a_connection_is_no_socket_that_listens() {
    alone(|folder| {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let mut command = ours(&["--inetd", "127.0.0.1:1"]);
        let mut relay = Dropin::begin(folder, command.stdin(Stdio::from(OwnedFd::from(near))));
        assert_eq!(relay.ended().code(), Some(1));
        assert!(relay.log().contains("not a socket that listens"), "{}", relay.log());
    });
}

#[test]
fn a_program_is_wrapped() {
    if !(require::file("/usr/lib/websockify/rebind.so", "websockify") && tigervnc::is_here()) {
        return;
    }
    alone(|folder| {
        // It would take our port, and is moved to another one.
        let server =
            ["Xtigervnc", ":7", "-rfbport", "6080", "-interface", "127.0.0.1", "-SecurityTypes", "None"];
        // It is known by a port of this namespace only, and leaves nothing in /tmp.
        let quiet = ["-nolock", "-nolisten", "unix", "-nolisten", "local", "-listen", "tcp"];
        let line = [&["127.0.0.1:6080", "--"][..], &server, &quiet].concat();
        let relay = Dropin::start(folder, &line);
        let mut socket = wait_for("the X server", || enter("/", &[]).ok());
        let Ok(Message::Binary(hello)) = socket.read() else { panic!("no greeting: {}", relay.log()) };
        assert_eq!(&hello[..4], b"RFB ");
        drop(socket);
        assert!(relay.stop().success());
        wait_for("the X server to end", || (!listens(6007)).then_some(()));
    });
}

#[test]
fn the_end_of_a_program_is_what_the_mode_says() {
    alone(|folder| {
        let target = echo();
        let runs = || fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count();
        let line = |mode, script| ["--wrap-mode", mode, "6080", &target, "--", "sh", "-c", script];
        let mut relay = Dropin::begin(folder, &mut ours(&line("exit", "exit 3")));
        assert_eq!(relay.ended().code(), Some(3));
        let relay = Dropin::start(folder, &line("respawn", "echo x >> runs"));
        wait_for("three runs", || (runs() == 3).then_some(()));
        drop(relay);
        let relay = Dropin::start(folder, &line("ignore", "true"));
        wait_for("its end", || relay.log().contains("program ended").then_some(()));
        echoes(&mut enter("/", &[]).expect("a session"), b"hello");
    });
}

#[test]
fn what_is_not_taken_over_is_an_error() {
    for (line, why) in [
        (&["6080", "h:1", "--libserver"][..], "--libserver"),
        (&["6080", "h:1", "--ssl-version", "tlsv1_1"], "TLS begins with 1.2"),
        (&["6080", "--token-plugin", "my.Plugin", "--token-source", "x"], "Python class"),
        (&["6080", "h:1", "--no-such-option"], "--no-such-option"),
        (&["6080"], "say where clients are led"),
    ] {
        let output = ours(line).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {said}");
        assert!(said.contains(why), "{line:?}: {said}");
    }
    let help = ours(&["--help"]).output().expect("runs");
    let help = String::from_utf8_lossy(&help.stdout);
    for option in [
        "--verbose",
        "--traffic",
        "--record",
        "--daemon",
        "--run-once",
        "--timeout",
        "--idle-timeout",
        "--cert",
        "--key",
        "--key-password",
        "--ssl-only",
        "--ssl-target",
        "--verify-client",
        "--cafile",
        "--ssl-version",
        "--ssl-ciphers",
        "--unix-listen",
        "--unix-listen-mode",
        "--unix-target",
        "--inetd",
        "--web",
        "--web-auth",
        "--wrap-mode",
        "--prefer-ipv6",
        "--libserver",
        "--target-config",
        "--token-plugin",
        "--token-source",
        "--host-token",
        "--auth-plugin",
        "--auth-source",
        "--heartbeat",
        "--log-file",
        "--syslog",
        "--legacy-syslog",
        "--file-only",
    ] {
        assert!(help.contains(option), "{option} is not in the help");
    }
}

#[test]
fn a_slow_client_is_told_and_holds_nobody_up() {
    alone(|folder| {
        let _relay = Dropin::start(folder, &["6080", &echo()]);
        let mut slow = target::connect(endpoint(), PATIENCE).expect("the port is open");
        slow.write_all(b"GET / HTTP/1.1\r\nHost:").expect("writes");
        echoes(&mut enter("/", &[]).expect("a session"), b"hello");
        let mut answer = String::new();
        slow.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"slow\""), "{answer}");
    });
}

#[test]
fn a_socket_of_both_families_takes_clients_of_both() {
    alone(|folder| {
        let _relay = Dropin::start(folder, &["-6", "6080", &echo()]);
        for address in ["127.0.0.1:6080", "[::1]:6080"] {
            let stream = target::connect(address.parse().expect("an address"), Duration::from_secs(10));
            echoes(&mut enter_by(stream.expect("connects"), "/", &[]).expect("a session"), b"hello");
        }
    });
}
