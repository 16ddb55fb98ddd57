//! Every step of opening fails once, and nothing is left of the steps before it.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use super::*;
use crate::broker::BoxFuture;
use crate::broker::allocator::Ports;
use crate::control::store::InstanceRow;
use crate::kernel::filter::{Backend, BrokerCounts, BrokerId, Change, Counters, Entry};

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

    fn broker_counts(&self, brokers: &[BrokerId]) -> Result<Vec<Option<BrokerCounts>>, FilterError> {
        Ok(vec![None; brokers.len()])
    }
}

fn wish(instance_id: &str) -> Wish {
    Wish { instance_id: instance_id.into(), ..Wish::default() }
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
        let bench = Self::on(tempfile::tempdir().expect("a folder")).await;
        let row = InstanceRow {
            instance_id: "i-1".into(),
            hypervisor: "kvm".into(),
            host: "127.0.0.1".into(),
            graphics_port: 5900,
            graphics_protocol: "vnc".into(),
            graphics_passwd: None,
            tls: Default::default(),
            tls_seen: None,
            local: Default::default(),
        };
        bench.lifecycle.put_instance(row).await.expect("writes");
        bench
    }

    /// The next daemon on the same state.
    async fn reborn(self) -> Self {
        self.store.close().await;
        Self::on(self.folder).await
    }

    async fn on(folder: tempfile::TempDir) -> Self {
        let store = Store::open(&folder.path().join("store.db")).await.expect("a store");
        let allocator = Allocator::new(Ports {
            addresses: vec!["127.0.80.1".parse().expect("an address")],
            range: 10_000..=10_001,
            exclude: HashSet::new(),
            rest: REST,
        });
        let (table, doors, filter) =
            (Arc::new(Table::default()), Arc::new(FakeDoors::default()), FakeFilter::default());
        let (gate, _) = Gate::start(Box::new(filter.clone())).expect("a keeper");
        let metrics = Metrics::new(&[]);
        let events = Events::new(&folder.path().join("audit.log"), metrics.clone()).expect("a log");
        let lifecycle = Lifecycle::new(Parts {
            inventory: Inventory::new(store.clone()),
            allocator: allocator.clone(),
            doors: doors.clone(),
            store: store.clone(),
            table: table.clone(),
            sessions: Arc::default(),
            gate,
            metrics,
            events,
            times: Times { ttl: Duration::from_secs(60), window: Duration::from_secs(30) },
            proxied: false,
        });
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
        assert_eq!(self.store.open_brokers().await.expect("answers").len(), open, "store");
    }
}

#[tokio::test]
async fn a_broker_opens_and_closes_with_all_its_parts() {
    let bench = Bench::new().await;
    let opened = bench.lifecycle.open(wish("i-1")).await.expect("opens");
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
    let error = bench.lifecycle.open(wish("i-2")).await.expect_err("no such instance");
    assert!(matches!(error, OpenError::Inventory(InventoryError::Unknown(_))), "{error}");
    bench.holds(0, 0).await;
}

#[tokio::test]
async fn a_door_that_does_not_open_gives_the_port_back() {
    let bench = Bench::new().await;
    *bench.doors.refuse.lock().expect("whole") = Some((ErrorKind::PermissionDenied, 1));
    let error = bench.lifecycle.open(wish("i-1")).await.expect_err("no door");
    assert!(matches!(error, OpenError::Listen { .. }), "{error}");
    bench.holds(0, 0).await;
    bench.lifecycle.open(wish("i-1")).await.expect("opens now");
    bench.holds(1, 1).await;
}

#[tokio::test]
async fn a_foreign_socket_is_passed_over() {
    let bench = Bench::new().await;
    *bench.doors.refuse.lock().expect("whole") = Some((ErrorKind::AddrInUse, 1));
    bench.lifecycle.open(wish("i-1")).await.expect("takes the other port");
    // The foreign port is left alone for a rest.
    bench.holds(1, 2).await;
}

#[tokio::test]
async fn a_store_that_does_not_record_undoes_the_door() {
    let bench = Bench::new().await;
    // The broker's own row can be written, its ticket cannot: neither stays.
    bench.spoil("ALTER TABLE ticket RENAME TO gone").await;
    let error = bench.lifecycle.open(wish("i-1")).await.expect_err("no table");
    assert!(matches!(error, OpenError::Store(_)), "{error}");
    bench.holds(0, 0).await;
    bench.spoil("ALTER TABLE gone RENAME TO ticket").await;
    bench.lifecycle.open(wish("i-1")).await.expect("opens now");
    bench.holds(1, 1).await;
}

#[tokio::test]
async fn a_close_that_is_not_recorded_closes_all_the_same() {
    let bench = Bench::new().await;
    let opened = bench.lifecycle.open(wish("i-1")).await.expect("opens");
    bench.spoil("ALTER TABLE broker RENAME TO gone").await;
    assert!(bench.lifecycle.close(&opened.broker.id, "closed", Stop::Closed).await);
    bench.spoil("ALTER TABLE gone RENAME TO broker").await;
    // The next start finds it open in the store, and sees to it.
    assert_eq!(bench.store.open_brokers().await.expect("answers").len(), 1);
    bench.store.close_broker(&opened.broker.id, "later").await.expect("closes");
    bench.holds(0, 1).await;
}

#[tokio::test]
async fn a_filter_that_does_not_open_undoes_everything() {
    let bench = Bench::new().await;
    bench.filter.refuse.store(true, Ordering::SeqCst);
    let error = bench.lifecycle.open(wish("i-1")).await.expect_err("no filter");
    assert!(matches!(error, OpenError::Filter(_)), "{error}");
    // Nobody was told of the port, so it need not rest.
    bench.holds(0, 0).await;
    bench.filter.refuse.store(false, Ordering::SeqCst);
    bench.lifecycle.open(wish("i-1")).await.expect("opens now");
    bench.holds(1, 1).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_open() {
    let bench = Bench::new().await;
    let mut open = Box::pin(bench.lifecycle.open(wish("i-1")));
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
async fn a_caller_that_goes_away_removes_the_instance_all_the_same() {
    let bench = Bench::new().await;
    bench.lifecycle.open(wish("i-1")).await.expect("opens");
    bench.lifecycle.open(wish("i-1")).await.expect("opens");
    let mut remove = Box::pin(bench.lifecycle.remove_instance("i-1"));
    let polled = poll_fn(|cx| Poll::Ready(remove.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    drop(remove);
    while !bench.lifecycle.brokers().is_empty()
        || bench.store.open_brokers().await.is_ok_and(|open| !open.is_empty())
    {
        tokio::task::yield_now().await;
    }
    bench.holds(0, 2).await;
    assert!(bench.store.instance("i-1").await.expect("answers").is_none());
}

#[tokio::test]
async fn what_nobody_uses_is_reaped() {
    let bench = Bench::new().await;
    let (unused, used) = (
        bench.lifecycle.open(wish("i-1")).await.expect("opens"),
        bench.lifecycle.open(wish("i-1")).await.expect("opens"),
    );
    let client = [192, 0, 2, 1].into();
    let presence = used.broker.claim(Some(&used.token), client, Instant::now()).expect("a ticket").enter();
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
async fn a_broker_is_reused_with_a_further_ticket() {
    let bench = Bench::new().await;
    let first = bench.lifecycle.open(wish("i-1")).await.expect("opens");
    let again = Wish { reuse: true, ttl: Some(Duration::from_secs(600)), ..wish("i-1") };
    let second = bench.lifecycle.open(again.clone()).await.expect("is reused");
    assert!(Arc::ptr_eq(&first.broker, &second.broker));
    assert_ne!(first.token, second.token);
    assert!(second.expires_at > first.expires_at);
    bench.holds(1, 1).await;
    // Both tickets are good, each for a session of its own; the later one keeps the broker open.
    let now = Instant::now();
    for (opened, client) in [(&first, 1), (&second, 2)] {
        assert!(opened.broker.claim(Some(&opened.token), [192, 0, 2, client].into(), now).is_ok());
    }
    bench.lifecycle.reap(now + Duration::from_secs(61)).await;
    bench.holds(1, 1).await;
    // Another rule is another broker.
    let other = Wish { client: Some("192.0.2.0/24".parse().expect("a prefix")), ..again };
    let third = bench.lifecycle.open(other).await.expect("opens");
    assert!(!Arc::ptr_eq(&first.broker, &third.broker));
    bench.holds(2, 2).await;
}

#[tokio::test]
async fn brokers_follow_their_instance() {
    let bench = Bench::new().await;
    let opened = bench.lifecycle.open(wish("i-1")).await.expect("opens");
    let row = |protocol: &str| InstanceRow {
        instance_id: "i-1".into(),
        hypervisor: "kvm".into(),
        host: "127.0.0.2".into(),
        graphics_port: 5901,
        graphics_protocol: protocol.into(),
        graphics_passwd: None,
        tls: Default::default(),
        tls_seen: None,
        local: Default::default(),
    };
    bench.lifecycle.put_instance(row("vnc")).await.expect("writes");
    assert_eq!(opened.broker.target().host, "127.0.0.2");
    bench.holds(1, 1).await;
    // What speaks something else is another console.
    bench.lifecycle.put_instance(row("spice")).await.expect("writes");
    bench.holds(0, 1).await;
    let opened = bench.lifecycle.open(wish("i-1")).await.expect("opens");
    let stopped = opened.broker.stopped();
    assert!(bench.lifecycle.remove_instance("i-1").await.expect("removes"));
    assert_eq!(stopped.await, Stop::Closed);
    assert!(!bench.lifecycle.remove_instance("i-1").await.expect("answers"));
    bench.holds(0, 2).await;
}

#[tokio::test]
async fn a_change_that_failed_leaves_no_broker_sure_of_its_target() {
    let bench = Bench::new().await;
    let opened = bench.lifecycle.open(wish("i-1")).await.expect("opens");
    let old = opened.broker.target();
    assert_eq!(opened.broker.sure_target(), Some(old.clone()));
    bench.spoil("ALTER TABLE instance RENAME TO gone").await;
    assert!(bench.lifecycle.remove_instance("i-1").await.is_err());
    assert_eq!(opened.broker.sure_target(), None);
    assert_eq!(opened.broker.target(), old);
    bench.spoil("ALTER TABLE gone RENAME TO instance").await;
    let row = InstanceRow {
        instance_id: "i-1".into(),
        hypervisor: "kvm".into(),
        host: "127.0.0.2".into(),
        graphics_port: 5901,
        graphics_protocol: "vnc".into(),
        graphics_passwd: None,
        tls: Default::default(),
        tls_seen: None,
        local: Default::default(),
    };
    bench.lifecycle.put_instance(row).await.expect("writes");
    assert_eq!(opened.broker.sure_target().map(|target| target.host), Some("127.0.0.2".into()));
}

#[tokio::test]
async fn what_is_valid_goes_on_after_a_restart() {
    let bench = Bench::new().await;
    let (kept, expired) = (
        bench.lifecycle.open(wish("i-1")).await.expect("opens"),
        bench
            .lifecycle
            .open(Wish { ttl: Some(Duration::from_millis(1)), ..wish("i-1") })
            .await
            .expect("opens"),
    );
    let client = [192, 0, 2, 1].into();
    let session = kept.broker.claim(Some(&kept.token), client, Instant::now()).expect("a ticket");
    let begun = bench.store.begin_session(session.session(), session.hash().as_ref(), |begun| begun).await;
    assert!(begun.expect("the store is open").expect("records"));
    let session_id = session.session().id.clone();
    std::mem::forget(session);
    while WallTime::now() <= expired.expires_at {
        tokio::task::yield_now().await;
    }
    // Dead, without a word: nothing is told to the store.
    let bench = bench.reborn().await;
    let recovered = bench.lifecycle.recover(REST).await.expect("recovers");
    assert_eq!(recovered, recovery::Recovered { open: 1, closed: 1 });
    bench.holds(1, 2).await;
    let (broker, _) = bench.lifecycle.broker(&kept.broker.id).expect("the same broker");
    assert_eq!(broker.endpoint, kept.broker.endpoint);
    assert!(bench.lifecycle.broker(&expired.broker.id).is_none());
    // The ticket is of its session still: its client comes back, nobody else comes in.
    let now = Instant::now();
    assert!(broker.claim(Some(&kept.token), [192, 0, 2, 2].into(), now).is_err());
    let back = broker.claim(Some(&kept.token), client, now).expect("comes back");
    assert_eq!(back.session().id, session_id);
    drop(back);
    assert!(broker.claim(Some(&kept.token), client, now + Duration::from_secs(60)).is_err());
}

#[tokio::test]
async fn an_instance_that_is_gone_after_a_restart_closes_its_broker() {
    let bench = Bench::new().await;
    bench.lifecycle.open(wish("i-1")).await.expect("opens");
    bench.spoil("DELETE FROM instance").await;
    let bench = bench.reborn().await;
    let recovered = bench.lifecycle.recover(REST).await.expect("recovers");
    assert_eq!(recovered, recovery::Recovered { open: 0, closed: 1 });
    bench.holds(0, 1).await;
}

#[tokio::test]
async fn nothing_opens_after_the_stop() {
    let bench = Bench::new().await;
    let opened = bench.lifecycle.open(wish("i-1")).await.expect("opens");
    let stopped = opened.broker.stopped();
    bench.lifecycle.stop().await;
    assert_eq!(stopped.await, Stop::Stopping);
    let error = bench.lifecycle.open(wish("i-1")).await.expect_err("it stops");
    assert!(matches!(error, OpenError::Stopping), "{error}");
    assert!(bench.table.is_empty() && bench.filter.open.lock().expect("whole").is_empty());
    // The store keeps what may go on after the next start.
    assert_eq!(bench.store.open_brokers().await.expect("answers").len(), 1);
}

#[tokio::test]
async fn several_brokers_open_or_none_does() {
    let bench = Bench::new().await;
    let shared = bench.lifecycle.open(wish("i-1")).await.expect("opens");
    let tickets = async || bench.store.tickets(&shared.broker.id).await.expect("answers").len();
    // An instance that is not there: no port was touched.
    let error = bench.lifecycle.open_all(vec![wish("i-1"), wish("i-2")]).await.expect_err("no such instance");
    assert!(matches!(error, OpenError::Inventory(InventoryError::Unknown(_))), "{error}");
    bench.holds(1, 1).await;
    // A range that is full after the second: that one is closed, the shared one has no further ticket.
    let again = Wish { reuse: true, ..wish("i-1") };
    let error = bench.lifecycle.open_all(vec![again, wish("i-1"), wish("i-1")]).await.expect_err("full");
    assert!(matches!(error, OpenError::NoFreePort(_)), "{error}");
    bench.holds(1, 2).await;
    assert_eq!(tickets().await, 1);
    let all = bench.lifecycle.open_all(vec![Wish { reuse: true, ..wish("i-1") }; 2]).await.expect("opens");
    assert!(all.iter().all(|opened| !opened.new && opened.broker.id == shared.broker.id));
    assert_ne!(all[0].token, all[1].token);
    bench.holds(1, 2).await;
    assert_eq!(tickets().await, 3);
}
