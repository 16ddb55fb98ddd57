//! The stream of what happens to interfaces and addresses, against the kernel.

use std::pin::pin;

use futures_util::StreamExt;
use nix::net::if_::if_nametoindex;
use portcullis::kernel::netlink::{Event, events};
use portcullis_tests::PATIENCE;
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::run;
use portcullis_tests::require;
use tokio::time::timeout;

/// Runs `body` in a namespace, and in a runtime there.
fn hear(body: impl AsyncFnOnce() + Send) {
    if !require::root() {
        return;
    }
    in_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(body());
    });
}

/// Reads until `wanted` comes.
async fn until(stream: &mut (impl StreamExt<Item = Event> + Unpin), wanted: &Event) {
    let mut seen = Vec::new();
    let found = timeout(PATIENCE, async {
        while let Some(event) = stream.next().await {
            if event == *wanted {
                return;
            }
            seen.push(event);
        }
    });
    assert!(found.await.is_ok(), "{wanted:?} did not come, but {seen:?}");
}

#[test]
fn interfaces_and_addresses_are_heard_of() {
    hear(async || {
        let mut heard = pin!(events().expect("a socket"));
        run("ip", &["link", "add", "one", "type", "veth"]);
        let index = if_nametoindex("one").expect("it is there");
        let link = |gone| Event::Link { index, name: "one".into(), gone };
        until(&mut heard, &link(false)).await;
        run("ip", &["link", "set", "one", "up"]);
        for text in ["10.9.0.1", "fd00:9::1"] {
            let on = format!("{text}/{}", if text.contains(':') { 128 } else { 32 });
            let address = text.parse().expect("an address");
            run("ip", &["address", "add", &on, "dev", "one"]);
            until(&mut heard, &Event::Address { index, address, gone: false }).await;
            run("ip", &["address", "del", &on, "dev", "one"]);
            until(&mut heard, &Event::Address { index, address, gone: true }).await;
        }
        run("ip", &["link", "del", "one"]);
        until(&mut heard, &link(true)).await;
    });
}

#[test]
fn what_was_missed_is_said() {
    hear(async || {
        let mut heard = pin!(events().expect("a socket"));
        // Nobody reads meanwhile: more events than the socket's buffer holds, which is 208 KiB by default.
        let lines = (0..2000).map(|host| {
            let address = format!("10.8.{}.{}/32", host / 250, host % 250 + 1);
            format!("address add {address} dev lo\naddress del {address} dev lo\n")
        });
        let batch = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(batch.path(), lines.collect::<String>()).expect("writes");
        run("ip", &["-batch", batch.path().to_str().expect("a path")]);
        until(&mut heard, &Event::Lost).await;
        // And it goes on.
        run("ip", &["address", "add", "10.9.0.1/32", "dev", "lo"]);
        let index = if_nametoindex("lo").expect("it is there");
        let address = "10.9.0.1".parse().expect("an address");
        until(&mut heard, &Event::Address { index, address, gone: false }).await;
    });
}
