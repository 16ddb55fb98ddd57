//! SPICE desktops with native viewers: all channels one session, the machine's password inside.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis::relay::console::spice::link;
use portcullis_tests::browser::{self, Browser};
use portcullis_tests::faketime::{self, Clock};
use portcullis_tests::gateway::{ADDRESS, Broker, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::Guarded;
use portcullis_tests::qemu::{self, GRUB, Machine, Screen, same_picture};
use portcullis_tests::target::bounded;
use portcullis_tests::tls::Authority;
use portcullis_tests::viewer::{self, Desk};
use portcullis_tests::{require, spice, wait_for};
use serde_json::{Value, json};

const PASSWORD: &str = "inside12";

fn all_is_here() -> bool {
    require::kernel()
        && qemu::is_here()
        && viewer::is_here()
        && require::file("/usr/lib/x86_64-linux-gnu/qemu/ui-spice-core.so", "qemu-system-modules-spice")
        && require::file("/usr/bin/remote-viewer", "virt-viewer")
        && require::file("/usr/bin/spicy-screenshot", "spice-client-gtk")
}

/// A machine that waits, whose password the gateway has.
fn desktop(folder: &Path, more: &[&str]) -> (Machine, Gateway) {
    let machine = Machine::start_spice(folder, PASSWORD);
    let gateway = Gateway::start(folder, "ebpf", more);
    let instance = json!({
        "host": "127.0.0.1", "graphics_port": machine.spice_port, "graphics_protocol": "spice",
        "graphics_passwd": PASSWORD,
    });
    assert_eq!(gateway.api().put("/v1/instances/i-desk", &instance).0, 201);
    (machine, gateway)
}

/// The file for a viewer, by the command line, and where it is.
fn file(folder: &Path, gateway: &Gateway, more: &[&str]) -> String {
    let path = folder.join("desk.vv");
    let mut command = gateway.command_line();
    let status = command.args(["open", "i-desk", "--vv"]).arg(&path).args(more).status().expect("runs");
    assert!(status.success());
    path.to_str().expect("text").to_owned()
}

/// A line of a viewer's file.
fn line(path: &str, key: &str) -> String {
    let file = std::fs::read_to_string(path).expect("the file");
    let found = file.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {key}: {file}")).to_owned()
}

fn live(gateway: &Gateway) -> Vec<Value> {
    gateway.api().get("/v1/sessions?state=live").1["items"].as_array().expect("a list").clone()
}

/// Waits until there is one session, with these channels among its own.
fn one_session_with(gateway: &Gateway, channels: &[&str]) -> Value {
    wait_for(&format!("one session with {channels:?}"), || {
        let sessions = live(gateway);
        assert!(sessions.len() <= 1, "{sessions:?}");
        let session = sessions.into_iter().next()?;
        let open = session["channels"].as_array()?.clone();
        channels.iter().all(|name| open.iter().any(|channel| channel == name)).then_some(session)
    })
}

fn viewer(desk: &Desk, path: &str, more: &[&str]) -> Guarded {
    desk.open("remote-viewer", &[more, &["--debug", path]].concat())
}

/// Nothing that the gateway wrote has a secret in it.
fn nothing_told(gateway: &Gateway, ticket: &str) {
    let audit = std::fs::read_to_string(gateway.state_dir().join("audit.log")).expect("a log");
    for text in [gateway.log(), audit] {
        assert!(!text.contains(PASSWORD) && !text.contains(ticket), "a secret is in a log");
    }
}

#[test]
fn a_screenshot_is_made_with_a_ticket_for_a_password() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut machine, gateway) = desktop(folder.path(), &[]);
        machine.boot();
        wait_for("GRUB", || (machine.screen().ink() > 1_000).then_some(()));
        let desk = Desk::start(folder.path());
        let path = file(folder.path(), &gateway, &[]);
        let (host, port, ticket) = (line(&path, "host"), line(&path, "port"), line(&path, "password"));
        let picture = folder.path().join("x.ppm");
        let output = picture.to_str().expect("text");
        let shoot = |password: &str| {
            let mut spicy =
                desk.open("spicy-screenshot", &["-h", &host, "-p", &port, "-w", password, "-o", output]);
            spicy.ended().success()
        };
        wait_for("the picture to be the machine's", || {
            assert!(shoot(&ticket));
            let (there, here) =
                (machine.screen(), Screen::read_ppm(&std::fs::read(&picture).expect("a picture")));
            (here.likeness(&there) >= 0.99).then_some(())
        });
        // Neither the machine's own password nor none opens it.
        for wrong in [PASSWORD, "", &ticket[1..]] {
            assert!(!shoot(wrong), "{wrong}");
        }
        assert!(gateway.metric("portcullis_handshake_refusals_total{code=\"wrong_ticket\"}") >= 3.0);
        nothing_told(&gateway, &ticket);
    });
}

#[test]
fn a_viewer_comes_by_file_directly_and_by_tunnel() {
    if !all_is_here() {
        return;
    }
    for more in [&[][..], &["--proxy"]] {
        in_namespace(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let (mut machine, gateway) = desktop(folder.path(), &[]);
            machine.boot();
            let desk = Desk::start(folder.path());
            let path = file(folder.path(), &gateway, more);
            let ticket = line(&path, "password");
            let _viewer = viewer(&desk, &path, &[]);
            desk.shows(&mut machine);
            let session = one_session_with(&gateway, &["main", "display", "inputs", "cursor", "usbredir"]);
            assert_eq!(session["graphics_protocol"], "spice");
            let menu = machine.screen();
            desk.press("c");
            wait_for("the key to arrive", || (machine.screen().likeness(&menu) < 0.99).then_some(()));
            desk.shows(&mut machine);
            desk.shot(if more.is_empty() { "spice-direct" } else { "spice-tunnel" });
            assert_eq!(gateway.metric("portcullis_sessions_total{protocol=\"spice\"}"), 1.0);
            nothing_told(&gateway, &ticket);
        });
    }
}

/// Configuration with a certificate that is its own authority, for broker ports alone.
fn own_certificate(folder: &Path) -> [String; 5] {
    let own = rcgen::generate_simple_self_signed(["console.example".to_owned()]).expect("a certificate");
    let files = [("certificate", own.cert.pem()), ("key", own.signing_key.serialize_pem())];
    let [certificate, key] = files.map(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writes");
        format!("tls.{name} = {path:?}")
    });
    let others =
        ["tls.broker_ports = \"optional\"", "api.tls = false", "metrics.tls = false"].map(String::from);
    let [ports, api, metrics] = others;
    [certificate, key, ports, api, metrics]
}

#[test]
fn a_viewer_comes_by_tls_that_the_gateway_ends() {
    if !all_is_here() {
        return;
    }
    for more in [&[][..], &["--proxy"]] {
        in_namespace(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let lines = own_certificate(folder.path());
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let (mut machine, gateway) = desktop(folder.path(), &lines);
            machine.boot();
            let desk = Desk::start(folder.path());
            let path = file(folder.path(), &gateway, more);
            assert!(line(&path, "ca").starts_with("-----BEGIN CERTIFICATE-----\\n"));
            let _viewer = viewer(&desk, &path, &[]);
            desk.shows(&mut machine);
            one_session_with(&gateway, &["main", "display", "inputs", "cursor"]);
            desk.shot("spice-tls");
        });
    }
}

#[test]
fn tls_goes_through_to_the_console() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path());
        authority.issue(&["desk.example"]);
        let mut machine = Machine::start_spice_tls(folder.path(), PASSWORD);
        let ca = format!("targets.ca = {:?}", authority.file());
        let gateway = Gateway::start(folder.path(), "ebpf", &[&ca, "reveal_passwords = true"]);
        let instance = json!({
            "host": "127.0.0.1", "graphics_port": machine.spice_port, "graphics_protocol": "spice",
            "graphics_passwd": PASSWORD, "tls": "ca", "tls_server_name": "desk.example",
        });
        assert_eq!(gateway.api().put("/v1/instances/i-desk", &instance).0, 201);
        machine.boot();
        let desk = Desk::start(folder.path());
        // Only the console itself can read what is said, and only it has this certificate.
        let path = file(folder.path(), &gateway, &["--through"]);
        assert_eq!(line(&path, "password"), PASSWORD);
        let (name, proxy) = (line(&path, "host"), line(&path, "proxy"));
        let ticket =
            proxy.strip_prefix("http://ticket:").and_then(|rest| rest.split_once('@')).expect("a ticket").0;
        let viewer = viewer(&desk, &path, &[]);
        desk.shows(&mut machine);
        desk.shot("spice-through");
        // Nobody can tell what its channels are; that they are one session is told by the ticket.
        let sessions = wait_for("all channels", || {
            let sessions = live(&gateway);
            (sessions[0]["connections"].as_u64()? >= 4).then_some(sessions)
        });
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        assert_eq!(gateway.metric("portcullis_sessions_total{protocol=\"spice\"}"), 1.0);
        nothing_told(&gateway, ticket);
        // Whoever shows no ticket, or another, has no tunnel.
        let endpoint = proxy.rsplit_once('@').expect("an address").1.parse().expect("an address");
        for shown in ["", "Proxy-Authorization: Basic dGlja2V0OjVhNWE=\r\n"] {
            let refused = tunnel_showing(endpoint, &name, shown).expect_err("no tunnel");
            assert!(refused.starts_with("HTTP/1.1 40"), "{refused}");
        }
        drop(viewer);
    });
}

#[test]
fn a_desktop_is_seen_and_typed_at_in_the_browser() {
    if !all_is_here() || !require::pages() || !browser::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut machine, gateway) = desktop(folder.path(), &[]);
        machine.boot();
        let broker = gateway.open_again("i-desk");
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        browser.wait_state("connected");
        same_picture(&mut machine, || browser.screen());
        // All channels of the page are one session.
        one_session_with(&gateway, &["main", "display", "inputs", "cursor"]);
        assert_eq!(gateway.metric("portcullis_sessions_total{protocol=\"spice\"}"), 1.0);
        // "c" in GRUB's menu opens its command line, and Esc leads back.
        let menu = machine.screen();
        browser.press("c");
        wait_for("the key to arrive", || (machine.screen().likeness(&menu) < 0.99).then_some(()));
        same_picture(&mut machine, || browser.screen());
        let line = machine.screen();
        browser.click("#keys-button");
        browser.click("#keys [data-keys=esc]");
        // Its countdown does not come back.
        wait_for("the menu", || {
            let screen = machine.screen();
            (screen.likeness(&menu) > screen.likeness(&line)).then_some(())
        });
        same_picture(&mut machine, || browser.screen());
        nothing_told(&gateway, &broker.token);
        // The machine ends, and the page says so.
        drop(machine);
        browser.wait_for("#title:not(:empty)");
    });
}

/// Lets GRUB play, by the speaker of a PC, until the browser does.
fn is_heard(browser: &mut Browser) {
    let mut tried: Option<Instant> = None;
    wait_for("sound", || {
        if tried.is_none_or(|tried| tried.elapsed() > Duration::from_secs(10)) {
            // A key ends what was played before. A PC has room for few keys.
            browser.press("Enter");
            for key in "play 60 440 600".chars() {
                browser.type_text(&key.to_string());
                std::thread::sleep(Duration::from_millis(50));
            }
            browser.press("Enter");
            tried = Some(Instant::now());
        }
        let is_there = browser.count("#spice-screen audio") > 0;
        let played = is_there.then(|| browser.property("#spice-screen audio", "currentTime"));
        played.and_then(|time| time.as_f64()).filter(|time| *time > 0.0)
    });
}

#[test]
fn a_desktop_is_heard_clicked_at_and_started_anew_in_the_browser() {
    if !all_is_here() || !require::pages() || !browser::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut machine, gateway) = desktop(folder.path(), &[]);
        machine.boot();
        let broker = gateway.open_again("i-desk");
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        browser.wait_state("connected");
        wait_for("GRUB", || (machine.screen().ink() > 1_000).then_some(()));
        let menu = machine.screen();
        wait_for("GRUB's command line", || {
            browser.press("c");
            (machine.screen().likeness(&menu) < 0.99).then_some(())
        });
        is_heard(&mut browser);
        one_session_with(&gateway, &["main", "playback"]);
        // The page's policy does not keep a video from its place.
        let style = json!({ "style": "position: absolute; top: 40px; left: 70px" });
        browser
            .ask(&json!({ "do": "put", "selector": "#spice-screen", "tag": "video", "attributes": style }));
        wait_for("the video in its place", || {
            let place = ["offsetTop", "offsetLeft"].map(|name| browser.property("#spice-screen video", name));
            (place == [json!(40), json!(70)]).then_some(())
        });
        let clicks = machine.clicks();
        browser.click("#spice-screen canvas");
        wait_for("the click to arrive", || (machine.clicks() >= clicks + 2).then_some(()));
        // All three at once start a PC anew, which its firmware says.
        let starts = |machine: &Machine| machine.firmware().matches("SeaBIOS (version").count();
        let before = starts(&machine);
        browser.press("Escape");
        browser.click("#keys-button");
        browser.click("#keys [data-keys='ctrl alt del']");
        wait_for("the machine to start anew", || (starts(&machine) > before).then_some(()));
        browser.shot("spice-page");
    });
}

#[test]
fn a_wrong_password_of_the_gateways_is_said_to_be_that() {
    if !all_is_here() || !require::pages() || !browser::is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (machine, gateway) = desktop(folder.path(), &[]);
        let instance = json!({
            "host": "127.0.0.1", "graphics_port": machine.spice_port, "graphics_protocol": "spice",
            "graphics_passwd": "another1",
        });
        assert_eq!(gateway.api().put("/v1/instances/i-desk", &instance).0, 200);
        let broker = gateway.open_again("i-desk");
        let mut browser = Browser::open(broker.answer["console_url"].as_str().expect("a URL"));
        browser.wait_text("#title", "The gateway has a wrong password");
        assert!(
            gateway.log().contains("the console of SPICE does not take its password"),
            "{}",
            gateway.log()
        );
    });
}

#[test]
fn a_usb_device_is_the_machines() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut machine, gateway) = desktop(folder.path(), &[]);
        let desk = Desk::start(folder.path());
        let path = file(folder.path(), &gateway, &[]);
        let share = format!("--spice-share-cd={GRUB}");
        let devices = ["--spice-usbredir-redirect-on-connect=-1,-1,-1,-1,1", &share];
        let _viewer = viewer(&desk, &path, &devices);
        one_session_with(&gateway, &["main", "usbredir"]);
        wait_for("the device", || machine.human("info usb").contains("ID: urd0").then_some(()));
        // The firmware finds it, and reads from it by SCSI.
        machine.boot();
        wait_for("the firmware to read from it", || {
            machine.firmware().contains("USB MSC vendor=").then_some(())
        });
        desk.shot("spice-usb");
    });
}

#[test]
fn a_channel_that_is_switched_off_stays_off() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let off = ["targets.spice_channels_off = [\"usbredir\"]"];
        let (mut machine, gateway) = desktop(folder.path(), &off);
        machine.boot();
        let desk = Desk::start(folder.path());
        let path = file(folder.path(), &gateway, &[]);
        let _viewer = viewer(&desk, &path, &[]);
        desk.shows(&mut machine);
        let session = one_session_with(&gateway, &["main", "display", "inputs", "cursor"]);
        assert!(!session["channels"].to_string().contains("usbredir"), "{session}");
    });
}

/// The file of a further ticket.
fn further_file(gateway: &Gateway, broker: &Broker, query: &str) -> [String; 2] {
    let file = gateway.api().get_text(&format!("/v1/brokers/{}/console.vv{query}", broker.id));
    ["host=", "password="]
        .map(|key| file.lines().find_map(|line| line.strip_prefix(key)).expect("a line").to_owned())
}

#[test]
fn a_channel_belongs_to_its_own_desktop() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let folders = ["one", "two"].map(|name| folder.path().join(name));
        let machines = folders.each_ref().map(|folder| {
            std::fs::create_dir(folder).expect("a folder");
            Machine::start_spice(folder, PASSWORD)
        });
        let gateway = Gateway::start(folder.path(), "ebpf", &[]);
        let desktops = ["i-1", "i-2"].map(|id| {
            let machine = if id == "i-1" { &machines[0] } else { &machines[1] };
            let instance = json!({
                "host": "127.0.0.1", "graphics_port": machine.spice_port, "graphics_protocol": "spice",
                "graphics_passwd": PASSWORD,
            });
            assert_eq!(gateway.api().put(&format!("/v1/instances/{id}"), &instance).0, 201);
            let broker = gateway.open_again(id);
            let [_, password] = further_file(&gateway, &broker, "");
            let connect = move || TcpStream::connect(broker.endpoint).expect("connects");
            let main = spice::open(connect(), spice::MAIN, 0, &password).expect("a desktop");
            (connect, password, main)
        });
        let [(first, password, main), (second, other_password, other_main)] = &desktops;
        assert_ne!(main.connection_id, other_main.connection_id);
        let [id, other_id] = [main.connection_id, other_main.connection_id];
        let usb = |stream, id, password: &str| spice::open(stream, spice::USBREDIR, id, password).map(drop);
        // With the first one's id at the second's port, and with its ticket there, too.
        assert_eq!(usb(second(), id, other_password), Err(link::BAD_CONNECTION_ID));
        assert_eq!(usb(second(), id, password), Err(link::PERMISSION_DENIED));
        assert_eq!(usb(first(), other_id, password), Err(link::BAD_CONNECTION_ID));
        assert_eq!(usb(first(), id, password), Ok(()));
        assert_eq!(usb(second(), other_id, other_password), Ok(()));
    });
}

#[test]
fn a_hostile_opening_leads_nowhere() {
    if !all_is_here() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (_machine, gateway) = desktop(folder.path(), &[]);
        let broker = gateway.open_again("i-desk");
        let connect = || TcpStream::connect(broker.endpoint).expect("connects");
        let good = spice::link(spice::MAIN, 0);
        let with = |at: usize, bytes: &[u8]| {
            let mut link = good.clone();
            link[at..at + bytes.len()].copy_from_slice(bytes);
            link
        };
        // Version, size and the place of the capabilities.
        for (first, error) in [
            (with(4, &[3]), link::VERSION_MISMATCH),
            (with(12, &5000_u32.to_le_bytes()), link::INVALID_DATA),
            (with(12, &3_u32.to_le_bytes()), link::INVALID_DATA),
            (with(30, &u32::MAX.to_le_bytes()), link::INVALID_DATA),
            (with(22, &u32::MAX.to_le_bytes()), link::INVALID_DATA),
        ] {
            assert_eq!(spice::ask(&mut connect(), &first).err(), Some(error), "{first:?}");
        }
        // Half of it, and then nothing.
        let mut stream = connect();
        bounded(&stream);
        stream.write_all(&good[..20]).expect("writes");
        stream.shutdown(Shutdown::Write).expect("it is there");
        assert_eq!(stream.read(&mut [0; 256]).expect("the end"), 0);
        // By SASL, with no password at all, or one by another key: the last two are told alike, and as late.
        let sasl = [&2_u32.to_le_bytes()[..], &[0; 128]].concat();
        let by_password = |byte: u8| [&spice::BY_PASSWORD.to_le_bytes()[..], &[byte; 128]].concat();
        let shown = |shown: &[u8]| {
            let mut stream = connect();
            spice::ask(&mut stream, &good).expect("an answer");
            let began = Instant::now();
            (spice::show(&mut stream, shown), began.elapsed())
        };
        assert_eq!(shown(&sasl).0, link::ERROR);
        for byte in [0, 0x5a] {
            let (error, after) = shown(&by_password(byte));
            assert_eq!(error, link::PERMISSION_DENIED);
            assert!(after >= Duration::from_millis(450), "told after {after:?}");
        }
        assert!(live(&gateway).is_empty());
        // None of it is in anybody's way.
        let [_, password] = further_file(&gateway, &broker, "");
        spice::open(connect(), spice::MAIN, 0, &password).expect("a desktop");
    });
}

#[test]
fn a_channel_is_opened_an_hour_later() {
    if !all_is_here() || !require::file(faketime::LIBRARY, "faketime") {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::start_spice(folder.path(), PASSWORD);
        let clock = Clock::of_all(folder.path());
        let wrap = |command, _: &Path| clock.wrap(command);
        let gateway = Gateway::start_by(folder.path(), &[ADDRESS], "none", &[], wrap);
        let instance = json!({
            "host": "127.0.0.1", "graphics_port": machine.spice_port, "graphics_protocol": "spice",
            "graphics_passwd": PASSWORD,
        });
        assert_eq!(gateway.api().put("/v1/instances/i-desk", &instance).0, 201);
        let broker = gateway.open_again("i-desk");
        let [name, password] = further_file(&gateway, &broker, "?proxy=true");
        let [late_name, late_password] = further_file(&gateway, &broker, "?proxy=true");
        let by_tunnel = |name: &str| tunnel(&broker, name);
        let main =
            spice::open(by_tunnel(&name).expect("a tunnel"), spice::MAIN, 0, &password).expect("a desktop");
        clock.set("+3600");
        // Its session goes on, though nobody could be heard meanwhile; its name and its ticket are as good as before.
        let stream = by_tunnel(&name).expect("a tunnel");
        let late = spice::open(stream, spice::USBREDIR, main.connection_id, &password);
        assert!(late.is_ok(), "{late:?}: {}", gateway.log());
        assert_eq!(live(&gateway).len(), 1);
        // Whoever comes for the first time is too late.
        let stream = by_tunnel(&late_name).expect("the name of a broker that somebody uses");
        let late = spice::open(stream, spice::MAIN, 0, &late_password).expect_err("a ticket that is over");
        assert_eq!(late, link::PERMISSION_DENIED);
        // And when nobody is in any more, neither is the name.
        drop(main);
        wait_for("the end of the session", || live(&gateway).is_empty().then_some(()));
        clock.set("+7200");
        wait_for("the end of the name", || by_tunnel(&name).is_err().then_some(()));
    });
}

/// A tunnel to `name`, or what came in place of one.
fn tunnel(broker: &Broker, name: &str) -> Result<TcpStream, String> {
    tunnel_showing(broker.endpoint, name, "")
}

/// The same with a header for the proxy.
fn tunnel_showing(endpoint: SocketAddr, name: &str, header: &str) -> Result<TcpStream, String> {
    let ask = || {
        let mut stream = TcpStream::connect(endpoint)?;
        bounded(&stream);
        write!(stream, "CONNECT {name}:5900 HTTP/1.0\r\nHost: {name}:5900\r\n{header}\r\n")?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 {
                break;
            }
            head.push(byte[0]);
        }
        Ok((stream, String::from_utf8_lossy(&head).into_owned()))
    };
    // A port that is closed answers as the system does.
    let (stream, head) = ask().map_err(|error: std::io::Error| error.to_string())?;
    if head.starts_with("HTTP/1.1 200 ") { Ok(stream) } else { Err(head) }
}

#[test]
fn a_tunnel_leads_to_its_broker_and_nowhere_else() {
    if !require::root() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::start(folder.path(), "none", &[]);
        let brokers = ["i-1", "i-2"].map(|id| {
            gateway.add_instance_speaking(id, "spice", 5900);
            gateway.open_again(id)
        });
        let names = brokers.each_ref().map(|broker| {
            let path = format!("/v1/brokers/{}/console.vv?proxy=true", broker.id);
            let file = gateway.api().get_text(&path);
            file.lines().find_map(|line| line.strip_prefix("host=")).expect("a name").to_owned()
        });
        for (broker, name) in brokers.iter().zip(&names) {
            let mut inside = tunnel(broker, name).expect("a tunnel");
            // What follows is judged as it would be without: another tunnel is none.
            write!(inside, "CONNECT {name}:1 HTTP/1.0\r\n\r\n").expect("writes");
            let mut answer = String::new();
            inside.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        }
        let forged = names[0].replace(".portcullis", "0.portcullis");
        for name in [&names[1], &forged, "10.0.0.7", "localhost", "portcullis.invalid", &brokers[0].id] {
            let refused = tunnel(&brokers[0], name).expect_err("no tunnel");
            assert!(refused.starts_with("HTTP/1.1 403 "), "{name}: {refused}");
        }
        gateway.wait_metric("portcullis_handshake_refusals_total{code=\"wrong_name\"}", 8.0);
    });
}
