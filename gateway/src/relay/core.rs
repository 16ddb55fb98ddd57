//! One thread per core, with a current-thread runtime of its own: listeners, sessions, buffers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Interval, timeout};

use crate::broker::session::Session;
use crate::every::every;
use crate::metrics::Metrics;

use super::listener::accept;
use super::pulse::{Pace, Pulse};
use super::session::{Shared, serve};
use super::traffic::Traffic;
use super::{buffer, pipe, socket};

/// Handle to the cores. Clones lead to the same cores.
#[derive(Clone)]
pub struct Cores {
    senders: Arc<[mpsc::UnboundedSender<NewListener>]>,
    /// A dead client is noticed within this; zero leaves it to TCP.
    peer: Duration,
}

struct NewListener {
    listener: TcpListener,
    /// Resolves when the [`Hatch`] is dropped.
    closed: oneshot::Receiver<()>,
}

/// A listener on some core. The socket is closed when this is dropped.
#[derive(Debug)]
pub struct Hatch(#[expect(dead_code, reason = "dropping it is the message")] oneshot::Sender<()>);

/// The threads.
pub struct Threads {
    stop: watch::Sender<Option<Duration>>,
    handles: Vec<JoinHandle<()>>,
}

/// Starts `count` cores.
///
/// # Errors
/// A thread or its runtime could not be made.
pub fn start(count: usize, shared: &Arc<Shared>) -> io::Result<(Cores, Threads)> {
    let stop = watch::Sender::new(None);
    let mut senders = Vec::with_capacity(count);
    let mut handles = Vec::with_capacity(count);
    for index in 0..count {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, listeners) = mpsc::unbounded_channel();
        let (shared, stop) = (shared.clone(), stop.subscribe());
        let connections = shared.metrics.core(index);
        let run = move || {
            LocalSet::new().block_on(&runtime, run(listeners, shared, connections, stop));
            // A name look-up that hangs must not hold the stop up.
            runtime.shutdown_background();
        };
        handles.push(std::thread::Builder::new().name(format!("relay-{index}")).spawn(run)?);
        senders.push(sender);
    }
    Ok((Cores { senders: senders.into(), peer: shared.pace.peer }, Threads { stop, handles }))
}

impl Cores {
    /// Accepts from `listener` on core `core`, counted round. What it accepts is ready to be served: the filter
    /// lets nobody in before, and what came without one has no broker yet.
    ///
    /// # Errors
    /// The cores were stopped, or the socket does not listen.
    pub fn listen(&self, core: usize, listener: TcpListener) -> io::Result<Hatch> {
        socket::prepare(&listener, self.peer)?;
        // The queue is bounded for the picture's sake only; it works without.
        let _ = socket::bound_queue(&listener);
        let (hatch, closed) = oneshot::channel();
        let sender = &self.senders[core % self.senders.len()];
        let stopped = |_| io::Error::other("the relay has stopped");
        sender.send(NewListener { listener, closed }).map_err(stopped)?;
        Ok(Hatch(hatch))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.senders.len()
    }
}

impl Threads {
    /// Accepts no more, waits at most `grace` for the sessions to end, and ends the threads. The
    /// sessions are told by their brokers.
    pub fn stop(self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        for handle in self.handles {
            // A panic in a thread was reported by its hook.
            let _ = handle.join();
        }
    }
}

/// What a core knows of a connection.
pub struct Vital {
    /// Its bytes.
    pub traffic: Traffic,
    /// Its clock.
    pub pulse: Pulse,
}

/// A connection, and the session that its bytes count for.
type Moving = (Rc<Vital>, Arc<Session>);

/// The connections of one core.
pub struct Live {
    connections: Gauge,
    none_left: Notify,
    moving: RefCell<HashMap<u64, Moving>>,
    next: Cell<u64>,
    ticked_at: Cell<tokio::time::Instant>,
}

impl Live {
    fn new(connections: Gauge) -> Self {
        Self {
            connections,
            none_left: Notify::new(),
            moving: RefCell::default(),
            next: Cell::new(0),
            ticked_at: Cell::new(tokio::time::Instant::now()),
        }
    }

    /// Counts the connection, adds up its bytes and looks at its clock, until the value is dropped.
    pub fn count<'a>(
        &'a self,
        vital: &Rc<Vital>,
        session: &Arc<Session>,
        metrics: Arc<Metrics>,
    ) -> Counted<'a> {
        let id = self.next.replace(self.next.get() + 1);
        self.moving.borrow_mut().insert(id, (vital.clone(), session.clone()));
        metrics.began();
        Counted { live: self, id, metrics }
    }

    fn report(&self, metrics: &Metrics) {
        for (vital, session) in self.moving.borrow().values() {
            add_up(&vital.traffic, session, metrics);
        }
    }

    fn tick(&self, pace: &Pace, period: Duration) {
        let now = tokio::time::Instant::now();
        // Nobody was heard by a machine that stood still, and what was said meanwhile is yet to be read.
        let stood_still = now - self.ticked_at.replace(now) > 2 * period;
        for (vital, _) in self.moving.borrow().values() {
            if stood_still {
                vital.pulse.heard();
            }
            vital.pulse.tick(pace, &vital.traffic, now);
        }
    }
}

/// Adds what moved since the last time to session and metrics.
fn add_up(traffic: &Traffic, session: &Session, metrics: &Metrics) {
    let ((up, up_held), (down, down_held)) = (traffic.up.unreported(), traffic.down.unreported());
    session.up.fetch_add(up, Ordering::Relaxed);
    session.down.fetch_add(down, Ordering::Relaxed);
    metrics.moved((up, down));
    metrics.throttled((up_held, down_held));
}

/// A connection that is counted.
pub struct Counted<'a> {
    live: &'a Live,
    id: u64,
    metrics: Arc<Metrics>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some((vital, session)) = self.live.moving.borrow_mut().remove(&self.id) {
            add_up(&vital.traffic, &session, &self.metrics);
        }
        self.metrics.left();
    }
}

/// How often the bytes of running sessions are added up.
const REPORT: Duration = Duration::from_secs(1);

async fn run(
    mut listeners: mpsc::UnboundedReceiver<NewListener>,
    shared: Arc<Shared>,
    connections: Gauge,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let live = Rc::new(Live::new(connections));
    let mut report = every(REPORT);
    let mut tick = shared.pace.tick().map(every);
    let grace = loop {
        tokio::select! {
            Some(new) = listeners.recv() => listen(new, &shared, &live, stop.clone()),
            _ = report.tick() => {
                live.report(&shared.metrics);
                buffer::trim();
                pipe::trim();
            }
            period = next(&mut tick) => live.tick(&shared.pace, period),
            grace = stopped(&mut stop) => break grace,
        }
    };
    let ended = async {
        while live.connections.get() > 0 {
            live.none_left.notified().await;
        }
    };
    // What is left after the grace is cut off when the thread's tasks are dropped.
    let _ = timeout(grace, ended).await;
}

/// The next tick of a clock, if there is one, and how often it ticks.
async fn next(clock: &mut Option<Interval>) -> Duration {
    match clock {
        Some(clock) => {
            clock.tick().await;
            clock.period()
        }
        None => pending().await,
    }
}

fn listen(new: NewListener, shared: &Arc<Shared>, live: &Rc<Live>, stop: watch::Receiver<Option<Duration>>) {
    let (shared, live) = (shared.clone(), live.clone());
    spawn_local(async move {
        let Ok(listener) = tokio::net::TcpListener::from_std(new.listener) else { return };
        let arrived = |stream, client| {
            let (shared, live, mut stop) = (shared.clone(), live.clone(), stop.clone());
            live.connections.inc();
            let departure = Departure(live.clone());
            spawn_local(async move {
                let _departure = departure;
                let stopping = async move {
                    stopped(&mut stop).await;
                };
                serve(stream, client, &shared, &live, stopping).await;
            });
        };
        let mut stop = stop.clone();
        tokio::select! {
            () = accept(listener, arrived) => {}
            _ = new.closed => {}
            _ = stopped(&mut stop) => {}
        }
    });
}

/// Gives a connection's place back, also when its task is dropped or panics.
struct Departure(Rc<Live>);

impl Drop for Departure {
    fn drop(&mut self) {
        // The gauge said one more, of which this was the last.
        if self.0.connections.dec() == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match stop.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        // The handle is gone without a word: there is nobody to wait for.
        Err(_) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::task::{Context, Waker};

    use tokio::time::advance;

    use super::*;
    use crate::broker::Protocol;
    use crate::broker::session::Origin;

    #[tokio::test(start_paused = true)]
    async fn who_could_not_be_heard_while_the_machine_stood_still_is_not_gone() {
        let pace = Pace { peer: Duration::from_secs(60), idle: Duration::ZERO, longest: Duration::ZERO };
        let period = pace.tick().expect("a tick");
        let origin = Origin {
            broker_id: "b-1".into(),
            instance_id: "i-1".into(),
            protocol: Protocol::Vnc,
            by_address: false,
        };
        let session = Session::new("s-1".into(), origin, IpAddr::from([192, 0, 2, 1]));
        let vital = Rc::new(Vital { traffic: Traffic::default(), pulse: Pulse::default() });
        let live = Live::new(Gauge::default());
        let _counted = live.count(&vital, &session, Metrics::new(&[]));
        let mut steps = Vec::new();
        for wait in [period, 20 * period, period, period, period, period] {
            advance(wait).await;
            live.tick(&pace, period);
            steps.push(vital.pulse.over(&Context::from_waker(Waker::noop())).is_some());
        }
        assert_eq!(steps, [false, false, false, false, false, true]);
    }
}
