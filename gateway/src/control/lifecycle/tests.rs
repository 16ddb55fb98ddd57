//! Every step of opening fails once, and nothing is left of the steps before it.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use super::*;
use crate::broker::BoxFuture;
use crate::broker::allocator::Ports;
use crate::kernel::filter::{Backend, Change, Counters, Entry};

/// Counts the doors that are open; refuses while told to, with a kind of error.
#[derive(Default)]
struct FakeDoors {
    open: Arc<AtomicUsize>,
    refuse: Mutex<Option<(ErrorKind, usize)>>,
}

struct OpenDoor(Arc<AtomicUsize>);

impl Drop for OpenDoor {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Doors for FakeDoors {
    fn open(&self, _: SocketAddr) -> BoxFuture<'_, std::io::Result<Door>> {
        let mut refuse = self.refuse.lock().expect("whole");
        if let Some((kind, times @ 1..)) = &mut *refuse {
            *times -= 1;
            let error = std::io::Error::from(*kind);
            return Box::pin(async { Err(error) });
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let door = OpenDoor(self.open.clone());
        Box::pin(async { Ok(Box::new(door) as Door) })
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}

/// What is let in; refuses to open while told to.
#[derive(Clone, Default)]
struct FakeFilter {
    open: Arc<Mutex<Vec<SocketAddr>>>,
    refuse: Arc<AtomicBool>,
}

impl Backend for FakeFilter {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn replace(&mut self, _: &[Entry]) -> Result<(), FilterError> {
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), FilterError> {
        let mut open = self.open.lock().expect("whole");
        for change in changes {
            match change {
                Change::Open(_) if self.refuse.load(Ordering::SeqCst) => {
                    return Err(FilterError::new("open", "told to refuse"));
                }
                Change::Open(entry) => open.push(entry.endpoint),
                Change::Close(endpoint) => open.retain(|other| other != endpoint),
            }
        }
        Ok(())
    }

    fn counters(&self) -> Result<Counters, FilterError> {
        Ok(Counters::default())
    }
}

/// A lifecycle over fakes and a real store, with two ports to lend.
struct Bench {
    lifecycle: Arc<Lifecycle>,
    table: Arc<Table>,
    store: Store,
    allocator: Allocator,
    doors: Arc<FakeDoors>,
    filter: FakeFilter,
    folder: tempfile::TempDir,
}

const REST: Duration = Duration::from_secs(120);

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store.db")).await.expect("a store");
        let allocator = Allocator::new(Ports {
            addresses: vec!["127.0.80.1".parse().expect("an address")],
            range: 10_000..=10_001,
            exclude: std::collections::HashSet::new(),
            rest: REST,
        });
        let (table, doors, filter) =
            (Arc::new(Table::default()), Arc::new(FakeDoors::default()), FakeFilter::default());
        let (gate, _) = Gate::start(Box::new(filter.clone())).expect("a keeper");
        let lifecycle = Lifecycle::new(Parts {
            inventory: Inventory::new(store.clone()),
            allocator: allocator.clone(),
            doors: doors.clone(),
            store: store.clone(),
            table: table.clone(),
            gate,
            metrics: Metrics::new(&[]),
            times: Times { ttl: Duration::from_secs(60), linger: Duration::from_secs(30) },
        });
        let row = InstanceRow {
            instance_id: "i-1".into(),
            hypervisor: "kvm".into(),
            host: "127.0.0.1".into(),
            graphics_port: 5900,
            graphics_protocol: "vnc".into(),
        };
        lifecycle.put_instance(&row, None).await.expect("writes");
        Self { lifecycle, table, store, allocator, doors, filter, folder }
    }

    /// Changes the store behind the lifecycle's back.
    async fn spoil(&self, sql: &'static str) {
        use sqlx::Connection;
        let url = format!("sqlite://{}", self.folder.path().join("store.db").display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("a connection");
        sqlx::query(sql).execute(&mut connection).await.expect("changes");
        connection.close().await.expect("closes");
    }

    /// How much of everything there is: `open` brokers, and `lent` or resting ports.
    async fn holds(&self, open: usize, lent: usize) {
        assert_eq!(self.table.len(), open, "table");
        assert_eq!(self.lifecycle.brokers().len(), open, "held");
        assert_eq!(self.doors.open.load(Ordering::SeqCst), open, "doors");
        assert_eq!(self.filter.open.lock().expect("whole").len(), open, "filter");
        let mut free = Vec::new();
        while let Ok(lease) = self.allocator.lease(Instant::now()) {
            free.push(lease);
        }
        assert_eq!(2 - free.len(), lent, "ports");
        // Closing all that the store has open tells how many those were; with none that harms nothing.
        if open == 0 {
            assert_eq!(self.store.close_all_brokers("test").await.expect("answers"), 0, "store");
        }
    }
}

#[tokio::test]
async fn a_broker_opens_and_closes_with_all_its_parts() {
    let bench = Bench::new().await;
    let opened = bench.lifecycle.open("i-1", None).await.expect("opens");
    bench.holds(1, 1).await;
    assert!(bench.lifecycle.close(&opened.broker.id, "closed", Stop::Closed).await);
    assert!(!bench.lifecycle.close(&opened.broker.id, "closed", Stop::Closed).await);
    // Its port rests.
    bench.holds(0, 1).await;
    assert_eq!(bench.store.resting(REST).await.expect("answers").len(), 1);
}

#[tokio::test]
async fn without_a_target_nothing_begins() {
    let bench = Bench::new().await;
    let error = bench.lifecycle.open("i-2", None).await.expect_err("no such instance");
    assert!(matches!(error, OpenError::Inventory(InventoryError::Unknown(_))), "{error}");
    bench.holds(0, 0).await;
}

#[tokio::test]
async fn a_door_that_does_not_open_gives_the_port_back() {
    let bench = Bench::new().await;
    *bench.doors.refuse.lock().expect("whole") = Some((ErrorKind::PermissionDenied, 1));
    let error = bench.lifecycle.open("i-1", None).await.expect_err("no door");
    assert!(matches!(error, OpenError::Listen { .. }), "{error}");
    bench.holds(0, 0).await;
    bench.lifecycle.open("i-1", None).await.expect("opens now");
    bench.holds(1, 1).await;
}

#[tokio::test]
async fn a_foreign_socket_is_passed_over() {
    let bench = Bench::new().await;
    *bench.doors.refuse.lock().expect("whole") = Some((ErrorKind::AddrInUse, 1));
    bench.lifecycle.open("i-1", None).await.expect("takes the other port");
    // The foreign port is left alone for a rest.
    bench.holds(1, 2).await;
}

#[tokio::test]
async fn a_store_that_does_not_record_undoes_the_door() {
    let bench = Bench::new().await;
    // The broker's own row can be written, its ticket cannot: neither stays.
    bench.spoil("ALTER TABLE ticket RENAME TO gone").await;
    let error = bench.lifecycle.open("i-1", None).await.expect_err("no table");
    assert!(matches!(error, OpenError::Store(_)), "{error}");
    bench.holds(0, 0).await;
    bench.spoil("ALTER TABLE gone RENAME TO ticket").await;
    bench.lifecycle.open("i-1", None).await.expect("opens now");
    bench.holds(1, 1).await;
}

#[tokio::test]
async fn a_close_that_is_not_recorded_closes_all_the_same() {
    let bench = Bench::new().await;
    let opened = bench.lifecycle.open("i-1", None).await.expect("opens");
    bench.spoil("ALTER TABLE broker RENAME TO gone").await;
    assert!(bench.lifecycle.close(&opened.broker.id, "closed", Stop::Closed).await);
    bench.spoil("ALTER TABLE gone RENAME TO broker").await;
    // The next start finds it open in the store, and closes it.
    assert_eq!(bench.store.close_all_brokers("restart").await.expect("answers"), 1);
    bench.holds(0, 1).await;
}

#[tokio::test]
async fn a_filter_that_does_not_open_undoes_everything() {
    let bench = Bench::new().await;
    bench.filter.refuse.store(true, Ordering::SeqCst);
    let error = bench.lifecycle.open("i-1", None).await.expect_err("no filter");
    assert!(matches!(error, OpenError::Filter(_)), "{error}");
    // Nobody was told of the port, so it need not rest.
    bench.holds(0, 0).await;
    bench.filter.refuse.store(false, Ordering::SeqCst);
    bench.lifecycle.open("i-1", None).await.expect("opens now");
    bench.holds(1, 1).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_open() {
    let bench = Bench::new().await;
    let mut open = Box::pin(bench.lifecycle.open("i-1", None));
    let polled = poll_fn(|cx| Poll::Ready(open.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    // Dropped after its first poll: the steps run on by themselves and end with a whole broker.
    drop(open);
    while bench.lifecycle.brokers().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.holds(1, 1).await;
}

#[tokio::test]
async fn what_nobody_uses_is_reaped() {
    let bench = Bench::new().await;
    let (unused, used) = (
        bench.lifecycle.open("i-1", None).await.expect("opens"),
        bench.lifecycle.open("i-1", None).await.expect("opens"),
    );
    let presence = used.broker.enter();
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    bench.lifecycle.reap(later(59)).await;
    bench.holds(2, 2).await;
    bench.lifecycle.reap(later(61)).await;
    bench.holds(1, 2).await;
    assert!(bench.lifecycle.broker(&unused.broker.id).is_none());
    drop(presence);
    bench.lifecycle.reap(later(29)).await;
    bench.holds(1, 2).await;
    bench.lifecycle.reap(later(31)).await;
    bench.holds(0, 2).await;
}

#[tokio::test]
async fn nothing_opens_after_the_stop() {
    let bench = Bench::new().await;
    let opened = bench.lifecycle.open("i-1", None).await.expect("opens");
    let stopped = opened.broker.stopped();
    bench.lifecycle.stop().await;
    assert_eq!(stopped.await, Stop::Stopping);
    let error = bench.lifecycle.open("i-1", None).await.expect_err("it stops");
    assert!(matches!(error, OpenError::Stopping), "{error}");
    bench.holds(0, 2).await;
}
