//! Terminals over connections of this machine: what a client gets, and what the line gets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::relay::pipe::tests::connection;

struct Bench {
    terminal: Terminal,
    line: TcpStream,
    window: Arc<Window>,
}

async fn bench(recorder: Option<Recorder>) -> Bench {
    let (near, line) = connection().await;
    let window = Arc::new(Window::default());
    let terminal = Terminal::new(TargetStream::Tcp(near), window.clone(), recorder);
    Bench { terminal, line, window }
}

async fn reads(stream: &mut (impl AsyncRead + Unpin), expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.expect("reads");
    assert_eq!(bytes, expected);
}

#[tokio::test]
async fn a_serial_line_is_left_as_it_is() {
    let Bench { mut terminal, mut line, .. } = bench(None).await;
    line.write_all(b"U-Boot\r\n\xff\xff\xfb").await.expect("writes");
    reads(&mut terminal, b"U-Boot\r\n\xff\xff\xfb").await;
    terminal.write_all(b"\xff\r\0x").await.expect("writes");
    reads(&mut line, b"\xff\r\0x").await;
    drop(line);
    assert_eq!(terminal.read(&mut [0; 9]).await.expect("the end"), 0);
}

#[tokio::test]
async fn telnet_is_spoken_for_the_client() {
    let Bench { mut terminal, mut line, window } = bench(None).await;
    line.write_all(b"\xff\xfb\x01\xff\xfd\x1flogin: ").await.expect("writes");
    reads(&mut terminal, b"login: ").await;
    reads(&mut line, b"\xff\xfd\x01\xff\xfb\x1f").await;
    terminal.write_all(b"root\xff\r").await.expect("writes");
    terminal.flush().await.expect("writes");
    reads(&mut line, b"root\xff\xff\r\0").await;
    // The window grows while nothing is said.
    let reading = async { terminal.read_u8().await };
    let resizing = async {
        window.set(Size { columns: 132, rows: 43 });
        reads(&mut line, b"\xff\xfa\x1f\0\x84\0\x2b\xff\xf0").await;
        line.write_all(b"x").await.expect("writes");
    };
    let (read, ()) = tokio::join!(reading, resizing);
    assert_eq!(read.expect("reads"), b'x');
    line.write_all(&[0xff, 0xfa]).await.expect("writes");
    line.write_all(&[7; 2_000]).await.expect("writes");
    let endless = terminal.read_u8().await.expect_err("no end");
    assert_eq!(endless.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn what_was_shown_comes_first() {
    let histories = Histories::new(1024, std::time::Duration::ZERO);
    let target = crate::broker::Target::new("host", 1, crate::broker::Protocol::Serial);
    let origin = crate::broker::session::Origin {
        broker_id: "b-1".into(),
        instance_id: "i-1".into(),
        protocol: target.protocol,
        by_address: false,
    };
    let session = crate::broker::session::Session::new("s-1".into(), origin, [127, 0, 0, 1].into());
    let Bench { mut terminal, mut line, .. } = bench(histories.join(&target, &session)).await;
    line.write_all(b"login: \x1b[6n").await.expect("writes");
    reads(&mut terminal, b"login: \x1b[6n").await;
    drop(terminal);
    let Bench { mut terminal, mut line, .. } = bench(histories.join(&target, &session)).await;
    line.write_all(b"later").await.expect("writes");
    reads(&mut terminal, b"login: later").await;
}
