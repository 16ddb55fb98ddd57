//! A WebSocket server of our own framing code that sends every message back as it came: text as text, binary
//! as binary, one message for one message. The relay keeps no bounds of messages, so that suites which ask for
//! them are run against this.

use std::io;
use std::net::TcpListener;
use std::thread;

use portcullis::relay::handshake::{Ask, HeadTimes, Opening, read_opening};
use portcullis::relay::stream::ClientStream;
use portcullis::relay::ws::frame::{Kind, put_header};
use portcullis::relay::ws::{Close, Decoder, Opcode, Piece, ProtocolError, SERVER_HEADER_LEN};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::PATIENCE;

/// Serves until the process ends. Returns its port.
///
/// # Panics
/// There is none.
pub fn start() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("an option");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    port
}

/// One connection; however it ends, it is over then.
async fn serve(stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = ClientStream::Plain(stream);
    let times = HeadTimes { first_byte: PATIENCE, head: PATIENCE };
    let Ok(Opening::Head(head)) = read_opening(&mut stream, times, None).await else { return None };
    let Ok(Ask::Upgrade(upgrade, _)) = head.ask(None, &[]) else { return None };
    stream.write_all(upgrade.answer()).await.ok()?;
    let mut echo = Echo { stream, decoder: Decoder::default(), message: Vec::new() };
    let mut bytes = head.rest;
    loop {
        match echo.answer(&mut bytes).await.ok()? {
            Ok(None) => {}
            Ok(Some(close)) => return echo.leave(close).await.ok(),
            Err(error) => {
                let close = Close::new(error.close_code(), error.to_string());
                return echo.leave(Some(close)).await.ok();
            }
        }
        bytes.resize(64 * 1024, 0);
        let len = echo.stream.read(&mut bytes).await.ok().filter(|len| *len > 0)?;
        bytes.truncate(len);
    }
}

struct Echo {
    stream: ClientStream,
    decoder: Decoder,
    /// What has come of the message under way.
    message: Vec<u8>,
}

/// The client's close frame, if it has come.
type Answered = Result<Option<Option<Close>>, ProtocolError>;

impl Echo {
    /// Answers all that is in `bytes`.
    async fn answer(&mut self, bytes: &mut [u8]) -> io::Result<Answered> {
        let mut at = 0;
        loop {
            let (used, piece) = match self.decoder.next(&mut bytes[at..]) {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(Ok(None)),
                Err(error) => return Ok(Err(error)),
            };
            match piece {
                Piece::Data { payload, kind, last } => {
                    self.message.extend_from_slice(&bytes[at..][payload]);
                    if last {
                        let message = std::mem::take(&mut self.message);
                        self.send(if kind == Kind::Text { Opcode::Text } else { Opcode::Binary }, &message)
                            .await?;
                    }
                }
                Piece::Ping(payload) => self.send(Opcode::Pong, payload.as_ref()).await?,
                Piece::Pong(_) => {}
                Piece::Close(close) => return Ok(Ok(Some(close))),
            }
            at += used;
        }
    }

    async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0; SERVER_HEADER_LEN];
        let start = put_header(&mut frame, opcode, payload.len());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame[start..]).await
    }

    /// Says farewell and waits until the client has left: unread bytes would reset the connection.
    async fn leave(mut self, close: Option<Close>) -> io::Result<()> {
        let payload = close.map(|close| close.payload()).unwrap_or_default();
        self.send(Opcode::Close, payload.as_ref()).await?;
        self.stream.shutdown().await?;
        tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await.map(drop)
    }
}
