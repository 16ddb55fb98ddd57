//! Interfaces appear, vanish, are renamed and made anew, and the filter is where it is wanted.

use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use portcullis_tests::gateway::{ADDRESS, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::pins::Scene;
use portcullis_tests::process::{Guarded, run};
use portcullis_tests::{require, wait_for};
use serde_json::json;

fn attached(interface: &str) -> usize {
    let (_, programs) = SchedClassifier::query_tcx(interface, TcAttachType::Ingress).expect("answers");
    programs.len()
}

/// Makes a pair of interfaces, of which `name` is the one that is looked at.
fn make(name: &str) {
    run("ip", &["link", "add", name, "type", "veth", "peer", "name", "far0"]);
    run("ip", &["link", "set", name, "up"]);
    run("ip", &["link", "set", "far0", "up"]);
}

/// Waits until the metrics say that so many interfaces are filtered, and so many are not.
fn wait_interfaces(gateway: &Gateway, filtered: f64, unfiltered: f64) {
    gateway.wait_metric("portcullis_filter_interfaces{state=\"filtered\"}", filtered);
    gateway.wait_metric("portcullis_filter_interfaces{state=\"unfiltered\"}", unfiltered);
}

fn start(addresses: &[&str], more: &[&str]) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start_by(folder.path(), addresses, "ebpf", more, |command, _| command);
    (folder, gateway)
}

#[test]
fn interfaces_are_chosen_by_pattern_as_they_come_and_go() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let (_folder, gateway) = start(&[ADDRESS], &["interfaces = [\"lo\", \"gate*\"]"]);
        wait_interfaces(&gateway, 1.0, 0.0);
        make("gate0");
        wait_interfaces(&gateway, 2.0, 0.0);
        assert_eq!((attached("gate0"), attached("far0"), attached("lo")), (1, 0, 1));
        let listed = gateway.api().get("/v1/status").1["interfaces"].clone();
        assert_eq!(listed, json!([{"name": "lo", "hook": "tc"}, {"name": "gate0", "hook": "tc"}]));

        run("ip", &["link", "set", "gate0", "down"]);
        run("ip", &["link", "set", "gate0", "name", "other0"]);
        wait_interfaces(&gateway, 1.0, 0.0);
        assert_eq!(attached("other0"), 0);
        run("ip", &["link", "set", "other0", "name", "gate7"]);
        wait_interfaces(&gateway, 2.0, 0.0);
        assert_eq!(attached("gate7"), 1);

        run("ip", &["link", "del", "gate7"]);
        wait_interfaces(&gateway, 1.0, 0.0);
        assert!(gateway.stop().success());
        assert_eq!(attached("lo"), 0);
    });
}

#[test]
fn an_interface_that_is_made_anew_has_the_filter_again() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let address = "10.78.0.1";
        let with_address = || {
            make("gate0");
            run("ip", &["address", "add", &format!("{address}/24"), "dev", "gate0"]);
        };
        with_address();
        let (_folder, gateway) = start(&[address], &[]);
        wait_interfaces(&gateway, 1.0, 0.0);
        for _ in 0..3 {
            run("ip", &["link", "del", "gate0"]);
            wait_interfaces(&gateway, 0.0, 0.0);
            with_address();
            wait_interfaces(&gateway, 1.0, 0.0);
            assert_eq!(attached("gate0"), 1);
        }
        // The address moves on to another interface, and the filter with it.
        run("ip", &["address", "del", &format!("{address}/24"), "dev", "gate0"]);
        wait_interfaces(&gateway, 0.0, 0.0);
        assert_eq!(attached("gate0"), 0);
        run("ip", &["address", "add", &format!("{address}/24"), "dev", "far0"]);
        wait_interfaces(&gateway, 1.0, 0.0);
        assert_eq!(attached("far0"), 1);
    });
}

#[test]
fn what_cannot_be_filtered_is_told_and_tried_again() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let (_folder, gateway) =
            start(&[ADDRESS], &["interfaces = [\"lo\", \"gate*\"]", "filter.hook = \"xdp-generic\""]);
        make("gate0");
        wait_interfaces(&gateway, 2.0, 0.0);
        // Another gateway takes the one place at XDP first, and stays there under the other name.
        let other = tempfile::tempdir().expect("a folder");
        let more = ["interfaces = [\"wall0\", \"gate1*\"]", "filter.hook = \"xdp-generic\""];
        run("ip", &["link", "add", "wall0", "type", "veth", "peer", "name", "wall1"]);
        let other = Gateway::start(other.path(), "ebpf", &more);
        run("ip", &["link", "set", "wall0", "name", "gate1"]);
        wait_interfaces(&gateway, 2.0, 1.0);
        let listed = gateway.api().get("/v1/status").1["interfaces"].clone();
        let told = listed.as_array().expect("a list").iter().find(|seat| seat["name"] == "gate1");
        let error = told.expect("it is listed")["error"].as_str().expect("a reason").to_owned();
        assert!(error.contains("room for one XDP program"), "{error}");
        // As soon as there is room it is taken.
        assert!(other.stop().success());
        wait_interfaces(&gateway, 3.0, 0.0);
    });
}

/// Whether nobody answers at a closed port of `address`; a closed port without a filter says so at once.
fn is_silent(address: &str) -> bool {
    let endpoint: SocketAddr = format!("{address}:10001").parse().expect("an endpoint");
    let answer = TcpStream::connect_timeout(&endpoint, Duration::from_millis(300));
    answer.expect_err("no broker is open").kind() == std::io::ErrorKind::TimedOut
}

#[test]
fn a_daemon_on_pins_says_what_it_cannot_mend_and_a_watching_loader_mends_it() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let more = ["interfaces = [\"lo\", \"gate*\"]"];
        let scene = Scene::new(&more);
        make("gate0");
        scene.load();
        let gateway = scene.serve(&more);
        wait_interfaces(&gateway, 2.0, 0.0);
        assert!(is_silent(ADDRESS));
        run("ip", &["link", "del", "gate0"]);
        wait_interfaces(&gateway, 1.0, 0.0);
        make("gate0");
        wait_interfaces(&gateway, 1.0, 1.0);
        let listed = gateway.api().get("/v1/status").1["interfaces"].clone();
        assert_eq!(listed[1]["error"], "`portcullis kernel load` takes the filter there");

        let mut watching = scene.kernel_command("load", &["--group", "nogroup", "--watch"]);
        let mut watching = Guarded::start(watching.stdout(Stdio::null()).stderr(Stdio::null()));
        wait_interfaces(&gateway, 2.0, 0.0);
        run("ip", &["link", "del", "gate0"]);
        make("gate1");
        wait_for("the filter on the new one", || (attached("gate1") == 1).then_some(()));
        wait_interfaces(&gateway, 2.0, 0.0);
        watching.signal(nix::sys::signal::Signal::SIGTERM);
        watching.ended();
        // What it attached outlives it.
        assert_eq!((attached("gate1"), attached("lo")), (1, 1));
        let names: Vec<_> = std::fs::read_dir(scene.version()).expect("the pins").flatten().collect();
        let links = names.iter().filter(|name| name.file_name().to_string_lossy().starts_with("tc-")).count();
        assert_eq!(links, 2, "{names:?}");
    });
}
