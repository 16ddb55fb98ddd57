//! The control API from the outside: what is asked wrongly is answered clearly, and changes nothing.

use portcullis_tests::behind_every_gate;
use portcullis_tests::gateway::{BODY_MAX, Broker, Gateway, agent, call, padded};
use portcullis_tests::process::descriptors;
use portcullis_tests::target::Target;
use portcullis_tests::wait_for;
use portcullis_tests::websocket::{closed, echoes, open, open_with};
use serde_json::{Value, json};

behind_every_gate!(
    what_is_asked_wrongly_changes_nothing,
    every_call_needs_the_key,
    lists_come_in_parts,
    the_command_line_does_what_the_api_does,
    sessions_are_shown_and_ended_by_the_command_line,
    the_description_is_true,
);

fn gateway(backend: &str) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, &[]);
    (folder, gateway)
}

fn instance() -> Value {
    json!({ "host": "127.0.0.1", "graphics_port": 5900, "graphics_protocol": "vnc" })
}

fn with(key: &str, value: Value) -> Value {
    let mut body = instance();
    body[key] = value;
    body
}

fn what_is_asked_wrongly_changes_nothing(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let api = gateway.api();
    assert_eq!(api.put("/v1/instances/i-1", &instance()).0, 201);
    let state = || {
        let kept = [api.get("/v1/instances").1, api.get("/v1/brokers").1];
        (
            kept,
            gateway.metric("portcullis_brokers{state=\"open\"}"),
            gateway.metric("portcullis_brokers_opened_total"),
        )
    };
    let before = state();
    let opened = descriptors(gateway.id());
    let long = "x".repeat(256);
    let mut missing = instance();
    missing.as_object_mut().expect("an object").remove("host");
    for (method, path, body, status, code) in [
        ("POST", "/v1/brokers", json!({}), 400, "bad_request"),
        ("POST", "/v1/brokers", json!({ "instance_id": 7 }), 400, "bad_request"),
        ("POST", "/v1/brokers", json!({ "instance_id": "i-1", "colour": "red" }), 400, "bad_request"),
        ("POST", "/v1/brokers", json!({ "instance_id": "i-1", "ttl_s": 0 }), 400, "bad_request"),
        ("POST", "/v1/brokers", json!({ "instance_id": "i-1", "ttl_s": 86_401 }), 400, "bad_request"),
        ("POST", "/v1/brokers", json!({ "instance_id": "i-1", "ttl_s": -1 }), 400, "bad_request"),
        ("POST", "/v1/brokers", json!({ "instance_id": "i-2" }), 404, "no_instance"),
        ("POST", "/v1/brokers", json!({ "instance_id": "'; DROP TABLE broker; --" }), 404, "no_instance"),
        ("GET", "/v1/brokers/b-0000", Value::Null, 404, "no_broker"),
        ("DELETE", "/v1/brokers/b-0000", Value::Null, 404, "no_broker"),
        ("DELETE", "/v1/brokers", Value::Null, 405, "method_not_allowed"),
        ("GET", "/v1/brokers?limit=0", Value::Null, 400, "bad_request"),
        ("GET", "/v1/brokers?limit=x", Value::Null, 400, "bad_request"),
        ("GET", "/v1/brokers?page=1", Value::Null, 400, "bad_request"),
        ("GET", "/v1/instances/i-2", Value::Null, 404, "no_instance"),
        ("DELETE", "/v1/instances/i-2", Value::Null, 404, "no_instance"),
        ("PUT", "/v1/instances/i-2", missing, 400, "bad_request"),
        ("PUT", "/v1/instances/i-2", with("graphics_port", json!(0)), 400, "bad_request"),
        ("PUT", "/v1/instances/i-2", with("graphics_port", json!(65_536)), 400, "bad_request"),
        ("PUT", "/v1/instances/i-2", with("graphics_protocol", json!("telnet")), 400, "bad_request"),
        ("PUT", "/v1/instances/i-2", with("hypervisor", json!("xen")), 400, "bad_request"),
        ("PUT", "/v1/instances/i-2", with("host", json!("a b")), 400, "bad_request"),
        ("PUT", "/v1/instances/i-2", with("instance_id", json!("i-3")), 400, "bad_request"),
        ("PUT", "/v1/instances/i-2", with("colour", json!("red")), 400, "bad_request"),
        ("PUT", &format!("/v1/instances/{long}"), instance(), 400, "bad_request"),
        ("GET", "/v1/nothing", Value::Null, 404, "no_such_call"),
        ("GET", "/assets/nothing", Value::Null, 404, "no_such_call"),
        ("POST", "/", Value::Null, 405, "method_not_allowed"),
        ("GET", "/v1/brokers/%ff", Value::Null, 400, "bad_request"),
        ("POST", "/openapi.json", Value::Null, 405, "method_not_allowed"),
    ] {
        let (answered, problem) = match method {
            "GET" => api.get(path),
            "POST" => api.post(path, &body),
            "PUT" => api.put(path, &body),
            _ => api.delete(path),
        };
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{method} {path}: {problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        assert_eq!(state(), before, "{method} {path}");
    }
    let huge = padded("{\"instance_id\": \"", "\"}", BODY_MAX + 1);
    let (status, problem) = api.post_text("/v1/brokers", "application/json", &huge);
    assert_eq!((status, problem["code"].as_str()), (413, Some("too_large")));
    let (status, text) = raw(&gateway, "POST", "text/plain", "instance_id=i-1");
    assert_eq!((status, text.contains("not_json")), (415, true), "{text}");
    let (status, text) = raw(&gateway, "POST", "application/json", "{");
    assert_eq!((status, text.contains("bad_request")), (400, true), "{text}");
    assert_eq!(state(), before);
    wait_for("descriptors to be given back", || (descriptors(gateway.id()) <= opened).then_some(()));
}

fn raw(gateway: &Gateway, method: &str, content_type: &str, body: &str) -> (u16, String) {
    assert_eq!(method, "POST");
    let request = agent().post(format!("{}/v1/brokers", gateway.api().url));
    let request = request.header("X-API-Key", &gateway.api().key).header("Content-Type", content_type);
    call(request.send(body))
}

fn every_call_needs_the_key(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    for path in ["/v1/brokers", "/v1/instances", "/v1/instances/i-1", "/v1/nothing"] {
        let url = format!("{}{path}", gateway.api().url);
        let (status, text) = call(agent().get(&url).call());
        assert_eq!((status, text.contains("no_key")), (401, true), "{text}");
        for (name, value) in [("X-API-Key", "wrong"), ("Authorization", "Bearer wrong"), ("X-API-Key", "")] {
            let (status, text) = call(agent().get(&url).header(name, value).call());
            assert_eq!((status, text.contains("wrong_key")), (401, true), "{text}");
        }
    }
    let bearer = format!("Bearer {}", gateway.api().key);
    let url = format!("{}/v1/brokers", gateway.api().url);
    let response = agent().get(url).header("Authorization", bearer).call().expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers().get("access-control-allow-origin").is_none());
}

fn lists_come_in_parts(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    for number in 0..5 {
        gateway.add_instance(&format!("i-{number}"), 5_900);
    }
    let mut brokers: Vec<String> =
        (0..5).map(|number| gateway.open_again(&format!("i-{number}")).id).collect();
    brokers.sort();
    let parts = |list: &str, id: &str| {
        let mut ids = Vec::new();
        let mut after = String::new();
        loop {
            let (status, page) = gateway.api().get(&format!("/v1/{list}?limit=2{after}"));
            assert_eq!(status, 200, "{page}");
            let items = page["items"].as_array().expect("a list");
            assert!(items.len() <= 2);
            ids.extend(items.iter().map(|item| item[id].as_str().expect("text").to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return ids,
            }
        }
    };
    assert_eq!(parts("brokers", "broker_id"), brokers);
    assert_eq!(parts("instances", "instance_id"), ["i-0", "i-1", "i-2", "i-3", "i-4"]);
    let shown = gateway.api().get("/v1/instances/i-0").1;
    let expected = json!({
        "instance_id": "i-0", "hypervisor": "kvm", "host": "127.0.0.1", "graphics_port": 5900,
        "graphics_protocol": "vnc",
    });
    assert_eq!(shown, expected);
    // A password is written and never read back.
    assert_eq!(gateway.api().put("/v1/instances/i-0", &with("graphics_passwd", json!("secret12"))).0, 200);
    assert!(!gateway.api().get("/v1/instances").1.to_string().contains("secret12"));
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn the_command_line_does_what_the_api_does(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let ask = |arguments: &[&str]| {
        let output = gateway.command_line().args(arguments).output().expect("runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let port = Target::new().port().to_string();
    let (code, _, said) = ask(&["instance", "add", "i-1", "--host", "127.0.0.1", "--port", &port]);
    assert_eq!(code, Some(0), "{said}");
    let (_, list, _) = ask(&["instance", "list", "--json"]);
    assert_eq!(read(&list)[0]["instance_id"], "i-1");
    let (code, created, _) = ask(&["broker", "create", "i-1", "--json"]);
    assert_eq!(code, Some(0));
    let created = read(&created);
    let id = created["broker_id"].as_str().expect("an id");
    assert!(created["console_url"].as_str().is_some_and(|url| url.contains("/#token=")), "{created}");
    let (_, shown, _) = ask(&["broker", "show", id]);
    assert!(shown.contains(id) && shown.contains("i-1"), "{shown}");
    let (_, list, _) = ask(&["broker", "list"]);
    assert_eq!(list.lines().next(), shown.lines().next());
    let counted = "new connections: 0 let in, 0 from elsewhere, 0 too late, 0 over a limit";
    assert_eq!(shown.lines().nth(1), (backend == "ebpf").then_some(counted));
    let (code, said, _) = ask(&["broker", "close", id, "--json"]);
    assert_eq!((code, read(&said)), (Some(0), json!({ "broker_id": id, "state": "closed" })));
    // 3: refused by the service, 2: wrong usage, 1: failed.
    let (code, _, said) = ask(&["broker", "close", id]);
    assert_eq!((code, said.contains("there is no broker")), (Some(3), true), "{said}");
    assert_eq!(ask(&["broker", "open"]).0, Some(2));
    let (code, _, said) = ask(&["--url", "http://127.0.0.1:1", "broker", "list"]);
    assert_eq!((code, said.contains("--url names another")), (Some(1), true), "{said}");
    let (code, _, said) = ask(&["--key-file", "/nowhere", "broker", "list"]);
    assert_eq!((code, said.contains("--key-file names another")), (Some(1), true), "{said}");
    let (code, _, said) = ask(&["serve", "--config", "/nowhere"]);
    assert_eq!((code, said.contains("/nowhere")), (Some(1), true), "{said}");
}

fn sessions_are_shown_and_ended_by_the_command_line(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let ask = |arguments: &[&str]| {
        let output = gateway.command_line().args(arguments).output().expect("runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let json = |arguments: &[&str]| -> Value {
        let (code, text, said) = ask(arguments);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str(&text).expect("JSON")
    };
    gateway.add_instance("i-1", Target::new().echo());
    let first = Broker::read(json(&["open", "i-1", "--json"]));
    // The same broker, another ticket.
    let (_, url, _) = ask(&["open", "i-1"]);
    let second = url.trim().split_once("/#token=").map(|(_, token)| token.to_owned()).expect("a ticket");
    assert!(second != first.token && url.contains(&format!(":{}/", first.endpoint.port())), "{url}");
    let mut session = open(&first).expect("a session");
    echoes(&mut session, b"hello");
    let mut other = open_with(first.endpoint, Some(&second)).expect("a session");

    // What moves is reported now and then.
    let id = wait_for("the bytes of the first session", || {
        let live = json(&["session", "list", "--state", "live", "--json"]);
        assert_eq!(live.as_array().map(Vec::len), Some(2), "{live}");
        let first = live.as_array()?.iter().find(|session| session["up_bytes"] == 5)?;
        first["session_id"].as_str().map(str::to_owned)
    });
    let id = id.as_str();
    let (code, said, _) = ask(&["session", "kill", id, "--json"]);
    assert_eq!((code, read(&said)), (Some(0), json!({ "session_id": id, "end_reason": "killed" })));
    assert!(closed(&mut session).is_some());
    wait_for("the end to be recorded", || {
        (json(&["session", "show", id, "--json"])["state"] == "ended").then_some(())
    });
    let (_, ended, _) = ask(&["session", "list", "--state", "ended"]);
    assert_eq!(ended, ask(&["session", "show", id]).1);
    assert!(ended.contains(id) && ended.contains("5 up 5 down"), "{ended}");
    assert_eq!(json(&["session", "list", "--json"]).as_array().map(Vec::len), Some(2));
    let (code, _, said) = ask(&["session", "kill", id]);
    assert_eq!((code, said.contains("there is no session")), (Some(3), true), "{said}");
    assert_eq!(ask(&["session", "list", "--state", "dead"]).0, Some(2));
    // Its ticket lets nobody in any more; the other session goes on.
    assert!(open(&first).is_err());
    echoes(&mut other, b"still here");

    let free = ["broker", "create", "i-1", "--client", "127.0.0.0/8", "--tickets", "optional", "--json"];
    let free = Broker::read(json(&free));
    assert_eq!(
        (&free.answer["tickets"], &free.answer["client"]),
        (&json!("optional"), &json!("127.0.0.0/8"))
    );
    echoes(&mut open_with(free.endpoint, None).expect("without a ticket"), b"hello");
    let (code, _, said) = ask(&["broker", "create", "i-1", "--tickets", "optional"]);
    assert_eq!((code, said.contains("client")), (Some(3), true), "{said}");
    let again = Broker::read(json(&["broker", "create", "i-1", "--reuse", "--json"]));
    assert_eq!(again.id, first.id);
}

/// Every call of the description is one, and answers what the description says: status, kind and code.
fn the_description_is_true(backend: &str) {
    let (_folder, gateway) = gateway(backend);
    let url = |path: &str| format!("{}{path}", gateway.api().url);
    let (status, text) = call(agent().get(url("/openapi.json")).call());
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let copy = serde_json::from_str::<Value>(include_str!("../../deploy/openapi.json")).expect("JSON");
    assert!(document == copy, "deploy/openapi.json is another one");
    let mut calls = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, described) in methods.as_object().expect("methods") {
            let request = ureq::http::Request::builder().method(method.to_uppercase().as_str());
            let request =
                request.uri(url(&path.replace("{id}", "x-1"))).header("X-API-Key", &gateway.api().key);
            let mut response = agent().run(request.body(()).expect("a request")).expect("an answer");
            let answer = &described["responses"][response.status().as_str()];
            assert!(answer.is_object(), "{method} {path}: {} is not described", response.status());
            let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
            let content = &answer["content"][&kind];
            assert!(content.is_object(), "{method} {path}: {kind} is not described: {answer}");
            if !response.status().is_success() {
                let problem: Value = response.body_mut().read_json().expect("JSON");
                let codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"].as_array();
                assert!(codes.expect("codes").contains(&problem["code"]), "{method} {path}: {problem}");
            }
            calls += 1;
        }
    }
    assert!(calls > 12, "{calls} calls");
}
