//! The answer to a client's request, and what leaves with it.

use tokio::io::ReadBuf;

use super::*;

/// A client that says nothing. It takes `most` bytes at a time, and keeps what each write brought.
struct Scribe {
    most: usize,
    taken: Vec<Vec<u8>>,
}

impl AsyncRead for Scribe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Scribe {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(self.most)];
        self.taken.push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Leg for Scribe {
    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// What a console's end is told by.
const END: &[u8] = b"\x88\x0f\x03\xe8target closed";

/// What the client was told, write by write, how it ended, and how many bytes count as the console's.
async fn told(
    most: usize,
    target: impl Leg,
    stop: impl Future<Output = Close> + Unpin,
) -> (Vec<Vec<u8>>, Result<End, RelayError>, u64) {
    let client = Scribe { most, taken: Vec::new() };
    let mut pump = Pump::new(client, target, &[]).answering(ANSWER);
    let traffic = Traffic::default();
    let end = pump.run(&Pulse::default(), &traffic, stop).await;
    (pump.client.taken, end, traffic.down.bytes())
}

/// A console that says this and ends.
async fn console(said: &[u8]) -> DuplexStream {
    let (mut console, target) = duplex(said.len().max(1));
    console.write_all(said).await.expect("writes");
    target
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut room = [0; HEADROOM];
    let start = put_header(&mut room, Opcode::Binary, payload.len());
    [&room[start..], payload].concat()
}

#[tokio::test(start_paused = true)]
async fn what_the_console_said_already_leaves_with_the_answer() {
    for len in [1, 125, 126, 5_000, READ_MIN] {
        let said: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let (taken, end, down) = told(usize::MAX, console(&said).await, pending()).await;
        assert_eq!(taken, [[ANSWER, &framed(&said)].concat(), END.to_vec()], "{len}");
        assert_eq!((end.expect("no error"), down), (End::TargetClosed, len as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_console_says_behind_it_comes_in_its_order() {
    let said: Vec<u8> = (0..3 * READ_MIN).map(|at| (at / 100) as u8).collect();
    let (first, rest) = said.split_at(READ_MIN);
    for most in [1, 7, usize::MAX] {
        let (taken, end, down) = told(most, console(&said).await, pending()).await;
        let whole = taken.concat();
        let begin = [ANSWER, &framed(first)].concat();
        assert!(whole.starts_with(&begin), "{most}");
        // How it is cut into frames is told by how much comes.
        let mut behind = &whole[begin.len()..];
        let mut payload = Vec::new();
        while let Some(frame) = behind.strip_prefix(&[0x82, 126]) {
            let len = usize::from(u16::from_be_bytes([frame[0], frame[1]]));
            payload.extend_from_slice(&frame[2..2 + len]);
            behind = &frame[2 + len..];
        }
        assert!(payload == rest && behind == END, "{most}");
        assert_eq!((end.expect("no error"), down), (End::TargetClosed, said.len() as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn a_console_that_says_nothing_yet_is_not_waited_for() {
    let (mut console, target) = duplex(1_000);
    let talk = async {
        sleep(Duration::from_secs(5)).await;
        console.write_all(b"late").await.expect("writes");
        drop(console);
    };
    let ((taken, end, down), ()) = tokio::join!(told(usize::MAX, target, pending()), talk);
    assert_eq!(taken, [ANSWER, b"\x82\x04late", END]);
    assert_eq!((end.expect("no error"), down), (End::TargetClosed, 4));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_answered_whatever_becomes_of_its_console() {
    let (taken, end, _) = told(usize::MAX, console(b"").await, pending()).await;
    assert_eq!(taken, [ANSWER, END]);
    assert_eq!(end.expect("no error"), End::TargetClosed);

    let broken = Broken;
    let (taken, end, _) = told(usize::MAX, broken, pending()).await;
    assert_eq!(taken, [ANSWER, b"\x88\x18\x03\xf3target connection lost"]);
    assert!(matches!(end, Err(RelayError::Target(_))), "{end:?}");

    let stop = Box::pin(async { Close::new(CloseCode::GOING_AWAY, "stopping") });
    let (taken, end, down) = told(usize::MAX, console(b"not to be seen").await, stop).await;
    assert_eq!(taken, [ANSWER, b"\x88\x0a\x03\xe9stopping"]);
    assert!(matches!(end, Ok(End::Stopped(_))) && down == 0, "{end:?}");
}

/// A console that is gone without an end.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Leg for Broken {
    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}
