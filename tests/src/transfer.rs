//! A transfer both ways at once, each byte checked: pattern 1 goes up, pattern 2 comes down. The sizes
//! of messages, reads and writes are all different.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::gateway::Broker;
use crate::pattern;

const UP: u64 = 1;
const DOWN: u64 = 2;

/// The target's end: `total` bytes each way, and then an orderly end of the client's.
pub fn far_end(mut stream: TcpStream, total: u64) {
    let mut writer = stream.try_clone().expect("a descriptor");
    let writes = thread::spawn(move || {
        let mut at = 0;
        while at < total {
            let mut part = vec![0; 100_003.min(total - at) as usize];
            pattern::fill(DOWN, at, &mut part);
            writer.write_all(&part).expect("writes");
            at += part.len() as u64;
        }
    });
    let mut part = vec![0; 77_777];
    let mut at = 0;
    loop {
        let len = stream.read(&mut part).expect("reads, up to an orderly end");
        assert_eq!(pattern::differs(UP, at, &part[..len]), None);
        at += len as u64;
        if len == 0 {
            break;
        }
    }
    assert_eq!(at, total);
    writes.join().expect("writes all");
}

/// The client's end over a session of its own at `broker`: tokio-tungstenite. See [`near_end`].
///
/// # Panics
/// A byte is wrong or missing, or there is no session.
pub fn run(broker: &Broker, total: u64, sizes: &[u64]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url = format!("ws://{}/websockify?token={}", broker.endpoint, broker.token);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("a session");
        near_end(socket, total, sizes).await;
    });
}

/// The client's end: `total` bytes each way, up in messages of these sizes in turn, and then a close
/// and its answer.
pub async fn near_end<S>(socket: WebSocketStream<S>, total: u64, sizes: &[u64])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let sends = async {
        let mut at = 0;
        let mut sizes = sizes.iter().cycle();
        while at < total {
            let size = *sizes.next().expect("sizes without an end");
            let mut part = vec![0; size.min(total - at) as usize];
            pattern::fill(UP, at, &mut part);
            at += part.len() as u64;
            sink.send(Message::binary(part)).await.expect("sends");
        }
    };
    let receives = async {
        let mut at = 0;
        while at < total {
            let message = stream.next().await.expect("more to come").expect("a message");
            let Message::Binary(part) = message else { panic!("{message:?}") };
            assert_eq!(pattern::differs(DOWN, at, &part), None);
            at += part.len() as u64;
        }
        assert_eq!(at, total);
    };
    tokio::join!(sends, receives);
    sink.close().await.expect("closes");
    while let Some(Ok(_)) = stream.next().await {}
}
