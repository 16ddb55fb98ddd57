//! The wall clock jumps, both ways, under a running daemon: nothing changes but the time stamps.

use portcullis_tests::faketime::{Clock, LIBRARY};
use portcullis_tests::gateway::{ADDRESS, Broker, Gateway};
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{echoes, open};
use portcullis_tests::{require, wait_for};
use serde_json::json;

fn opens(gateway: &Gateway, instance: &str, ttl_s: u64) -> Broker {
    let (status, answer) =
        gateway.api().post("/v1/brokers", &json!({ "instance_id": instance, "ttl_s": ttl_s }));
    assert_eq!(status, 201, "{answer}");
    Broker::read(answer)
}

/// The year that the daemon writes into its answers.
fn year(broker: &Broker) -> i32 {
    broker.answer["expires_at"].as_str().and_then(|time| time[..4].parse().ok()).expect("a year")
}

#[test]
fn a_jump_of_the_clock_changes_nothing_but_the_stamps() {
    if !require::file(LIBRARY, "faketime") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::new(folder.path());
    let start = |backend: &str| {
        Gateway::start_by(folder.path(), &[ADDRESS], backend, &[], |command, _| clock.wrap(command))
    };
    let gateway = start("none");
    let port = Target::new().echo();
    gateway.add_instance("i-1", port);
    let (kept, used) = (opens(&gateway, "i-1", 600), opens(&gateway, "i-1", 600));
    let mut session = open(&used).expect("a session");
    let now = year(&kept);

    for (jump, then) in [("+20y", now + 19), ("-20y", now - 21)] {
        clock.set(jump);
        // A broker for a second is gone after a second: the reaper has looked at all the others too.
        let short = opens(&gateway, "i-1", 1);
        assert!((then..=then + 2).contains(&year(&short)), "{jump}: {}", short.answer);
        wait_for("the short one to expire", || {
            (gateway.api().get(&format!("/v1/brokers/{}", short.id)).0 == 404).then_some(())
        });
        for broker in [&kept, &used] {
            assert_eq!(gateway.api().get(&format!("/v1/brokers/{}", broker.id)).0, 200, "{jump}");
        }
        echoes(&mut session, b"still here");
        let fresh = opens(&gateway, "i-1", 600);
        echoes(&mut open(&fresh).expect("a fresh ticket is good"), b"hello");
        let (_, live) = gateway.api().get("/v1/sessions?state=live");
        assert!(live["items"].as_array().is_some_and(|items| !items.is_empty()), "{live}");
    }
    // Its ticket was made before all of it.
    echoes(&mut open(&kept).expect("an old ticket is good"), b"hello");
    drop(session);
    assert!(gateway.stop().success());

    // A start under a clock that was set back: nothing lasts longer than it was to, or is lost.
    clock.set("-21y");
    let gateway = start("none");
    echoes(&mut open(&used).expect("comes back"), b"hello");
    let others = gateway.api().get("/v1/brokers").1;
    assert!(others["items"].as_array().is_some_and(|items| items.len() == 4), "{others}");
}
