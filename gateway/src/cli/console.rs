//! `portcullis console`: a serial line or a container in the terminal that this runs in.

mod door;
mod escape;
mod raw;

use std::io::IsTerminal;

use anyhow::{Context, anyhow};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, stdin, stdout};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::broker::Protocol;
use crate::control::api::wire::{CreateBroker, CreatedBroker};

use super::client::{Connection, Failure};
use door::{Door, Socket};
use escape::Escape;
use raw::Raw;

#[derive(Args)]
pub struct Options {
    /// The instance.
    instance_id: String,
    /// The key that leaves the console: ^ and a character, or none.
    #[arg(long, default_value = "^]")]
    escape: Escape,
}

/// How a console ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The person left.
    Left,
    /// The gateway said farewell: close code and reason.
    Closed(u16, String),
    /// The connection broke.
    Lost,
    /// This process is to end.
    Signal(&'static str),
}

pub fn run(options: &Options, connection: &Connection) -> Result<(), Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Failure::Usage("console needs a terminal to show it in, and to type in".into()));
    }
    let client = connection.client()?;
    let wish =
        CreateBroker { instance_id: options.instance_id.clone(), reuse: true, ..CreateBroker::default() };
    let created: CreatedBroker = client.post("/v1/brokers", &wish)?;
    let protocol = created.broker.graphics_protocol;
    if !matches!(protocol, Protocol::Serial | Protocol::Container) {
        let id = &options.instance_id;
        return Err(Failure::Usage(format!("the console of {id} speaks {protocol}: portcullis open {id}")));
    }
    let door = Door::new(&created, connection.ca_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    let end = runtime.block_on(attend(options, &door));
    // Its reader of the terminal waits for a key that is not for us any more.
    runtime.shutdown_background();
    match end? {
        End::Left | End::Closed(1000, _) => Ok(()),
        End::Closed(code, reason) => Err(anyhow!("the console ended: {reason} ({code})").into()),
        End::Lost => Err(anyhow!("the connection was lost").into()),
        End::Signal(name) => Err(anyhow!("ended by {name}").into()),
    }
}

async fn attend(options: &Options, door: &Door) -> Result<End, Failure> {
    // Before anything is shown: nothing may end us while the terminal is raw without giving it back.
    let signals = Signals::new().context("catch signals")?;
    let socket = door.open(raw::size()).await?;
    let leave = options.escape.to_string();
    eprintln!("Connected to {}. {leave} leaves.", options.instance_id);
    let end = {
        let _raw = Raw::enter().context("put the terminal into raw mode")?;
        relay(socket, &options.escape, door, signals).await
    };
    eprintln!();
    Ok(end)
}

/// Moves bytes until one side ends.
async fn relay(socket: Socket, escape: &Escape, door: &Door, mut signals: Signals) -> End {
    let (mut to, mut from) = socket.split();
    let (mut keys, mut screen) = (stdin(), stdout());
    let mut typed = [0; 1024];
    loop {
        tokio::select! {
            message = from.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if show(&mut screen, &bytes).await.is_err() {
                        return End::Left;
                    }
                }
                Some(Ok(Message::Close(close))) => return closed(close),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return End::Lost,
            },
            len = keys.read(&mut typed) => {
                let Ok(len @ 1..) = len else { return End::Left };
                let (before, leaves) = escape.split(&typed[..len]);
                if !before.is_empty() && to.send(Message::binary(before.to_vec())).await.is_err() {
                    return End::Lost;
                }
                if leaves {
                    let _ = to.send(Message::Close(None)).await;
                    return End::Left;
                }
            }
            name = signals.next() => match name {
                Some(name) => return End::Signal(name),
                None => door.resize(raw::size()),
            },
        }
    }
}

async fn show(screen: &mut tokio::io::Stdout, bytes: &[u8]) -> std::io::Result<()> {
    screen.write_all(bytes).await?;
    screen.flush().await
}

fn closed(close: Option<CloseFrame>) -> End {
    let (code, reason) =
        close.map_or((CloseCode::Status, String::new()), |close| (close.code, close.reason.to_string()));
    End::Closed(code.into(), reason)
}

/// The signals that end a program in a terminal, and the one that says that its window changed.
struct Signals {
    ends: Vec<(&'static str, Signal)>,
    window: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let all = [
            ("SIGTERM", SignalKind::terminate()),
            ("SIGHUP", SignalKind::hangup()),
            ("SIGINT", SignalKind::interrupt()),
            ("SIGQUIT", SignalKind::quit()),
        ];
        let ends = all.into_iter().map(|(name, kind)| Ok((name, signal(kind)?)));
        Ok(Self { ends: ends.collect::<std::io::Result<_>>()?, window: signal(SignalKind::window_change())? })
    }

    /// The name of a signal that ends us; `None` where the window has another size.
    async fn next(&mut self) -> Option<&'static str> {
        std::future::poll_fn(|cx| {
            if self.window.poll_recv(cx).is_ready() {
                return std::task::Poll::Ready(None);
            }
            let came = self
                .ends
                .iter_mut()
                .find_map(|(name, signal)| signal.poll_recv(cx).is_ready().then_some(*name));
            came.map_or(std::task::Poll::Pending, |name| std::task::Poll::Ready(Some(name)))
        })
        .await
    }
}
