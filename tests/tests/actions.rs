//! The action style of older clouds: `/iaas/?action=...`.

use portcullis_tests::behind_every_gate;
use portcullis_tests::gateway::{BODY_MAX, Broker, Gateway, agent, call, padded};
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{closed, echoes, open, open_with};
use serde_json::{Value, json};

behind_every_gate!(
    actions_open_show_and_close_brokers,
    actions_show_instances_without_their_passwords,
    refused_actions_change_nothing,
    all_brokers_are_opened_or_none,
);

fn gateway(backend: &str, more: &[&str]) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, more);
    (folder, gateway)
}

fn act(gateway: &Gateway, query: &str) -> (u16, Value) {
    gateway.api().get(&format!("/iaas/?{query}"))
}

fn done(gateway: &Gateway, query: &str) -> Value {
    let (status, answer) = act(gateway, query);
    assert_eq!((status, &answer["ret_code"]), (200, &json!(0)), "{query}: {answer}");
    answer
}

fn form(gateway: &Gateway, query: &str, form: &str) -> (u16, Value) {
    let request = agent().post(format!("{}/iaas/{query}", gateway.api().url));
    let request = request.header("X-API-Key", &gateway.api().key);
    let request = request.header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    let (status, text) = call(request.send(form));
    (status, serde_json::from_str(&text).expect("JSON"))
}

fn ids(set: &Value) -> Vec<&str> {
    let brokers = set.as_array().expect("a list").iter();
    brokers.map(|broker| broker["broker_id"].as_str().expect("an id")).collect()
}

fn actions_open_show_and_close_brokers(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let port = Target::new().echo();
    for id in ["i-1", "i-2"] {
        gateway.add_instance(id, port);
    }
    let created = done(&gateway, "action=CreateBrokers&instances.2=i-1&instances.1=i-2&ttl_s=600");
    assert_eq!(created["action"], "CreateBrokersResponse");
    let brokers: Vec<Broker> =
        created["broker_set"].as_array().expect("a list").clone().into_iter().map(Broker::read).collect();
    assert_eq!((brokers[0].instance(), brokers[1].instance(), brokers.len()), ("i-2", "i-1", 2));
    for name in ["broker_host", "graphics_protocol", "ws_url", "console_url", "expires_at"] {
        assert!(brokers[0].answer[name].is_string(), "{name}: {created}");
    }
    let mut session = open(&brokers[0]).expect("a session");
    echoes(&mut session, b"hello");

    // Again, as a form: the same broker, another ticket.
    let (status, again) = form(&gateway, "?action=CreateBrokers", "instances.1=i-2&reuse=1");
    assert_eq!((status, ids(&again["broker_set"])), (200, vec![brokers[0].id.as_str()]), "{again}");
    assert_ne!(again["broker_set"][0]["token"], brokers[0].token);
    let optional = "action=CreateBrokers&instances.1=i-1&client=127.0.0.1&tickets=optional";
    let optional = Broker::read(done(&gateway, optional)["broker_set"][0].clone());
    echoes(&mut open_with(optional.endpoint, None).expect("without a ticket"), b"hello");

    let all = done(&gateway, "action=DescribeBrokers&limit=2");
    assert_eq!((ids(&all["broker_set"]).len(), &all["total_count"]), (2, &json!(3)));
    assert!(all["broker_set"][0].get("token").is_none());
    let rest = done(&gateway, "action=DescribeBrokers&limit=2&offset=2");
    assert_eq!((ids(&rest["broker_set"]).len(), &rest["total_count"]), (1, &json!(3)));
    let one = done(&gateway, &format!("action=DescribeBrokers&brokers.1={}", brokers[0].id));
    assert_eq!((ids(&one["broker_set"]), &one["total_count"]), (vec![brokers[0].id.as_str()], &json!(1)));
    let of_instance = done(&gateway, "action=DescribeBrokers&instances.1=i-1");
    assert_eq!(of_instance["total_count"], 2);

    let both = format!("action=DeleteBrokers&brokers.1={}&brokers.2={}", brokers[0].id, brokers[1].id);
    let deleted = done(&gateway, &both);
    assert_eq!(deleted["brokers"], json!([brokers[0].id, brokers[1].id]));
    assert_eq!(closed(&mut session).map(|(code, _)| code), Some(1001));
    let (status, refused) = act(&gateway, &both);
    assert_eq!((status, &refused["ret_code"], &refused["code"]), (404, &json!(2101), &json!("no_broker")));
    assert_eq!(done(&gateway, "action=DescribeBrokers")["total_count"], 1);
}

fn actions_show_instances_without_their_passwords(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let body = json!({
        "hypervisor": "lxc", "host": "10.0.0.7", "graphics_port": 5901, "graphics_protocol": "spice",
        "graphics_passwd": "secret12",
    });
    assert_eq!(gateway.api().put("/v1/instances/i-0", &body).0, 201);
    for id in ["i-1", "i-2"] {
        gateway.add_instance(id, 5900);
    }
    let one = done(&gateway, "action=DescribeInstances&instances.1=i-0&instances.2=i-9");
    let expected = json!({
        "action": "DescribeInstancesResponse", "ret_code": 0, "total_count": 1, "instance_set": [{
            "instance_id": "i-0", "host": "10.0.0.7", "graphics_port": 5901, "graphics_protocol": "spice",
            "extra": { "hypervisor": "lxc" },
        }],
    });
    assert_eq!(one, expected);
    let part = done(&gateway, "action=DescribeInstances&limit=1&offset=1");
    assert_eq!((&part["total_count"], part["instance_set"].as_array().map(Vec::len)), (&json!(3), Some(1)));
    assert_eq!(part["instance_set"][0]["instance_id"], "i-1");
    assert!(!done(&gateway, "action=DescribeInstances").to_string().contains("secret12"));
}

fn refused_actions_change_nothing(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    gateway.add_instance("i-1", 5900);
    let broker = gateway.open_again("i-1");
    let gone = format!("DeleteBrokers&brokers.1={}&brokers.2=b-0", broker.id);
    let many: String = (0..101).map(|n| format!("&instances.{n}=i-1")).collect();
    let before = gateway.api().get("/v1/brokers").1;
    for (action, status, code, number) in [
        ("CreateBrokers", 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-1&ttl_s=0", 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-1&ttl_s=x", 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-1&tickets=none", 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-1&tickets=optional", 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-1&client=everywhere", 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-1&reuse=perhaps", 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-1&instances.1=i-1", 400, "bad_request", 1100),
        ("CreateBrokers&instances.x=i-1", 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-1&colour=red", 400, "bad_request", 1100),
        (&format!("CreateBrokers{many}"), 400, "bad_request", 1100),
        ("CreateBrokers&instances.1=i-2", 404, "no_instance", 2100),
        ("DescribeBrokers&limit=0", 400, "bad_request", 1100),
        ("DescribeInstances&limit=1001", 400, "bad_request", 1100),
        ("DeleteBrokers", 400, "bad_request", 1100),
        (&gone, 404, "no_broker", 2101),
        ("StopInstances", 404, "no_such_call", 1104),
    ] {
        let (answered, refused) = act(&gateway, &format!("action={action}"));
        let name = format!("{}Response", action.split('&').next().expect("a name"));
        assert_eq!((answered, &refused["code"]), (status, &json!(code)), "{action}: {refused}");
        assert_eq!((&refused["action"], &refused["ret_code"]), (&json!(name), &json!(number)), "{refused}");
        assert!(refused["message"].as_str().is_some_and(|text| !text.is_empty()), "{refused}");
        assert_eq!(gateway.api().get("/v1/brokers").1, before, "{action}");
    }
    assert_eq!(act(&gateway, "").1["code"], "bad_request");
    assert_eq!(gateway.api().put("/iaas/", &json!({})).1["code"], "method_not_allowed");
    let (status, refused) = gateway.api().post("/iaas/?action=DescribeBrokers", &json!({}));
    assert_eq!((status, &refused["code"]), (415, &json!("not_form")));
    let (status, refused) = form(&gateway, "", &padded("action=", "", BODY_MAX + 1));
    assert_eq!((status, &refused["code"], &refused["ret_code"]), (413, &json!("too_large"), &json!(1103)));
    let url = format!("{}/iaas/?action=CreateBrokers&instances.1=i-1", gateway.api().url);
    for (key, code) in [(None, "no_key"), (Some("wrong"), "wrong_key")] {
        let mut request = agent().get(&url);
        if let Some(key) = key {
            request = request.header("X-API-Key", key);
        }
        let response = request.call().expect("an answer");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let (status, text) = call(Ok(response));
        assert_eq!((status, text.contains(code), text.contains("ret_code")), (401, true, true), "{text}");
    }
    assert_eq!(gateway.api().get("/v1/brokers").1, before);
}

fn all_brokers_are_opened_or_none(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["range.first = 10000", "range.last = 10002"]);
    let port = Target::new().echo();
    gateway.add_instance("i-1", port);
    let mine = gateway.open_again("i-1");
    // An instance that is not there costs no port.
    let (status, _) = act(&gateway, "action=CreateBrokers&instances.1=i-1&instances.2=i-2");
    assert_eq!((status, gateway.metric("portcullis_brokers_opened_total")), (404, 1.0));
    let three = "action=CreateBrokers&instances.1=i-1&instances.2=i-1&instances.3=i-1";
    let (status, refused) = act(&gateway, three);
    assert_eq!((status, &refused["ret_code"]), (503, &json!(5200)), "{refused}");
    assert_eq!(ids(&done(&gateway, "action=DescribeBrokers")["broker_set"]), [mine.id.as_str()]);
    assert_eq!(gateway.metric("portcullis_brokers{state=\"open\"}"), 1.0);
    // With the only one that there is, all three are had.
    let reuse = done(&gateway, &format!("{three}&reuse=1"));
    let mut tokens: Vec<_> = reuse["broker_set"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|broker| broker["token"].as_str().expect("text"))
        .collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!((ids(&reuse["broker_set"]), tokens.len()), (vec![mine.id.as_str(); 3], 3));
    let request = agent().get(format!("{}/iaas/?{three}", gateway.api().url));
    let response = request.header("X-API-Key", &gateway.api().key).call().expect("an answer");
    assert!(response.headers().contains_key("retry-after"));
    echoes(&mut open(&mine).expect("a session"), b"untouched");
}
