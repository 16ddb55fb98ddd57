//! The port filter: one trait for every mechanism, and the keeper that owns the one in use.

pub mod ebpf;
pub mod none;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portcullis_ebpf::layout::OPEN;
use portcullis_ebpf::verdict::Verdict;
use tokio::sync::oneshot;
use tracing::error;

/// A broker as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Broker address and port.
    pub endpoint: SocketAddr,
    /// [`OPEN`] or `DRAINING`.
    pub state: u16,
    /// Tells brokers apart that had this address and port one after the other.
    pub generation: u32,
    /// No flags exist in this layout: zero.
    pub flags: u16,
    /// New connections are refused from then on, unless the keeper renews it.
    pub deadline: Deadline,
}

/// A point of CLOCK_MONOTONIC, in nanoseconds, as the kernel compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub u64);

impl Deadline {
    /// `time` from now.
    ///
    /// # Errors
    /// The system has no monotonic clock.
    pub fn after(time: Duration) -> Result<Self, FilterError> {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
        let now = now.map_err(|error| FilterError::new("clock_gettime CLOCK_MONOTONIC", error))?;
        Ok(Self((Duration::from(now) + time).as_nanos() as u64))
    }
}

/// One port opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Open, or renew.
    Open(Entry),
    /// Close.
    Close(SocketAddr),
}

/// Packets by verdict, in the order of [`Verdict::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub [u64; Verdict::ALL.len()]);

impl Counters {
    /// Packets that got `verdict`.
    pub const fn get(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }
}

/// The kernel did not do what was asked: the call, its object, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct FilterError {
    what: String,
    /// With all that is behind it.
    cause: String,
}

impl FilterError {
    /// `what` names the call and the object.
    pub fn new(what: impl Into<String>, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        let mut told = cause.to_string();
        let mut source = cause.source();
        while let Some(error) = source {
            let more = error.to_string();
            // Some errors tell of their source themselves.
            if !told.contains(&more) {
                told = format!("{told}: {more}");
            }
            source = error.source();
        }
        Self { what: what.into(), cause: told }
    }
}

/// A filter mechanism. The keeper calls it from its own thread, so methods may block. Everything can
/// be repeated without harm.
pub trait Backend: Send {
    /// `ebpf` or `none`.
    fn name(&self) -> &'static str;

    /// Makes the kernel's set equal to `open`, whatever it was.
    ///
    /// # Errors
    /// The kernel refused; its set may be anything between the old one and `open`.
    fn replace(&mut self, open: &[Entry]) -> Result<(), FilterError>;

    /// Applies `changes` in order. A port that is opened twice has the later entry; one that is closed
    /// twice is closed.
    ///
    /// # Errors
    /// The kernel refused one; those before it are applied, those after it are not.
    fn apply(&mut self, changes: &[Change]) -> Result<(), FilterError>;

    /// Packets by verdict since the filter was attached.
    ///
    /// # Errors
    /// The kernel refused.
    fn counters(&self) -> Result<Counters, FilterError>;
}

/// How far ahead a deadline is: a daemon that died leaves every port closed after it.
pub const LEASE: Duration = Duration::from_secs(60);
/// How often deadlines are renewed.
const RENEW: Duration = Duration::from_secs(20);

type Answer<T> = oneshot::Sender<Result<T, Arc<FilterError>>>;

enum Request {
    Open(SocketAddr, Answer<()>),
    Close(SocketAddr, Answer<()>),
    Counters(Answer<Counters>),
}

/// Handle to the keeper: the task that owns the backend, gathers changes and applies them in
/// batches. Clones lead to the same keeper; when the last one is dropped, the keeper drops the
/// backend and with it whatever the kernel holds for it.
#[derive(Clone)]
pub struct Gate {
    requests: Sender<Request>,
}

impl Gate {
    /// Starts the keeper of `backend`, whose set of open ports is empty from then on.
    ///
    /// # Errors
    /// The backend could not be emptied, or the thread not started.
    pub fn start(mut backend: Box<dyn Backend>) -> Result<(Self, JoinHandle<()>), FilterError> {
        backend.replace(&[])?;
        let (requests, queue) = channel();
        let keeper = Keeper { backend, open: HashMap::new(), generation: 0 };
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || keeper.run(&queue));
        Ok((Self { requests }, thread.map_err(|error| FilterError::new("start the keeper", error))?))
    }

    /// Lets new connections to `endpoint` in.
    ///
    /// # Errors
    /// The kernel refused: the port is closed.
    pub async fn open(&self, endpoint: SocketAddr) -> Result<(), Arc<FilterError>> {
        self.ask(|answer| Request::Open(endpoint, answer)).await
    }

    /// Lets no more new connections to `endpoint` in.
    ///
    /// # Errors
    /// The kernel refused: the port stays open until its deadline.
    pub async fn close(&self, endpoint: SocketAddr) -> Result<(), Arc<FilterError>> {
        self.ask(|answer| Request::Close(endpoint, answer)).await
    }

    /// Packets by verdict.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn counters(&self) -> Result<Counters, Arc<FilterError>> {
        self.ask(Request::Counters).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Arc<FilterError>> {
        let gone = || Arc::new(FilterError::new("ask the keeper", "it has stopped"));
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

struct Keeper {
    backend: Box<dyn Backend>,
    open: HashMap<SocketAddr, u32>,
    generation: u32,
}

impl Keeper {
    fn run(mut self, queue: &Receiver<Request>) {
        let mut renewed = Instant::now();
        loop {
            match queue.recv_timeout(RENEW.saturating_sub(renewed.elapsed())) {
                Ok(first) => self.serve(std::iter::once(first).chain(queue.try_iter()).collect()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if renewed.elapsed() >= RENEW {
                renewed = Instant::now();
                if let Err(error) = self.renew() {
                    error!(%error, "deadlines were not renewed");
                }
            }
        }
    }

    /// Applies what has gathered as one batch, and answers only then.
    fn serve(&mut self, requests: Vec<Request>) {
        let mut changes = Vec::new();
        for request in requests {
            match request {
                Request::Open(endpoint, answer) => {
                    self.generation = self.generation.wrapping_add(1);
                    match entry(endpoint, self.generation) {
                        Ok(entry) => changes.push((Change::Open(entry), answer)),
                        // A caller that gave up does not wait for its answer, here and below.
                        Err(error) => drop(answer.send(Err(Arc::new(error)))),
                    }
                }
                Request::Close(endpoint, answer) => changes.push((Change::Close(endpoint), answer)),
                Request::Counters(answer) => drop(answer.send(self.backend.counters().map_err(Arc::new))),
            }
        }
        let batch: Vec<Change> = changes.iter().map(|(change, _)| *change).collect();
        let whole = self.backend.apply(&batch);
        for (change, answer) in changes {
            // Everything can be repeated without harm, so after a failure each change is tried by itself
            // and has an answer of its own.
            let result = if whole.is_ok() { Ok(()) } else { self.backend.apply(&[change]) };
            self.remember(change, result.is_ok());
            let _ = answer.send(result.map_err(Arc::new));
        }
    }

    /// What is remembered is renewed. A close that failed is forgotten all the same: the port closes at
    /// its deadline.
    fn remember(&mut self, change: Change, applied: bool) {
        match change {
            Change::Open(entry) if applied => self.open.insert(entry.endpoint, entry.generation),
            Change::Open(Entry { endpoint, .. }) | Change::Close(endpoint) => self.open.remove(&endpoint),
        };
    }

    /// Renews all deadlines; one that cannot be does not keep the others from it.
    fn renew(&mut self) -> Result<(), FilterError> {
        let mut failed = Ok(());
        for (endpoint, generation) in &self.open {
            let renewed = entry(*endpoint, *generation);
            if let Err(error) = renewed.and_then(|entry| self.backend.apply(&[Change::Open(entry)])) {
                failed = Err(error);
            }
        }
        failed
    }
}

fn entry(endpoint: SocketAddr, generation: u32) -> Result<Entry, FilterError> {
    Ok(Entry { endpoint, state: OPEN, generation, flags: 0, deadline: Deadline::after(LEASE)? })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Remembers what is open; fails while told to.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<(HashMap<SocketAddr, Entry>, bool)>>);

    impl Fake {
        fn open(&self) -> Vec<SocketAddr> {
            self.0.lock().expect("whole").0.keys().copied().collect()
        }

        fn fail(&self, fails: bool) {
            self.0.lock().expect("whole").1 = fails;
        }
    }

    impl Backend for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn replace(&mut self, open: &[Entry]) -> Result<(), FilterError> {
            self.0.lock().expect("whole").0 = open.iter().map(|entry| (entry.endpoint, *entry)).collect();
            Ok(())
        }

        fn apply(&mut self, changes: &[Change]) -> Result<(), FilterError> {
            let mut state = self.0.lock().expect("whole");
            for change in changes {
                match change {
                    Change::Open(_) if state.1 => return Err(FilterError::new("open", "told to fail")),
                    Change::Open(entry) => drop(state.0.insert(entry.endpoint, *entry)),
                    Change::Close(endpoint) => drop(state.0.remove(endpoint)),
                }
            }
            Ok(())
        }

        fn counters(&self) -> Result<Counters, FilterError> {
            Ok(Counters::default())
        }
    }

    fn endpoint(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 80, 1], port))
    }

    #[tokio::test]
    async fn what_is_opened_is_open_and_what_is_closed_is_closed() {
        let fake = Fake::default();
        let (gate, _) = Gate::start(Box::new(fake.clone())).expect("a keeper");
        gate.open(endpoint(1)).await.expect("opens");
        gate.open(endpoint(1)).await.expect("opens again");
        assert_eq!(fake.open(), [endpoint(1)]);
        gate.close(endpoint(1)).await.expect("closes");
        gate.close(endpoint(1)).await.expect("closes again");
        assert!(fake.open().is_empty());
    }

    #[tokio::test]
    async fn a_port_that_could_not_be_opened_is_closed() {
        let fake = Fake::default();
        let (gate, _) = Gate::start(Box::new(fake.clone())).expect("a keeper");
        gate.open(endpoint(1)).await.expect("opens");
        fake.fail(true);
        assert!(gate.open(endpoint(2)).await.is_err());
        fake.fail(false);
        assert_eq!(fake.open(), [endpoint(1)]);
    }

    #[test]
    fn each_change_of_a_failed_batch_has_its_own_answer() {
        let fake = Fake::default();
        let mut keeper = Keeper { backend: Box::new(fake.clone()), open: HashMap::new(), generation: 0 };
        let (opened, mut was_opened) = oneshot::channel();
        keeper.serve(vec![Request::Open(endpoint(1), opened)]);
        assert!(was_opened.try_recv().is_ok_and(|result| result.is_ok()));
        fake.fail(true);
        let (refused, mut was_refused) = oneshot::channel();
        let (closed, mut was_closed) = oneshot::channel();
        keeper.serve(vec![Request::Open(endpoint(2), refused), Request::Close(endpoint(1), closed)]);
        assert!(was_refused.try_recv().is_ok_and(|result| result.is_err()));
        assert!(was_closed.try_recv().is_ok_and(|result| result.is_ok()));
        assert!(fake.open().is_empty() && keeper.open.is_empty());
    }

    #[tokio::test]
    async fn the_backend_goes_with_the_last_gate() {
        let fake = Fake::default();
        let (gate, thread) = Gate::start(Box::new(fake.clone())).expect("a keeper");
        drop(gate);
        thread.join().expect("ends by itself");
        assert_eq!(Arc::strong_count(&fake.0), 1);
    }

    #[test]
    fn deadlines_of_open_ports_are_renewed() {
        let fake = Fake::default();
        let mut keeper = Keeper { backend: Box::new(fake.clone()), open: HashMap::new(), generation: 0 };
        let open = |port, keeper: &mut Keeper| {
            let (answer, _) = oneshot::channel();
            keeper.serve(vec![Request::Open(endpoint(port), answer)]);
        };
        open(1, &mut keeper);
        open(2, &mut keeper);
        let (answer, _) = oneshot::channel();
        keeper.serve(vec![Request::Close(endpoint(2), answer)]);
        let entry = || fake.0.lock().expect("whole").0.get(&endpoint(1)).copied().expect("it is open");
        let before = entry();
        keeper.renew().expect("renews");
        let after = entry();
        assert!(after.deadline > before.deadline);
        assert_eq!(Entry { deadline: before.deadline, ..after }, before);
        assert_eq!(fake.open(), [endpoint(1)]);
    }

    #[test]
    fn an_error_tells_what_is_behind_it_once() {
        #[derive(Debug, thiserror::Error)]
        enum Outer {
            #[error("no map")]
            Silent(#[source] std::io::Error),
            #[error("no map: {0}")]
            Telling(#[source] std::io::Error),
        }
        for outer in [Outer::Silent as fn(_) -> _, Outer::Telling] {
            let error = FilterError::new("load", outer(std::io::Error::other("not permitted")));
            assert_eq!(error.to_string(), "load: no map: not permitted");
        }
    }

    #[test]
    fn a_deadline_is_ahead() {
        let near = Deadline::after(Duration::ZERO).expect("a clock");
        let far = Deadline::after(LEASE).expect("a clock");
        assert!(far.0 - near.0 >= LEASE.as_nanos() as u64);
    }
}
