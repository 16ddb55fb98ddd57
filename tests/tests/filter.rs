//! What is special about the filter in eBPF: steering, and that nothing stays attached. What it judges is
//! in `contract.rs`, as for every mechanism.

use std::io::{Read, Write};
use std::net::TcpStream;

use aya::programs::{SchedClassifier, TcAttachType};
use portcullis::kernel::hook::Hook;
use portcullis::kernel::load::load;
use portcullis_ebpf::verdict::Verdict;
use portcullis_tests::gate::{Gate, Kind, at, connect, plan, talks};
use portcullis_tests::gateway::ADDRESS;
use portcullis_tests::namespace::{HERE, Neighbour, in_namespace};
use portcullis_tests::process::run;
use portcullis_tests::{PATIENCE, require};

/// Over a veth pair, from another namespace, as clients come.
fn an_open_port_is_steered(hook: Hook) {
    in_namespace(|| {
        let neighbour = Neighbour::new();
        let mut gate = Gate::new(Kind::Ebpf(hook), &HERE, "out");
        for ip in HERE {
            for port in [10_000, 12_345, 15_000] {
                let endpoint = at(ip, port);
                gate.drops(&neighbour, endpoint, Verdict::Closed);
                let before = gate.count().get(Verdict::Open);
                gate.open(endpoint);
                let client = neighbour.inside(|| connect(endpoint));
                let (server, peer) = gate.accept(endpoint);
                assert_eq!(server.local_addr().expect("an address"), endpoint);
                assert_eq!(peer, client.local_addr().expect("an address"));
                assert!(gate.count().get(Verdict::Open) > before);
                talks(&client, &server);
            }
        }
        // The listeners themselves cannot be reached from outside.
        let own = gate.steered_to(at(HERE[0], 0).ip()).port();
        let refused = neighbour.inside(|| TcpStream::connect_timeout(&at(HERE[0], own), PATIENCE));
        assert_eq!(refused.expect_err("unreachable").kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_open_port_is_steered_with_tc() {
    if require::kernel() {
        an_open_port_is_steered(Hook::Tc);
    }
}

#[test]
fn an_open_port_is_steered_with_generic_xdp() {
    if require::kernel() {
        an_open_port_is_steered(Hook::XdpGeneric);
    }
}

#[test]
fn an_open_port_is_steered_with_native_xdp() {
    if require::kernel() {
        an_open_port_is_steered(Hook::Xdp);
    }
}

#[test]
fn native_xdp_takes_packets_of_many_buffers() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let neighbour = Neighbour::new();
        // More than one buffer of a driver holds.
        run("ip", &["link", "set", "out", "mtu", "9000"]);
        neighbour.inside(|| run("ip", &["link", "set", "in", "mtu", "9000"]));
        let mut gate = Gate::new(Kind::Ebpf(Hook::Xdp), &[HERE[0]], "out");
        let endpoint = at(HERE[0], 10_001);
        gate.drops(&neighbour, endpoint, Verdict::Closed);
        gate.open(endpoint);
        let mut client = neighbour.inside(|| connect(endpoint));
        let (mut server, _) = gate.accept(endpoint);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut received = vec![0; sent.len()];
        std::thread::scope(|threads| {
            threads.spawn(|| client.write_all(&sent).expect("writes"));
            server.read_exact(&mut received).expect("reads");
        });
        assert!(received == sent, "bytes differ");
    });
}

#[test]
fn nothing_stays_attached() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let attached = || {
            let (_, programs) = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).expect("answers");
            programs.len()
        };
        assert_eq!(attached(), 0);
        let mut gate = Gate::new(Kind::Ebpf(Hook::Tc), &[ADDRESS], "lo");
        let endpoint = at(ADDRESS, 10_001);
        gate.open(endpoint);
        assert_eq!(attached(), 1);
        drop(gate);
        assert_eq!(attached(), 0);
        // Steering is gone too: the port is as closed as any, and says so.
        let refused = TcpStream::connect_timeout(&endpoint, PATIENCE).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_interface_that_is_not_there_leaves_nothing_behind() {
    if !require::kernel() {
        return;
    }
    in_namespace(|| {
        let mut plan = plan(&[ADDRESS], "lo", None);
        plan.interfaces.push("nosuch0".into());
        let error = load(&plan).map(drop).expect_err("there is no such interface");
        assert!(error.to_string().contains("nosuch0"), "{error}");
        let (_, programs) = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).expect("answers");
        assert!(programs.is_empty());
    });
}
