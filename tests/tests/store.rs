//! A store that cannot be written or read: clear answers, sessions that go on, and nothing that is wrong
//! afterwards.

use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use portcullis_tests::eye::Eye;
use portcullis_tests::gateway::{ADDRESS, Gateway};
use portcullis_tests::namespace::in_namespace;
use portcullis_tests::process::Guarded;
use portcullis_tests::state::rows;
use portcullis_tests::strace::Tracer;
use portcullis_tests::target::Target;
use portcullis_tests::websocket::{closed, connect_from, echoes, open, open_on};
use portcullis_tests::{require, wait_for};
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// A small file system on a folder. Nobody but this thread and its processes sees it.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn on(folder: &'a Path) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .expect("nobody else sees it");
        mount(Some("none"), folder, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).expect("a file system");
        Self(folder)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // What still has files open goes on without; the folder below can be removed.
        umount2(self.0, MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

fn unavailable(answer: (u16, Value)) {
    let (status, problem) = answer;
    assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{problem}");
}

/// What works and what does not while the store takes nothing, and that it is whole when it does again.
/// `broken` makes it so; what it returns mends it when dropped.
fn goes_on_without_its_store<T>(gateway: &Gateway, folder: &Path, broken: impl FnOnce() -> T) {
    let port = Target::new().echo();
    let (one, two, three) = (gateway.open(port), gateway.open(port), gateway.open(port));
    let (mut stays, mut leaves) = (open(&one).expect("a session"), open(&two).expect("a session"));
    let errors = gateway.metric("portcullis_store_errors_total");

    let mend = broken();
    let wish = json!({ "instance_id": one.instance() });
    unavailable(gateway.api().post("/v1/brokers", &wish));
    let place = json!({ "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "vnc" });
    unavailable(gateway.api().put("/v1/instances/i-new", &place));
    assert!(gateway.metric("portcullis_store_errors_total") >= errors + 2.0);
    // A ticket whose use cannot be recorded lets nobody in, and is as good as before.
    assert_eq!(open(&three).err(), Some((503, "unavailable".into())));
    echoes(&mut stays, b"still here");
    leaves.close(None).expect("closes");
    assert_eq!(closed(&mut leaves), None);
    assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", one.id)).0, 204);
    assert_eq!(closed(&mut stays).map(|(code, _)| code), Some(1001));
    drop(mend);

    let mut eye = Eye::new(gateway, folder);
    wait_for("what happened meanwhile to be recorded", || {
        let sight = eye.look();
        let open: Vec<_> = sight.listed.keys().cloned().collect();
        let expected = [&two.id, &three.id];
        (sight.differences("none").is_empty() && open.iter().all(|id| expected.contains(&id))).then_some(())
    });
    echoes(&mut open(&three).expect("its ticket is good"), b"hello");
    assert_eq!(gateway.api().post("/v1/brokers", &wish).0, 201);
}

#[test]
fn a_full_disk() {
    if !require::root() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let _disk = SmallDisk::on(folder.path());
        let gateway = Gateway::start(folder.path(), "none", &[]);
        let filler = folder.path().join("filler");
        let broker = gateway.open(Target::new().echo());
        goes_on_without_its_store(&gateway, folder.path(), || {
            // To the last byte: what is there already may be written over, nothing may grow.
            let mut file = std::fs::File::create(&filler).expect("a file");
            while std::io::Write::write(&mut file, &[0; 512]).is_ok() {}
            // More lines than its last page has room for.
            for stranger in 1..=50 {
                let stream = connect_from(&format!("127.0.2.{stranger}"), broker.endpoint);
                let wrong = open_on(stream, broker.endpoint, Some("wrong")).err();
                assert_eq!(wrong, Some((403, "wrong_ticket".into())));
            }
            assert!(gateway.metric("portcullis_lost_records_total") > 0.0, "{}", gateway.log());
            assert_eq!(gateway.api().delete(&format!("/v1/brokers/{}", broker.id)).0, 204);
            Remove(&filler)
        });
    });
}

/// Removes a file when dropped.
struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        std::fs::remove_file(self.0).expect("the file is there");
    }
}

#[test]
fn a_disk_that_becomes_read_only() {
    if !(require::root() && require::file("/usr/bin/strace", "strace")) {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::start(folder.path(), "none", &[]);
        let id = gateway.id();
        // What a kernel says that has found errors on the disk.
        goes_on_without_its_store(&gateway, folder.path(), || {
            Tracer::fail(id, "pwrite64,ftruncate", "EROFS")
        });
    });
}

#[test]
fn a_store_that_another_program_has_locked() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), "none", &[]);
    let store = folder.path().join("state/store.db");
    goes_on_without_its_store(&gateway, folder.path(), || Locked::new(&store));
}

/// The store takes the record of a session when nobody waits for it any more: nobody is in, so nobody is
/// recorded, and the ticket is as good as before.
#[test]
fn a_record_that_comes_too_late_is_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(folder.path(), "none", &["session.dial_s = 1"]);
    let broker = gateway.open(Target::new().echo());
    let locked = Locked::new(&folder.path().join("state/store.db"));
    // From now on each session waits for the database itself.
    unavailable(gateway.api().post("/v1/brokers", &json!({ "instance_id": broker.instance() })));
    assert_eq!(open(&broker).err(), Some((503, "unavailable".into())));
    drop(locked);
    let mut session = wait_for("the ticket to be fresh again", || match open(&broker) {
        Ok(session) => Some(session),
        Err(refused) => {
            assert_eq!(refused, (403, "ticket_used".into()));
            None
        }
    });
    echoes(&mut session, b"hello");
    let item = wait_for("the one session", || {
        let (_, sessions) = gateway.api().get("/v1/sessions");
        let [item] = sessions["items"].as_array().expect("a list").as_slice() else { return None };
        Some(item.clone())
    });
    assert_eq!((&item["connections"], &item["state"]), (&json!(1), &json!("live")));
    // Its ticket is its own, whatever was taken back when.
    let tickets = &rows(&folder.path().join("state/store.db"))["ticket"];
    assert!(tickets[0].contains(item["session_id"].as_str().expect("an id")), "{tickets:?}");
    // And nobody hears of another one.
    let audit = wait_for("the session in the log", || {
        let audit = std::fs::read_to_string(folder.path().join("state/audit.log")).expect("a log");
        audit.contains("\"session.began\"").then_some(audit)
    });
    assert_eq!(audit.matches("\"session.began\"").count(), 1, "{audit}");
}

/// Who is in the journal is in, and its ticket is used for good, whatever becomes of daemon and database.
#[test]
fn a_session_that_only_the_journal_has_outlives_the_daemon() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut first = Gateway::start(folder.path(), "none", &[]);
    let broker = first.open(Target::new().echo());
    let locked = Locked::new(&folder.path().join("state/store.db"));
    echoes(&mut open(&broker).expect("the database is not waited for"), b"hello");
    first.end(Signal::SIGKILL);
    drop(locked);
    let second = Gateway::start(folder.path(), "none", &[]);
    let stranger = connect_from("127.0.0.9", broker.endpoint);
    let refused = open_on(stranger, broker.endpoint, Some(&broker.token)).err();
    assert_eq!(refused, Some((403, "ticket_used".into())));
    let (_, sessions) = second.api().get("/v1/sessions");
    let items = sessions["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1, "{sessions}");
    assert_eq!(
        (&items[0]["broker_id"], &items[0]["end_reason"]),
        (&json!(broker.id), &json!("gateway_lost")),
        "{sessions}"
    );
    echoes(&mut open(&broker).expect("its own client comes back"), b"hello");
}

/// A store that nobody else can write until the value is dropped.
struct Locked {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Locked {
    fn new(store: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connection = runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(store);
            let mut connection = SqliteConnection::connect_with(&options).await.expect("opens");
            sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.expect("the lock");
            connection
        });
        Self { runtime, connection }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let back = sqlx::query("ROLLBACK").execute(&mut self.connection);
        self.runtime.block_on(back).expect("the lock is given back");
    }
}

/// What keeps it from starting is said with the name of what is wrong.
fn does_not_start(command: Command, folder: &Path, said: &[&str]) {
    let mut command = command;
    assert_eq!(Guarded::start(&mut command).ended().code(), Some(1));
    let log = std::fs::read_to_string(folder.join("log")).expect("a log");
    assert!(said.iter().all(|word| log.contains(word)), "{log}");
}

#[test]
fn no_start_on_a_read_only_disk() {
    if !require::root() {
        return;
    }
    in_namespace(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        std::fs::create_dir(&state).expect("a folder");
        let _disk = SmallDisk::on(&state);
        let first = Gateway::start(folder.path(), "none", &[]);
        let broker = first.open(Target::new().echo());
        assert!(first.stop().success());
        let (none, remount) = (None::<&str>, MsFlags::MS_REMOUNT);
        mount(none, &state, none, remount | MsFlags::MS_RDONLY, none).expect("read-only");
        let command = Gateway::command(folder.path(), &[ADDRESS], "none", &[]);
        does_not_start(command, folder.path(), &["state/lock", "Read-only file system"]);
        mount(none, &state, none, remount, none).expect("writable again");
        let second = Gateway::start(folder.path(), "none", &[]);
        echoes(&mut open(&broker).expect("nothing was lost"), b"hello");
        drop(second);
    });
}

#[test]
fn no_start_while_another_program_has_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut first = Gateway::start(folder.path(), "none", &[]);
    first.end(Signal::SIGKILL);
    let _locked = Locked::new(&folder.path().join("state/store.db"));
    let command = Gateway::command(folder.path(), &[ADDRESS], "none", &[]);
    does_not_start(command, folder.path(), &["store: ", "database is locked"]);
}
