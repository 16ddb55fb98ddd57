//! What is counted, and how: as the engineer on call and Prometheus see it.

use portcullis_tests::gateway::{Gateway, agent, call};
use portcullis_tests::prometheus::{self, Prometheus};
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{closed, echoes, open};
use portcullis_tests::{behind_every_gate, wait_for};

behind_every_gate!(
    metrics_are_there_and_sound,
    a_real_prometheus_scrapes_them,
    who_comes_back_is_one_session,
    the_channels_of_a_desktop_are_one_session,
    a_session_to_which_nobody_comes_back_is_over,
);

fn gateway(backend: &str, more: &[&str]) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), backend, more);
    (folder, gateway)
}

/// Sum of all samples of a metric, whatever their labels.
fn sum(gateway: &Gateway, name: &str) -> f64 {
    let page = gateway.metrics();
    let samples =
        page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    samples.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
}

fn metrics_are_there_and_sound(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    gateway.open(Target::new().port());
    for (state, count) in [("opening", 0.0), ("open", 1.0), ("closing", 0.0)] {
        assert_eq!(gateway.metric(&format!("portcullis_brokers{{state={state:?}}}")), count);
    }
    assert_eq!(gateway.metric("portcullis_brokers_opened_total"), 1.0);
    assert_eq!(gateway.metric("portcullis_broker_open_seconds_count"), 1.0);
    assert!(gateway.metric("portcullis_broker_open_seconds_sum") > 0.0);
    let page = gateway.metrics();
    // Each label is there before anything happened.
    assert!(page.contains("portcullis_session_ends_total{protocol=\"ikvm\",end=\"too_long\"} 0\n"), "{page}");
    // The names are those of the README's table, and no other.
    let readme = include_str!("../../README.md");
    let named = |line: &str| line.split(['{', ' ']).next().map(str::to_owned);
    for name in page.lines().filter(|line| !line.starts_with('#')).filter_map(named) {
        assert!(
            readme.contains(&format!("`{name}`")) || readme.contains(&format!("`{name}{{")),
            "{name} is not in README.md"
        );
    }
    for path in ["healthz", "readyz"] {
        assert_eq!(call(agent().get(format!("{}/{path}", gateway.ready("metrics"))).call()).0, 200);
    }
    if prometheus::is_here() {
        assert_eq!(prometheus::check(&page), (true, String::new()));
        assert!(!prometheus::check("# TYPE a counter\na 1\n").0, "promtool checks nothing");
    }
}

fn a_real_prometheus_scrapes_them(backend: &str) {
    if !prometheus::is_here() {
        return;
    }
    let (folder, gateway) = gateway(backend, &[]);
    let mut session = open(&gateway.open(Target::new().echo())).expect("a session");
    echoes(&mut session, &[7; 1000]);
    let address = gateway.ready("metrics").replace("http://", "");
    let prometheus = Prometheus::scrape(folder.path(), &address);
    for (expression, value) in [
        ("up", 1.0),
        ("portcullis_sessions_active{protocol=\"vnc\"}", 1.0),
        ("sum(portcullis_sessions_total)", 1.0),
        ("portcullis_brokers{state=\"open\"}", 1.0),
        ("portcullis_relay_bytes_total{direction=\"down\"}", 1000.0),
        ("histogram_quantile(0.5, portcullis_broker_open_seconds_bucket) < bool 5", 1.0),
        ("count(portcullis_build_info)", 1.0),
    ] {
        wait_for(&format!("{expression} to be {value}"), || {
            (prometheus.query(expression) == [value]).then_some(())
        });
    }
}

fn who_comes_back_is_one_session(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open(Target::new().echo());
    let active = "portcullis_sessions_active{protocol=\"vnc\"}";
    let mut first = open(&broker).expect("a session");
    echoes(&mut first, b"before");
    assert_eq!(gateway.metric(active), 1.0);
    first.close(None).expect("closes");
    assert_eq!(closed(&mut first), None);
    drop(first);
    gateway.wait_metric(active, 0.0);
    let mut second = open(&broker).expect("comes back");
    echoes(&mut second, b"after");
    assert_eq!(gateway.metric(active), 1.0);
    assert_eq!(gateway.metric("portcullis_connections_total"), 2.0);
    assert_eq!(gateway.metric("portcullis_connection_ends_total{end=\"client_closed\"}"), 1.0);
    assert_eq!(sum(&gateway, "portcullis_session_ends_total"), 0.0);

    let id = gateway.api().get("/v1/sessions").1["items"][0]["session_id"].clone();
    assert_eq!(gateway.api().delete(&format!("/v1/sessions/{}", id.as_str().expect("an id"))).0, 204);
    assert_eq!(closed(&mut second), Some((4001, "ended by an operator".into())));
    drop(second);
    gateway.wait_metric("portcullis_session_ends_total{protocol=\"vnc\",end=\"killed\"}", 1.0);
    assert_eq!(sum(&gateway, "portcullis_session_ends_total"), 1.0);
    assert_eq!(sum(&gateway, "portcullis_sessions_total"), 1.0);
}

fn the_channels_of_a_desktop_are_one_session(backend: &str) {
    let (_folder, gateway) = gateway(backend, &[]);
    let broker = gateway.open_speaking("spice", Target::new().echo());
    let mut channels: Vec<_> = (0..8).map(|_| open(&broker).expect("a channel")).collect();
    channels.iter_mut().for_each(|channel| echoes(channel, b"hello"));
    assert_eq!(gateway.metric("portcullis_sessions_active{protocol=\"spice\"}"), 1.0);
    assert_eq!(gateway.metric("portcullis_connections_active"), 8.0);
    assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", broker.id)).0, 204);
    for channel in &mut channels {
        assert_eq!(closed(channel), Some((1001, "the console was closed".into())));
    }
    drop(channels);
    // Its broker is gone, so there is nothing to wait for.
    gateway.wait_metric("portcullis_session_ends_total{protocol=\"spice\",end=\"closed\"}", 1.0);
    assert_eq!(gateway.metric("portcullis_connection_ends_total{end=\"closed\"}"), 8.0);
    assert_eq!(sum(&gateway, "portcullis_session_ends_total"), 1.0);
    assert_eq!(sum(&gateway, "portcullis_sessions_total"), 1.0);
    assert_eq!(gateway.metric("portcullis_brokers{state=\"open\"}"), 0.0);
}

fn a_session_to_which_nobody_comes_back_is_over(backend: &str) {
    let (_folder, gateway) = gateway(backend, &["session.reconnect_s = 1"]);
    let broker = gateway.open(Target::new().echo());
    let first = open(&broker).expect("a session");
    // The first connection makes room for the second, which is no end of the session.
    let mut second = open(&broker).expect("the same session");
    gateway.wait_metric("portcullis_connection_ends_total{end=\"replaced\"}", 1.0);
    second.close(None).expect("closes");
    assert_eq!(closed(&mut second), None);
    drop((first, second));
    gateway.wait_metric("portcullis_session_ends_total{protocol=\"vnc\",end=\"client_closed\"}", 1.0);
    assert_eq!(sum(&gateway, "portcullis_session_ends_total"), 1.0);
    assert_eq!(sum(&gateway, "portcullis_sessions_total"), 1.0);
}
