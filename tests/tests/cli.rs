//! The command line from the outside: what it imports, what it refuses, and what it says.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use aya::programs::{SchedClassifier, TcAttachType};
use portcullis_tests::gateway::{ADDRESS, BODY_MAX, Gateway, padded, program};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::run;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::open;
use portcullis_tests::{behind_every_gate, behind_nftables, require};
use serde_json::{Value, json};

behind_every_gate!(
    every_format_imports_the_same,
    a_wrong_file_imports_nothing,
    an_import_moves_open_brokers,
    ten_thousand_instances_come_at_once,
    the_service_takes_all_rows_or_none,
    instances_are_shown_and_removed,
    a_password_comes_from_a_file,
    doctor_says_what_serve_would_say,
);

behind_nftables!(doctor_says_what_serve_would_say);

fn gateway(backend: &str) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    (folder, gateway)
}

/// Exit code, output and errors of a command.
type Said = (Option<i32>, String, String);

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn ask(gateway: &Gateway, folder: &Path, arguments: &[&str], input: &str) -> Said {
    let mut command = gateway.command_line();
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("reads");
    said(child.wait_with_output().expect("ends"))
}

const CSV: &str = "\
instance_id,hypervisor,host,graphics_port,graphics_protocol,graphics_passwd
i-1,,10.0.0.1,5901,vnc,
i-2,lxc,10.0.0.2,5902,spice,secret12
";

const TOML: &str = r#"
[[instance]]
instance_id = "i-1"
host = "10.0.0.1"
graphics_port = 5901
graphics_protocol = "vnc"

[[instance]]
instance_id = "i-2"
hypervisor = "lxc"
host = "10.0.0.2"
graphics_port = 5902
graphics_protocol = "spice"
graphics_passwd = "secret12"
"#;

const JSONL: &str = r#"{"instance_id": "i-1", "host": "10.0.0.1", "graphics_port": 5901, "graphics_protocol": "vnc"}
{"instance_id": "i-2", "hypervisor": "lxc", "host": "10.0.0.2", "graphics_port": 5902, "graphics_protocol": "spice", "graphics_passwd": "secret12"}
"#;

fn instances(gateway: &Gateway) -> Value {
    let (status, page) = gateway.api().get("/v1/instances?limit=1000");
    assert_eq!(status, 200, "{page}");
    page["items"].clone()
}

fn every_format_imports_the_same(backend: &str) {
    let (folder, gateway) = gateway(backend);
    let expected = json!([
        { "instance_id": "i-1", "hypervisor": "kvm", "host": "10.0.0.1", "graphics_port": 5901,
          "graphics_protocol": "vnc" },
        { "instance_id": "i-2", "hypervisor": "lxc", "host": "10.0.0.2", "graphics_port": 5902,
          "graphics_protocol": "spice" },
    ]);
    for (name, text) in [("farm.csv", CSV), ("farm.toml", TOML), ("farm.jsonl", JSONL)] {
        fs::write(folder.path().join(name), text).expect("writes");
        let (code, out, error) = ask(&gateway, folder.path(), &["instance", "import", name], "");
        assert_eq!((code, out.as_str()), (Some(0), "2 created, 0 updated\n"), "{name}: {error}");
        assert_eq!(instances(&gateway), expected, "{name}");
        let format = name.rsplit_once('.').expect("an ending").1;
        let from_stdin = ["instance", "import", "-", "--format", format, "--json"];
        let (code, out, error) = ask(&gateway, folder.path(), &from_stdin, text);
        assert_eq!(code, Some(0), "{name}: {error}");
        assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON"), json!({ "created": 0, "updated": 2 }));
        for id in ["i-1", "i-2"] {
            assert_eq!(gateway.api().delete(&format!("/v1/instances/{id}")).0, 204);
        }
    }
}

fn a_wrong_file_imports_nothing(backend: &str) {
    let (folder, gateway) = gateway(backend);
    gateway.add_instance("i-0", 5900);
    let before = instances(&gateway);
    let csv = format!("{CSV}i-3,kvm,a b,5903,vnc,\ni-2,kvm,10.0.0.4,5904,vnc,\n");
    let toml = format!("{TOML}\n[[instance]]\ninstance_id = \"i-3\"\nhost = \"h\"\ngraphics_port = 0\n");
    let jsonl = format!("{JSONL}\n{{\"instance_id\": \"i-3\"}}\nnothing\n");
    let many = format!("{CSV}{}", "i-3,kvm,a b,5903,vnc,\n".repeat(150));
    for (name, text, expected) in [
        (
            "a.csv",
            csv.as_str(),
            vec!["a.csv:4: host \"a b\"", "a.csv:5: instance_id \"i-2\" is that of line 3 too"],
        ),
        ("a.toml", &toml, vec!["a.toml:16: missing field `graphics_protocol`"]),
        ("a.jsonl", &jsonl, vec!["a.jsonl:4: missing field", "a.jsonl:5: expected"]),
        ("b.toml", "[[instance]]\nhost =\n", vec!["b.toml:2: "]),
        (
            "many.csv",
            &many,
            vec!["many.csv:4: host", "many.csv:103: ", "150 in all, the first 100 are above"],
        ),
        ("empty.csv", "", vec!["no column \"instance_id\""]),
        ("empty.toml", "", vec!["empty.toml: holds no instance"]),
        ("a.txt", CSV, vec!["--format toml, csv or jsonl"]),
    ] {
        fs::write(folder.path().join(name), text).expect("writes");
        let (code, out, error) = ask(&gateway, folder.path(), &["instance", "import", name], "");
        assert_eq!((code, out.as_str()), (Some(if name == "a.txt" { 2 } else { 1 }), ""), "{name}: {error}");
        for part in expected {
            assert!(error.contains(part), "{name}: {part} is not in {error}");
        }
        assert!(error.lines().count() <= 101, "{error}");
        assert_eq!(instances(&gateway), before, "{name}");
    }
    // A file that is wrong is told without the daemon; a sound one needs it, and its key.
    let key = folder.path().join("wrong.key");
    fs::write(&key, "wrong").expect("writes");
    fs::write(folder.path().join("good.csv"), CSV).expect("writes");
    let by = |file| ["--key-file", "wrong.key", "instance", "import", file];
    assert_eq!(ask(&gateway, folder.path(), &by("a.csv"), "").0, Some(1));
    let (code, _, error) = ask(&gateway, folder.path(), &by("good.csv"), "");
    assert_eq!((code, error.contains("--key-file names another")), (Some(3), true), "{error}");
    let (code, _, error) = ask(&gateway, folder.path(), &["instance", "import", "nowhere.csv"], "");
    assert_eq!((code, error.contains("read nowhere.csv")), (Some(1), true), "{error}");
    assert_eq!(
        ask(&gateway, folder.path(), &["instance", "import", "a.csv", "--format", "xml"], "").0,
        Some(2)
    );
}

fn an_import_moves_open_brokers(backend: &str) {
    let (folder, gateway) = gateway(backend);
    let (old, new) = (Target::new(), Target::new());
    gateway.add_instance("i-1", old.port());
    let broker = gateway.open_again("i-1");
    let row = format!(
        "{{\"instance_id\": \"i-1\", \"host\": \"127.0.0.1\", \"graphics_port\": {}, \"graphics_protocol\": \"vnc\"}}",
        new.port()
    );
    let import = ["instance", "import", "-", "--format", "jsonl"];
    let (code, out, error) = ask(&gateway, folder.path(), &import, &row);
    assert_eq!((code, out.as_str()), (Some(0), "0 created, 1 updated\n"), "{error}");
    let _session = open(&broker).expect("a session");
    let _console = new.accept();
}

fn ten_thousand_instances_come_at_once(backend: &str) {
    let (folder, gateway) = gateway(backend);
    let mut text = String::from("instance_id,host,graphics_port,graphics_protocol,graphics_passwd\n");
    for number in 0..10_000 {
        text.push_str(&format!("i-{number:08},10.0.{}.{},5900,vnc,secret12\n", number / 250, number % 250));
    }
    fs::write(folder.path().join("farm.csv"), &text).expect("writes");
    let began = std::time::Instant::now();
    let (code, out, error) = ask(&gateway, folder.path(), &["instance", "import", "farm.csv"], "");
    let took = began.elapsed();
    assert_eq!((code, out.as_str()), (Some(0), "10000 created, 0 updated\n"), "{error}");
    // A few seconds on any machine; a transaction for each row would take minutes on a slow disk.
    assert!(took.as_secs() < 20, "{took:?}");
    let (code, list, _) = ask(&gateway, folder.path(), &["instance", "list"], "");
    assert_eq!((code, list.lines().count()), (Some(0), 10_000));
    // As many as are taken at once, and one more.
    for number in 10_000..100_000 {
        text.push_str(&format!("i-{number:08},10.{}.0.1,5900,vnc,secret12\n", number % 250));
    }
    fs::write(folder.path().join("farm.csv"), &text).expect("writes");
    let (code, out, error) = ask(&gateway, folder.path(), &["instance", "import", "farm.csv"], "");
    assert_eq!((code, out.as_str()), (Some(0), "90000 created, 10000 updated\n"), "{error}");
    text.push_str("i-100000,h,5900,vnc,\n");
    fs::write(folder.path().join("farm.csv"), &text).expect("writes");
    let (code, _, error) = ask(&gateway, folder.path(), &["instance", "import", "farm.csv"], "");
    assert_eq!((code, error.contains("more than 100000 rows or 16 MiB")), (Some(1), true), "{error}");
}

fn the_service_takes_all_rows_or_none(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let row = |id: &str| json!({ "instance_id": id, "host": "h", "graphics_port": 5900, "graphics_protocol": "vnc" });
    let with = |key: &str, value: Value| {
        let mut row = row("i-2");
        row[key] = value;
        row
    };
    let mut without_id = row("i-2");
    without_id.as_object_mut().expect("an object").remove("instance_id");
    let many: Vec<Value> = (0..100_001).map(|number| row(&format!("i-{number}"))).collect();
    for (body, status, code, part) in [
        (
            json!({ "instances": [row("i-1"), with("host", json!("a b"))] }),
            400,
            "bad_request",
            "instances[1]",
        ),
        (
            json!({ "instances": [row("i-1"), with("graphics_port", json!("x"))] }),
            400,
            "bad_request",
            "instances[1]",
        ),
        (
            json!({ "instances": [row("i-1"), with("colour", json!("red"))] }),
            400,
            "bad_request",
            "instances[1]",
        ),
        (json!({ "instances": [row("i-1"), without_id] }), 400, "bad_request", "instances[1]: missing field"),
        (
            json!({ "instances": [row("i-1"), row("i-2"), row("i-1")] }),
            400,
            "bad_request",
            "instances[2]: instances[0]",
        ),
        (json!({ "instances": many }), 413, "too_large", "at most 100000"),
        (json!({}), 400, "bad_request", "instances"),
        (json!([row("i-1")]), 400, "bad_request", ""),
    ] {
        let (answered, problem) = gateway.api().post("/v1/instances", &body);
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{problem}");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(part), "{part} is not in {detail}");
        assert_eq!(instances(&gateway), json!([]));
    }
    let import = padded("{\"instances\": [{\"instance_id\": \"", "\"}]}", (16 << 20) + 1);
    let (status, problem) = gateway.api().post_text("/v1/instances", "application/json", &import);
    assert_eq!((status, &problem["code"]), (413, &json!("too_large")));
    // The bound of all other calls stands.
    let broker = padded("{\"instance_id\": \"", "\"}", BODY_MAX + 1);
    let (status, problem) = gateway.api().post_text("/v1/brokers", "application/json", &broker);
    assert_eq!((status, &problem["code"]), (413, &json!("too_large")));
    let (status, answer) =
        gateway.api().post("/v1/instances", &json!({ "instances": [row("i-1"), row("i-2")] }));
    assert_eq!((status, answer), (200, json!({ "created": 2, "updated": 0 })));
    let (status, answer) =
        gateway.api().post("/v1/instances", &json!({ "instances": [row("i-2"), row("i-3")] }));
    assert_eq!((status, answer), (200, json!({ "created": 1, "updated": 1 })));
    assert_eq!(gateway.api().post("/v1/instances", &json!({ "instances": [] })).0, 200);
}

fn instances_are_shown_and_removed(backend: &str) {
    let (folder, gateway) = gateway(backend);
    let ask = |arguments: &[&str]| ask(&gateway, folder.path(), arguments, "");
    assert_eq!(ask(&["instance", "add", "i/1", "--host", "127.0.0.1", "--port", "5901"]).0, Some(0));
    let (code, shown, _) = ask(&["instance", "show", "i/1"]);
    assert_eq!((code, shown.contains("vnc at 127.0.0.1 port 5901")), (Some(0), true), "{shown}");
    let (_, shown, _) = ask(&["instance", "show", "i/1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON")["instance_id"], "i/1");
    let broker = gateway.open_again("i/1");
    let (code, said, _) = ask(&["instance", "remove", "i/1", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, said), (Some(0), json!({ "instance_id": "i/1", "state": "removed" })));
    assert_eq!(gateway.api().get(&format!("/v1/brokers/{}", broker.id)).0, 404);
    for command in ["show", "remove"] {
        let (code, _, error) = ask(&["instance", command, "i/1"]);
        assert_eq!((code, error.contains("there is no instance \"i/1\"")), (Some(3), true), "{error}");
    }
}

fn a_password_comes_from_a_file(backend: &str) {
    let (folder, gateway) = gateway(backend);
    fs::write(folder.path().join("passwd"), "secret12\n").expect("writes");
    fs::write(folder.path().join("two"), "secret12\nsecret13\n").expect("writes");
    let add = |file: &str, input: &str| {
        let arguments = ["instance", "add", "i-1", "--host", "h", "--port", "5901", "--password-file", file];
        ask(&gateway, folder.path(), &arguments, input)
    };
    assert_eq!(add("passwd", "").0, Some(0));
    let (code, out, error) = add("-", "secret13\n");
    assert_eq!(code, Some(0), "{error}");
    assert!(!format!("{out}{error}").contains("secret"), "{out}{error}");
    for (file, part) in [("two", "in one line"), ("nowhere", "read the password from nowhere")] {
        let (code, _, error) = add(file, "");
        assert_eq!((code, error.contains(part)), (Some(1), true), "{error}");
    }
    // There is no way to name it in the open.
    let open = ["instance", "add", "i-1", "--host", "h", "--port", "5901", "--password", "secret12"];
    assert_eq!(ask(&gateway, folder.path(), &open, "").0, Some(2));
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(program()).args(["completions", shell]).output().expect("runs");
        let (code, script, error) = said(output);
        assert_eq!(code, Some(0), "{error}");
        assert!(script.contains("portcullis") && script.contains("import"), "{script}");
    }
    let unknown = Command::new(program()).args(["completions", "tcsh"]).output().expect("runs");
    assert_eq!(unknown.status.code(), Some(2));
}

/// The configuration of a gateway in `folder` that was not started.
fn config(folder: &Path, backend: &str) -> String {
    drop(Gateway::command(folder, &[ADDRESS], backend, &[]));
    folder.join("portcullis.toml").to_str().expect("a path").to_owned()
}

/// What the doctor says as JSON, and that it exits as it should.
fn doctor(mut command: Command) -> Value {
    let (code, out, error) = said(command.arg("--json").output().expect("runs"));
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}{error}"));
    let checks = report["checks"].as_array().expect("a list");
    let all_ok = checks.iter().all(|check| check["state"] == "ok");
    assert_eq!(code, Some(if all_ok { 0 } else { 1 }), "{report:#}");
    for check in checks {
        assert!(check["name"].is_string() && check["seen"].is_string(), "{check}");
        let remedy = check["remedy"].as_str().is_some_and(|remedy| !remedy.contains('\n'));
        assert!(check["state"] == "ok" || remedy, "{check} without a remedy in one line");
        assert!(!check["seen"].as_str().is_some_and(|seen| seen.contains('\n')), "{check}");
    }
    report
}

fn examine(config: &str) -> Command {
    let mut command = Command::new(program());
    command.args(["doctor", "--config", config]);
    command
}

fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().expect("a list").iter();
    checks.find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

fn doctor_says_what_serve_would_say(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), backend);
    let report = doctor(examine(&config));
    for name in ["config", "kernel", "filter", "addresses", "store"] {
        assert_eq!(finding(&report, name)["state"], "ok", "{report:#}");
    }
    assert!(!folder.path().join("state").exists(), "doctor made the state folder");
    if backend == "ebpf" {
        let (_, programs) = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).expect("answers");
        assert_eq!(programs.len(), 0, "doctor attached something");
    }
    let gateway = Gateway::start(folder.path(), backend, &[]);
    for name in ["backend", "hook", "steering"] {
        assert_eq!(report[name], gateway.ready(name), "{name}");
    }
    // What the daemon holds is no finding, whatever the doctor is asked beside it.
    let _broker = gateway.open(Target::new().port());
    let beside = doctor(examine(&config));
    assert_eq!(finding(&beside, "broker ports"), finding(&report, "broker ports"), "{beside:#}");
    let store = finding(&beside, "store");
    let in_use = format!("in use by the daemon that runs, process {}", gateway.id());
    assert!(store["seen"].as_str().is_some_and(|seen| seen.contains(&in_use)), "{store}");
}

#[test]
fn doctor_says_what_is_in_the_way() {
    if !(require::root() && require::file("/usr/sbin/nft", "nftables")) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path(), "none");
        assert_eq!(finding(&doctor(examine(&config)), "firewall")["state"], "ok");
        // All of this is the namespace's own, and gone with it.
        run(
            "nft",
            &["add table inet t; add chain inet t in { type filter hook input priority 0; policy drop; }"],
        );
        run("nft", &["add rule inet t in iifname lo tcp dport { 22, 8700 } accept"]);
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "14000 60999").expect("writes");
        let _foreign = std::net::TcpListener::bind((ADDRESS, 10_005)).expect("listens");
        let api = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        let mut command = examine(&config);
        command.env("PORTCULLIS_API_LISTEN", api.local_addr().expect("an address").to_string());
        let report = doctor(command);
        for (name, state, part) in [
            ("firewall", "degraded", "nft inet t in"),
            ("local ports", "degraded", "1001 of them are broker ports"),
            ("broker ports", "degraded", "on 127.0.80.1:10005"),
            ("listen", "missing", "others listen there"),
        ] {
            let check = finding(&report, name);
            let seen = check["seen"].as_str().expect("text");
            assert_eq!((check["state"].as_str(), seen.contains(part)), (Some(state), true), "{check}");
        }
        let foreign = finding(&report, "broker ports")["seen"].as_str().expect("text");
        assert!(foreign.contains(&format!("({})", std::process::id())), "{foreign}");
        // Each is mended as the doctor says.
        run("nft", &["insert rule inet t in tcp dport 10000-15000 accept"]);
        fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", "10000-15000").expect("writes");
        let mut command = examine(&config);
        command.env("PORTCULLIS_RANGE_EXCLUDE", "[10005]");
        let report = doctor(command);
        for name in ["firewall", "local ports", "broker ports", "listen"] {
            assert_eq!(finding(&report, name)["state"], "ok", "{report:#}");
        }
        // nft cannot read all that iptables wrote.
        if require::file("/usr/sbin/iptables-nft", "iptables") {
            run("iptables-nft", &["-P", "INPUT", "DROP"]);
            assert_eq!(finding(&doctor(examine(&config)), "firewall")["state"], "degraded");
            let multiport = ["-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "22,10000:15000"];
            run("iptables-nft", &[&multiport[..], &["-j", "ACCEPT"]].concat());
            assert_eq!(finding(&doctor(examine(&config)), "firewall")["state"], "ok");
        }
        let mut command = examine(&config);
        command.env("PORTCULLIS_ADDRESSES", "[\"203.0.113.77\"]");
        assert_eq!(finding(&doctor(command), "addresses")["state"], "missing");
    });
}

#[test]
fn doctor_says_what_an_ordinary_user_lacks() {
    if !(require::kernel() && require::nft()) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        for (backend, state, runs) in
            [("auto", "degraded", "none"), ("ebpf", "missing", "-"), ("nft", "missing", "-")]
        {
            let config = config(folder.path(), backend);
            let report = doctor(ordinary(&examine(&config), folder.path()));
            for name in ["capabilities", "filter"] {
                assert_eq!(finding(&report, name)["state"], state, "{report:#}");
            }
            let seen = finding(&report, "filter")["seen"].as_str().expect("text");
            assert!(seen.contains("not permitted"), "{seen}");
            assert_eq!(report["backend"], runs, "{report:#}");
            let text = said(ordinary(&examine(&config), folder.path()).output().expect("runs"));
            assert_eq!((text.0, text.1.contains(state)), (Some(1), true), "{text:?}");
        }
        // A state folder of another user.
        fs::create_dir(folder.path().join("state")).expect("makes it");
        run("chmod", &["700", folder.path().join("state").to_str().expect("a path")]);
        let mut command = examine(&config(folder.path(), "none"));
        assert_eq!(finding(&doctor(command), "store")["state"], "ok");
        command = setpriv(&examine(&config(folder.path(), "none")));
        assert_eq!(finding(&doctor(command), "store")["state"], "missing");
    });
}

/// The same command as an ordinary user, to whom `folder` is given.
fn ordinary(command: &Command, folder: &Path) -> Command {
    run("chown", &["-R", NOBODY, folder.to_str().expect("a path")]);
    setpriv(command)
}

const NOBODY: &str = "65534";

fn setpriv(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    wrapped.args(["--bounding-set=-all", "--inh-caps=-all"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

#[test]
fn doctor_needs_no_configuration_to_look_at_the_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("wrong.toml");
    fs::write(&wrong, "addresses = [\"127.0.80.1\"]\ncolour = \"red\"\n").expect("writes");
    for (path, part) in [(wrong.as_path(), "unknown field `colour`"), (Path::new("/nowhere"), "No such file")]
    {
        let (code, out, _) = said(examine(path.to_str().expect("a path")).output().expect("runs"));
        let sound = out.contains("missing   config") && out.contains(part) && out.contains("kernel  ");
        assert!(code == Some(1) && sound, "{out}");
    }
    assert_eq!(
        Command::new(program()).args(["doctor", "--colour"]).output().expect("runs").status.code(),
        Some(2)
    );
}
