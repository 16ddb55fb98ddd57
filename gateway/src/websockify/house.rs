//! All of it together: threads that accept, the program that is wrapped, and when it is over.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::relay::listener::{accept, accept_from};
use crate::relay::target::tls::Connector;
use crate::relay::target::unix::into_stream;
use crate::relay::{open, socket};
use crate::{descriptors, memory};

use super::answer::Refusal;
use super::listen::Listener;
use super::plan::Plan;
use super::visit;

/// A client or a target that is gone is noticed within this.
pub const PEER: Duration = Duration::from_secs(30);

/// Time for sessions to end in when all is over.
const GRACE: Duration = Duration::from_secs(10);

/// Where we are; only forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Clients are accepted.
    Open,
    /// Those that are in may stay.
    Closed,
    /// They are told to leave.
    Stopping,
    /// Whoever is left is cut off.
    Over,
}

/// What all connections share.
pub struct House {
    /// What is to be done.
    pub plan: Plan,
    /// TLS with targets, by the authorities that the system trusts.
    pub connector: Connector,
    stage: watch::Sender<Stage>,
    /// Connections, whatever they are for.
    inside: watch::Sender<usize>,
    sessions: watch::Sender<usize>,
    /// The one session that may be has begun.
    taken: AtomicBool,
    number: AtomicU64,
}

/// One that is counted, until it is dropped.
pub struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl House {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            connector: Connector::default(),
            stage: watch::Sender::new(Stage::Open),
            inside: watch::Sender::default(),
            sessions: watch::Sender::default(),
            taken: AtomicBool::default(),
            number: AtomicU64::default(),
        }
    }

    /// A session begins, and is counted until the value is dropped.
    ///
    /// # Errors
    /// [`Refusal::Taken`], [`Refusal::Stopping`].
    pub fn enter(&self) -> Result<Counted, Refusal> {
        if *self.stage.borrow() >= Stage::Stopping {
            return Err(Refusal::Stopping);
        } else if self.plan.once && self.taken.swap(true, Ordering::Relaxed) {
            return Err(Refusal::Taken);
        }
        let session = Counted::new(&self.sessions);
        if self.plan.once {
            self.proceed(Stage::Closed);
        }
        Ok(session)
    }

    /// Resolves when sessions are to end.
    pub async fn stopping(&self) {
        self.reached(Stage::Stopping).await;
    }

    fn proceed(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let forward = *now < stage;
            *now = stage.max(*now);
            forward
        });
    }

    async fn reached(&self, stage: Stage) {
        // The sender is here: it cannot be gone.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    async fn no_session(&self) {
        let _ = self.sessions.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Resolves when there was no connection for so long.
    async fn idle(&self, limit: Duration) {
        let mut inside = self.inside.subscribe();
        loop {
            let _ = inside.wait_for(|count| *count == 0).await;
            if timeout(limit, inside.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }

    /// Resolves when it is over, with the exit code.
    async fn end(&self) -> anyhow::Result<u8> {
        let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
        let program = async {
            match &self.plan.program {
                Some(program) => program.run().await,
                None => pending().await,
            }
        };
        let after = |limit: Duration| async move {
            if limit.is_zero() { pending().await } else { sleep(limit).await }
        };
        let last = async {
            tokio::select! {
                () = after(self.plan.timeout) => info!("--timeout is over"),
                // The one session has begun.
                () = self.reached(Stage::Closed) => {}
            }
            self.proceed(Stage::Closed);
            self.no_session().await;
        };
        let idle = async {
            let limit = self.plan.idle_timeout;
            if limit.is_zero() { pending().await } else { self.idle(limit).await }
        };
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
            () = last => {}
            () = idle => info!("--idle-timeout is over"),
            code = program => return code,
        }
        Ok(0)
    }
}

/// Serves `listener` as `plan` says, until a signal or the plan ends it. Returns the exit code.
///
/// # Errors
/// A thread could not be made, or the program not be started.
pub fn run(plan: Plan, listener: Listener) -> anyhow::Result<u8> {
    memory::set_up();
    if let Err(error) = descriptors::raise_limit() {
        warn!(%error, "descriptor limit not raised");
    }
    let house = Arc::new(House::new(plan));
    let runtime = Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    let count = thread::available_parallelism().map_or(1, usize::from);
    let threads = (0..count).map(|index| {
        let listener = listener.try_clone()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let house = house.clone();
        let run = move || core(house, listener, runtime);
        thread::Builder::new().name(format!("relay-{index}")).spawn(run)
    });
    let threads = threads.collect::<io::Result<Vec<_>>>().context("start the relay")?;
    // The threads have it; it is closed when they close it.
    drop(listener);
    let code = runtime.block_on(async {
        let code = house.end().await;
        house.proceed(Stage::Stopping);
        // Whoever does not leave in time is cut off with the threads.
        let _ = timeout(GRACE, house.no_session()).await;
        code
    });
    house.proceed(Stage::Over);
    for thread in threads {
        // A panic in a thread was reported by its hook.
        let _ = JoinHandle::join(thread);
    }
    runtime.shutdown_background();
    code
}

/// One thread: it accepts while that is wanted, and serves whom it accepted until all is over.
fn core(house: Arc<House>, listener: Listener, runtime: Runtime) {
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            accepted = doors(&house, listener) => if let Err(error) = accepted {
                warn!(%error, "clients cannot be accepted");
            },
            () = house.reached(Stage::Closed) => {}
            never = open::trim() => match never {},
        }
        tokio::select! {
            () = house.reached(Stage::Over) => {}
            never = open::trim() => match never {},
        }
    });
    // A look-up that hangs must not hold the end up.
    runtime.shutdown_background();
}

/// Accepts for ever.
async fn doors(house: &Arc<House>, listener: Listener) -> io::Result<()> {
    match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            // What it accepts has its options.
            socket::prepare(&listener, PEER)?;
            let _ = socket::bound_queue(&listener);
            let arrived = |stream, client: std::net::SocketAddr| let_in(house, stream, client.to_string());
            accept(TcpListener::from_std(listener)?, arrived).await;
        }
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            let arrived = |stream, _| {
                if let Ok(stream) = into_stream(stream) {
                    let_in(house, stream, "unix".to_owned());
                }
            };
            accept_from(|| listener.accept(), arrived).await;
        }
    }
    Ok(())
}

fn let_in(house: &Arc<House>, stream: TcpStream, client: String) {
    let inside = Counted::new(&house.inside);
    let number = house.number.fetch_add(1, Ordering::Relaxed) + 1;
    let house = house.clone();
    spawn_local(async move {
        visit::serve(stream, client, number, &house).await;
        drop(inside);
    });
}
