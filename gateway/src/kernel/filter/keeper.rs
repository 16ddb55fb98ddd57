//! The keeper: the thread that owns a backend, gathers changes, applies them in batches, and renews deadlines.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis_ebpf::layout::OPEN;
use tokio::sync::oneshot;
use tracing::error;

use super::{Backend, BrokerCounts, BrokerId, Change, Counters, Deadline, Entry, FilterError};

/// How far ahead a deadline is: a daemon that died leaves every port closed after it.
pub const LEASE: Duration = Duration::from_secs(60);
/// How often deadlines are renewed.
const RENEW: Duration = Duration::from_secs(20);
/// So many deadlines are renewed in one batch.
const RENEW_AT_ONCE: usize = 512;

type Answer<T> = oneshot::Sender<Result<T, Arc<FilterError>>>;

enum Request {
    Open(SocketAddr, Option<IpNet>, Answer<()>),
    Close(SocketAddr, Answer<()>),
    Counters(Answer<Counters>),
    BrokerCounts(Vec<SocketAddr>, Answer<Vec<Option<BrokerCounts>>>),
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
        let keeper = Keeper::new(backend);
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || keeper.run(&queue));
        Ok((Self { requests }, thread.map_err(|error| FilterError::new("start the keeper", error))?))
    }

    /// Lets new connections to `endpoint` in that come from `client`, or from anywhere.
    ///
    /// # Errors
    /// The kernel refused: the port is closed.
    pub async fn open(&self, endpoint: SocketAddr, client: Option<IpNet>) -> Result<(), Arc<FilterError>> {
        self.ask(|answer| Request::Open(endpoint, client, answer)).await
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

    /// What the filter counted for the brokers at `endpoints`, in their order; `None` where none is open, or
    /// this filter counts nothing.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn broker_counts(
        &self,
        endpoints: Vec<SocketAddr>,
    ) -> Result<Vec<Option<BrokerCounts>>, Arc<FilterError>> {
        self.ask(|answer| Request::BrokerCounts(endpoints, answer)).await
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
    /// By address and port: two thirds of what a [`SocketAddr`] takes.
    open: HashMap<(IpAddr, u16), Open>,
    generation: u32,
}

/// What is renewed of an open broker.
#[derive(Clone, Copy)]
struct Open {
    generation: u32,
    client: Option<IpNet>,
}

impl Keeper {
    fn new(backend: Box<dyn Backend>) -> Self {
        // Whoever kept this kernel's set before began somewhere else, so no count is taken for another's.
        Self { backend, open: HashMap::new(), generation: rand::random() }
    }

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
                Request::Open(endpoint, client, answer) => {
                    self.generation = self.generation.wrapping_add(1);
                    match entry(endpoint, Open { generation: self.generation, client }) {
                        Ok(entry) => changes.push((Change::Open(entry), answer)),
                        // A caller that gave up does not wait for its answer, here and below.
                        Err(error) => drop(answer.send(Err(Arc::new(error)))),
                    }
                }
                Request::Close(endpoint, answer) => changes.push((Change::Close(endpoint), answer)),
                Request::Counters(answer) => drop(answer.send(self.backend.counters().map_err(Arc::new))),
                Request::BrokerCounts(endpoints, answer) => drop(answer.send(self.broker_counts(&endpoints))),
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
            Change::Open(Entry { endpoint, generation, client, .. }) if applied => {
                self.open.insert(place(endpoint), Open { generation, client })
            }
            Change::Open(Entry { endpoint, .. }) | Change::Close(endpoint) => {
                self.open.remove(&place(endpoint))
            }
        };
    }

    /// In the order asked for; those that are not open count nothing.
    fn broker_counts(&self, endpoints: &[SocketAddr]) -> Result<Vec<Option<BrokerCounts>>, Arc<FilterError>> {
        let id = |endpoint: &SocketAddr| {
            let Open { generation, .. } = self.open.get(&place(*endpoint))?;
            Some(BrokerId { endpoint: *endpoint, generation: *generation })
        };
        let ids: Vec<_> = endpoints.iter().filter_map(id).collect();
        let mut counts = self.backend.broker_counts(&ids).map_err(Arc::new)?.into_iter();
        Ok(endpoints.iter().map(|endpoint| id(endpoint).and_then(|_| counts.next().flatten())).collect())
    }

    /// Renews all deadlines; one that cannot be does not keep the others from it.
    fn renew(&mut self) -> Result<(), FilterError> {
        let entries = self.open.iter().map(|(place, open)| entry((*place).into(), *open).map(Change::Open));
        let changes: Vec<Change> = entries.collect::<Result<_, _>>()?;
        if changes.is_empty() {
            // A backend looks after itself then: others may have taken away what it has in the kernel.
            return self.backend.apply(&[]);
        }
        let mut failed = Ok(());
        for batch in changes.chunks(RENEW_AT_ONCE) {
            if self.backend.apply(batch).is_err() {
                let each = batch.iter().filter_map(|change| self.backend.apply(&[*change]).err());
                failed = each.last().map_or(failed, Err);
            }
        }
        failed
    }
}

fn place(endpoint: SocketAddr) -> (IpAddr, u16) {
    (endpoint.ip(), endpoint.port())
}

fn entry(endpoint: SocketAddr, open: Open) -> Result<Entry, FilterError> {
    let Open { generation, client } = open;
    Ok(Entry { endpoint, state: OPEN, generation, client, deadline: Deadline::after(LEASE)? })
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

        /// Each has been let in as often as its port says, of those that are open with this generation.
        fn broker_counts(&self, brokers: &[BrokerId]) -> Result<Vec<Option<BrokerCounts>>, FilterError> {
            let state = self.0.lock().expect("whole");
            let count = |id: &BrokerId| {
                let entry = state.0.get(&id.endpoint).filter(|entry| entry.generation == id.generation)?;
                Some(BrokerCounts { open: entry.endpoint.port().into(), ..BrokerCounts::default() })
            };
            Ok(brokers.iter().map(count).collect())
        }
    }

    fn endpoint(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 80, 1], port))
    }

    #[tokio::test]
    async fn what_is_opened_is_open_and_what_is_closed_is_closed() {
        let fake = Fake::default();
        let (gate, _) = Gate::start(Box::new(fake.clone())).expect("a keeper");
        gate.open(endpoint(1), None).await.expect("opens");
        gate.open(endpoint(1), None).await.expect("opens again");
        assert_eq!(fake.open(), [endpoint(1)]);
        gate.close(endpoint(1)).await.expect("closes");
        gate.close(endpoint(1)).await.expect("closes again");
        assert!(fake.open().is_empty());
    }

    #[tokio::test]
    async fn a_port_that_could_not_be_opened_is_closed() {
        let fake = Fake::default();
        let (gate, _) = Gate::start(Box::new(fake.clone())).expect("a keeper");
        gate.open(endpoint(1), None).await.expect("opens");
        fake.fail(true);
        assert!(gate.open(endpoint(2), None).await.is_err());
        fake.fail(false);
        assert_eq!(fake.open(), [endpoint(1)]);
    }

    #[test]
    fn each_change_of_a_failed_batch_has_its_own_answer() {
        let fake = Fake::default();
        let mut keeper = Keeper::new(Box::new(fake.clone()));
        let (opened, mut was_opened) = oneshot::channel();
        keeper.serve(vec![Request::Open(endpoint(1), None, opened)]);
        assert!(was_opened.try_recv().is_ok_and(|result| result.is_ok()));
        fake.fail(true);
        let (refused, mut was_refused) = oneshot::channel();
        let (closed, mut was_closed) = oneshot::channel();
        keeper.serve(vec![Request::Open(endpoint(2), None, refused), Request::Close(endpoint(1), closed)]);
        assert!(was_refused.try_recv().is_ok_and(|result| result.is_err()));
        assert!(was_closed.try_recv().is_ok_and(|result| result.is_ok()));
        assert!(fake.open().is_empty() && keeper.open.is_empty());
    }

    #[tokio::test]
    async fn counts_come_in_the_order_asked_for() {
        let (gate, _) = Gate::start(Box::new(Fake::default())).expect("a keeper");
        for port in [1, 2, 3] {
            gate.open(endpoint(port), None).await.expect("opens");
        }
        gate.close(endpoint(2)).await.expect("closes");
        let counts = gate.broker_counts([3, 2, 1].map(endpoint).to_vec()).await.expect("counts");
        let open: Vec<_> = counts.into_iter().map(|counts| counts.map(|counts| counts.open)).collect();
        assert_eq!(open, [Some(3), None, Some(1)]);
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
        let mut keeper = Keeper::new(Box::new(fake.clone()));
        let client = Some("192.0.2.0/24".parse().expect("a network"));
        let open = |port, keeper: &mut Keeper| {
            let (answer, _) = oneshot::channel();
            keeper.serve(vec![Request::Open(endpoint(port), client, answer)]);
        };
        open(1, &mut keeper);
        open(2, &mut keeper);
        let (answer, _) = oneshot::channel();
        keeper.serve(vec![Request::Close(endpoint(2), answer)]);
        let entry = || fake.0.lock().expect("whole").0.get(&endpoint(1)).copied().expect("it is open");
        let before = entry();
        assert_eq!(before.client, client);
        keeper.renew().expect("renews");
        let after = entry();
        assert!(after.deadline > before.deadline);
        assert_eq!(Entry { deadline: before.deadline, ..after }, before);
        assert_eq!(fake.open(), [endpoint(1)]);
    }

    /// Applies nothing, and says so.
    struct Gone;

    impl Backend for Gone {
        fn name(&self) -> &'static str {
            "gone"
        }

        fn replace(&mut self, _: &[Entry]) -> Result<(), FilterError> {
            Ok(())
        }

        fn apply(&mut self, changes: &[Change]) -> Result<(), FilterError> {
            Err(FilterError::new("apply", changes.len().to_string()))
        }

        fn counters(&self) -> Result<Counters, FilterError> {
            Ok(Counters::default())
        }

        fn broker_counts(&self, _: &[BrokerId]) -> Result<Vec<Option<BrokerCounts>>, FilterError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_backend_is_asked_also_while_nothing_is_open() {
        let error = Keeper::new(Box::new(Gone)).renew().expect_err("it was asked");
        assert_eq!(error.to_string(), "apply: 0");
    }
}
