//! What is recorded reads back, also after a restart; what cannot be recorded leaves nothing.

use std::net::IpAddr;

use futures_util::future::join_all;

use super::group::Kind;
use super::*;
use crate::broker::Protocol;
use crate::broker::session::{Origin, Session};

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("store.db")).await.expect("a store");
    (folder, store)
}

const TICKET: [u8; 32] = [7; 32];

fn row(id: &str) -> BrokerRow {
    let created_at = WallTime(WallTime::now().0);
    BrokerRow {
        broker_id: id.into(),
        instance_id: "i-1".into(),
        endpoint: "127.0.80.1:10000".parse().expect("an endpoint"),
        client: Some("192.0.2.0/24".parse().expect("a prefix")),
        tickets_optional: true,
        view_only: true,
        created_at,
        expires_at: created_at.after(Duration::from_secs(60)),
    }
}

/// Begins it as the relay does, that has judged the ticket.
async fn come(store: &Store, session: &Session, hash: Option<&[u8; 32]>) -> Result<bool, StoreError> {
    store.begin_session(session, hash, |begun| begun).await.expect("the store is open")
}

/// The database judges.
async fn begin(store: &Store, session: &Session, hash: Option<&[u8; 32]>) -> Result<bool, StoreError> {
    session.tell_once();
    come(store, session, hash).await
}

fn session(id: &str) -> Arc<Session> {
    let origin = Origin {
        broker_id: "b-1".into(),
        instance_id: "i-1".into(),
        protocol: Protocol::Vnc,
        by_address: false,
    };
    Session::new(id.into(), origin, IpAddr::from([192, 0, 2, 1]))
}

#[tokio::test]
async fn a_broker_reads_back_with_its_tickets() {
    let (_folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    let later = row("b-1").expires_at.after(Duration::from_secs(60));
    store.add_ticket("b-1", &[8; 32], later).await.expect("adds");
    let brokers = store.open_brokers().await.expect("answers");
    let expected = BrokerRow { expires_at: later, ..row("b-1") };
    assert_eq!(brokers.len(), 1);
    assert_eq!(BrokerRow { created_at: expected.created_at, ..brokers[0].clone() }, expected);
    let tickets = store.tickets("b-1").await.expect("answers");
    assert_eq!(tickets.len(), 2);
    assert!(tickets.iter().all(|ticket| ticket.session.is_none()));
    assert_eq!(tickets[0].hash, TICKET);
}

/// All of them, by parts of `limit`.
async fn newest(store: &Store, limit: u32) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let after = found.last().cloned().unwrap_or_default();
        let part = store.sessions(&after, limit, Some(false)).await.expect("answers");
        if part.is_empty() {
            return found;
        }
        found.extend(part.into_iter().map(|row| row.session_id));
    }
}

#[tokio::test]
async fn past_sessions_are_listed_from_their_newest_end() {
    let (_folder, store) = store().await;
    for (id, ended_at) in
        [("s-1", Some(30)), ("s-2", Some(10)), ("s-3", Some(20)), ("s-4", Some(20)), ("s-5", None)]
    {
        begin(&store, &session(id), None).await.expect("begins");
        let end =
            sqlx::query("UPDATE session SET ended_at = $2 WHERE session_id = $1").bind(id).bind(ended_at);
        store.run(end).await.expect("is written");
    }
    for limit in [1, 2, 3, 100] {
        assert_eq!(newest(&store, limit).await, ["s-1", "s-4", "s-3", "s-2"], "in parts of {limit}");
    }
    assert_eq!(
        store.sessions("s-9", 10, Some(false)).await.expect("answers"),
        [],
        "behind one that is not there"
    );
}

#[tokio::test]
async fn a_ticket_is_of_one_session_also_after_a_restart() {
    let (folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    assert!(begin(&store, &session("s-1"), Some(&TICKET)).await.expect("begins"));
    store.close().await;
    let store = Store::open(&folder.path().join("store.db")).await.expect("opens again");
    assert!(!begin(&store, &session("s-2"), Some(&TICKET)).await.expect("answers"));
    assert!(store.session("s-2").await.expect("answers").is_none(), "it was refused, and recorded");
    assert!(begin(&store, &session("s-1"), Some(&TICKET)).await.expect("comes back"));
    assert!(!begin(&store, &session("s-3"), Some(&[9; 32])).await.expect("no such ticket"));
    let ticket = store.tickets("b-1").await.expect("answers").remove(0);
    assert_eq!(
        ticket.session.map(|session| (session.id, session.client)),
        Some(("s-1".into(), [192, 0, 2, 1].into()))
    );
}

/// The volumes of the journal, as they are.
fn volumes(folder: &Path) -> [(std::path::PathBuf, Vec<u8>); 2] {
    ["store.db-begun-0", "store.db-begun-1"].map(|name| {
        let path = folder.join(name);
        let text = std::fs::read(&path).expect("a volume");
        (path, text)
    })
}

#[tokio::test]
async fn what_only_the_journal_has_is_recorded_by_the_next_daemon() {
    let (folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    assert!(come(&store, &session("s-1"), Some(&TICKET)).await.expect("begins"));
    let died = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(folder.path()).expect("lists").map(|file| file.expect("a file").path()) {
        std::fs::copy(&file, died.path().join(file.file_name().expect("a name"))).expect("copies");
    }
    assert!(volumes(died.path()).iter().any(|(_, text)| !text.is_empty()));
    let next = Store::open(&died.path().join("store.db")).await.expect("opens");
    let ticket = next.tickets("b-1").await.expect("answers").remove(0);
    assert_eq!(ticket.session.map(|session| session.id).as_deref(), Some("s-1"));
    assert_eq!(
        next.sessions("", 10, Some(true)).await.expect("answers"),
        store.sessions("", 10, Some(true)).await.expect("answers"),
    );
    next.close().await;
    assert_eq!(volumes(died.path()).map(|(_, text)| text.len()), [0; 2]);
}

#[tokio::test]
async fn what_the_journal_still_has_is_not_recorded_again() {
    let (folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    let session = session("s-1");
    assert!(come(&store, &session, Some(&TICKET)).await.expect("begins"));
    let before = volumes(folder.path());
    session.connections.store(1, std::sync::atomic::Ordering::Relaxed);
    store.end_session(&session, "client_closed").await.expect("ends");
    let ended = store.session("s-1").await.expect("answers");
    store.close().await;
    assert_eq!(volumes(folder.path()).map(|(_, text)| text.len()), [0; 2]);
    for (path, text) in before {
        std::fs::write(path, text).expect("writes");
    }
    let store = Store::open(&folder.path().join("store.db")).await.expect("opens again");
    assert!(ended.is_some());
    assert_eq!(store.session("s-1").await.expect("answers"), ended);
}

/// What begins and ends in one batch, as most that are short, with and without a second connection in between.
#[tokio::test]
async fn a_short_session_is_recorded_whole() {
    let (_folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    for (id, ticket, connections) in [("s-1", Some(&TICKET), 1), ("s-2", None, 2)] {
        let session = session(id);
        assert!(come(&store, &session, ticket).await.expect("begins"));
        session.up.store(5, std::sync::atomic::Ordering::Relaxed);
        session.down.store(7, std::sync::atomic::Ordering::Relaxed);
        assert!(!store.group.is_settled(), "its begin waits for the batch");
        if connections == 1 {
            store.end_session(&session, "client_closed").await.expect("ends");
        } else {
            let row = r#"["s-2",null,"b-1","i-1","vnc","192.0.2.1",1000]"#;
            store
                .group
                .tell(Kind::BeginSession, id, row.into(), |begun| assert!(matches!(begun, Ok(Some(_)))));
            store.end_session(&session, "client_closed").await.expect("ends");
        }
        let row = store.session(id).await.expect("answers").expect("a row");
        assert_eq!((row.connections, row.up_bytes, row.down_bytes), (connections, 5, 7), "{id}");
        assert!(row.ended_at.is_some_and(|ended| ended.0 >= row.started_at.0), "{id}: {row:?}");
        assert_eq!(row.end_reason.as_deref(), Some("client_closed"), "{id}");
    }
    let ticket = store.tickets("b-1").await.expect("answers").remove(0);
    assert_eq!(ticket.session.map(|session| session.id).as_deref(), Some("s-1"));
}

/// A database that is locked takes nothing; who is in the journal is in, and who comes then has to wait for it.
#[tokio::test]
async fn what_the_database_did_not_take_is_told_to_it_again() {
    let (folder, store) = store().await;
    let mut other = store.line.options().clone().connect().await.expect("connects");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("locks");
    assert!(come(&store, &session("s-1"), None).await.expect("is in the journal"));
    come(&store, &session("s-2"), None).await.expect("is in the journal, too");
    store.end_session(&session("s-1"), "client_closed").await.expect_err("is locked");
    come(&store, &session("s-3"), None).await.expect_err("the database is asked");
    assert!(volumes(folder.path()).iter().any(|(_, text)| !text.is_empty()));
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("unlocks");
    let rows = store.sessions("", 10, Some(true)).await.expect("answers");
    assert_eq!(rows.iter().map(|row| row.session_id.as_str()).collect::<Vec<_>>(), ["s-1", "s-2"]);
    assert!(come(&store, &session("s-3"), None).await.expect("begins"));
    assert!(!store.group.is_settled(), "it is in the journal");
}

#[tokio::test]
async fn a_killed_session_stays_killed() {
    let (_folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    begin(&store, &session("s-1"), Some(&TICKET)).await.expect("begins");
    store.kill_session("s-1").await.expect("is killed");
    assert!(!begin(&store, &session("s-1"), Some(&TICKET)).await.expect("answers"));
    // It may have ended otherwise a moment before, or never have: killed it is.
    store.end_session(&session("s-1"), "client_closed").await.expect("ends");
    store.end_all_sessions().await.expect("ends");
    let ticket = store.tickets("b-1").await.expect("answers").remove(0);
    assert!(ticket.session.is_some_and(|session| session.killed));
    let ended = store.session("s-1").await.expect("answers").expect("a row");
    assert_eq!(ended.end_reason.as_deref(), Some("killed"));
}

/// As sqlx's own transactions do not.
#[tokio::test]
async fn what_is_recorded_after_failures_lasts() {
    let (folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    for _ in 0..3 {
        // The id is taken.
        store.add_broker(&row("b-1"), &[9; 32]).await.expect_err("refuses");
        // What SQLite does by itself on a full disk.
        let mut broken = store.write().await.expect("begins");
        sqlx::query("ROLLBACK").execute(&mut *broken).await.expect("rolls back");
        broken.commit().await.expect_err("there is nothing to commit");
    }
    assert!(begin(&store, &session("s-1"), Some(&TICKET)).await.expect("begins"));
    store.close().await;
    let store = Store::open(&folder.path().join("store.db")).await.expect("opens again");
    assert!(store.session("s-1").await.expect("answers").is_some());
}

#[tokio::test]
async fn a_session_is_recorded_from_its_begin_to_its_end() {
    let (_folder, store) = store().await;
    let session = session("s-1");
    begin(&store, &session, None).await.expect("begins");
    let begun = store.session("s-1").await.expect("answers").expect("a row");
    assert_eq!((begun.connections, begun.ended_at, begun.client.as_str()), (1, None, "192.0.2.1"));
    session.up.store(5, std::sync::atomic::Ordering::Relaxed);
    store.end_session(&session, "client_closed").await.expect("ends");
    let ended = store.session("s-1").await.expect("answers").expect("a row");
    assert!(ended.ended_at.is_some());
    assert_eq!((ended.up_bytes, ended.end_reason.as_deref()), (5, Some("client_closed")));
    begin(&store, &session, None).await.expect("comes back");
    let back = store.session("s-1").await.expect("answers").expect("a row");
    assert_eq!((back.connections, back.ended_at, back.started_at), (2, None, begun.started_at));
    assert_eq!(store.sessions("", 10, Some(true)).await.expect("answers").len(), 1);
    assert_eq!(store.end_all_sessions().await.expect("answers"), 1);
    assert_eq!(store.sessions("", 10, Some(true)).await.expect("answers"), []);
    assert_eq!(store.sessions("", 10, Some(false)).await.expect("answers").len(), 1);
    assert_eq!(store.sessions("s-1", 10, None).await.expect("answers"), []);
}

#[tokio::test]
async fn what_was_taken_back_never_was() {
    let (_folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    let first = session("s-1");
    assert!(come(&store, &first, Some(&TICKET)).await.expect("begins"));
    for _ in 0..2 {
        store.take_session_back(&first).await.expect("is taken back");
        assert!(store.session("s-1").await.expect("answers").is_none());
    }
    let second = session("s-2");
    assert!(begin(&store, &second, Some(&TICKET)).await.expect("the ticket is fresh"));
    // A return that is taken back: the session was, and its ticket stays used.
    store.end_session(&second, "client_closed").await.expect("ends");
    assert!(begin(&store, &second, Some(&TICKET)).await.expect("comes back"));
    store.take_session_back(&second).await.expect("is taken back");
    let row = store.session("s-2").await.expect("answers").expect("a row");
    assert!(row.ended_at.is_some());
    assert!(!begin(&store, &session("s-3"), Some(&TICKET)).await.expect("answers"));
}

#[tokio::test]
async fn a_ticket_is_of_who_is_in_also_before_another_is_taken_back() {
    let (_folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    let gone = session("s-1");
    assert!(begin(&store, &gone, Some(&TICKET)).await.expect("begins"));
    assert!(come(&store, &session("s-2"), Some(&TICKET)).await.expect("begins"));
    store.settle().await;
    store.take_session_back(&gone).await.expect("is taken back");
    let ticket = store.tickets("b-1").await.expect("answers").remove(0);
    assert_eq!(ticket.session.map(|session| session.id).as_deref(), Some("s-2"));
}

#[tokio::test]
async fn what_is_old_or_too_much_is_forgotten() {
    let (_folder, store) = store().await;
    for number in 0..5 {
        begin(&store, &session(&format!("s-{number}")), None).await.expect("begins");
    }
    store.end_all_sessions().await.expect("ends");
    assert_eq!(store.forget_sessions(WallTime(0), 3).await.expect("forgets"), 2);
    assert_eq!(store.forget_sessions(WallTime(i64::MAX), 3).await.expect("forgets"), 3);
}

#[tokio::test]
async fn a_closed_port_rests_and_a_broker_is_closed_once() {
    let (_folder, store) = store().await;
    let rest = Duration::from_secs(120);
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    assert_eq!(store.resting(rest).await.expect("answers"), []);
    store.close_broker("b-1", "expired").await.expect("closes");
    store.close_broker("b-1", "again").await.expect("closes");
    let rests = store.resting(rest).await.expect("answers");
    assert_eq!(rests.len(), 1);
    assert_eq!(rests[0].endpoint, row("b-1").endpoint);
    assert!(rests[0].left <= rest && rests[0].left > rest / 2);
    assert_eq!(store.open_brokers().await.expect("answers"), []);
}

#[tokio::test]
async fn a_broker_is_recorded_with_its_ticket_or_not_at_all() {
    let (_folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    assert!(store.add_broker(&row("b-2"), &TICKET).await.is_err());
    assert_eq!(store.open_brokers().await.expect("answers").len(), 1);
    store.close_broker("b-1", "test").await.expect("closes");
    assert_eq!(store.forget_brokers(WallTime(i64::MAX)).await.expect("answers"), 1);
    assert_eq!(store.tickets("b-1").await.expect("answers"), []);
}

#[tokio::test]
async fn what_is_written_at_once_fails_each_by_itself() {
    let (_folder, store) = store().await;
    let rows: Vec<_> = (0..100).map(|number| row(&format!("b-{number}"))).collect();
    // The ticket of the first is shown by two more, and the last one comes twice.
    let tickets: Vec<_> =
        (0..100).map(|number| [if matches!(number, 30 | 60) { 0 } else { number }; 32]).collect();
    let adding = rows.iter().zip(&tickets).map(|(row, ticket)| store.add_broker(row, ticket));
    let again = store.add_broker(&rows[99], &[200; 32]);
    let (added, again) = tokio::join!(join_all(adding), again);
    let failed: Vec<_> =
        added.iter().enumerate().filter(|(_, added)| added.is_err()).map(|(at, _)| at).collect();
    assert_eq!(failed, [30, 60]);
    assert!(again.is_err());
    assert_eq!(store.open_brokers().await.expect("answers").len(), 98);
    assert_eq!(store.tickets("b-30").await.expect("answers"), []);
}

#[tokio::test]
async fn a_ticket_that_is_shown_at_once_is_of_one_session() {
    let (_folder, store) = store().await;
    store.add_broker(&row("b-1"), &TICKET).await.expect("adds");
    let sessions: Vec<_> = (0..20).map(|number| session(&format!("s-{number}"))).collect();
    let begun = join_all(sessions.iter().map(|session| begin(&store, session, Some(&TICKET)))).await;
    assert_eq!(begun.into_iter().filter(|begun| *begun.as_ref().expect("answers")).count(), 1);
    assert_eq!(store.sessions("", 100, None).await.expect("answers").len(), 1);
}

#[tokio::test]
async fn what_one_session_does_at_once_keeps_its_order() {
    let (_folder, store) = store().await;
    let sessions: Vec<_> = (0..50).map(|number| session(&format!("s-{number}"))).collect();
    let steps = sessions.iter().map(|session| async {
        let come = || come(&store, session, None);
        let both = tokio::join!(come(), come());
        assert!(both.0.expect("begins") && both.1.expect("comes along"));
        let steps = tokio::join!(store.end_session(session, "client_gone"), come());
        steps.0.expect("ends");
        assert!(steps.1.expect("comes back"));
    });
    join_all(steps).await;
    let rows = store.sessions("", 100, Some(true)).await.expect("answers");
    assert_eq!(rows.len(), 50);
    assert!(rows.iter().all(|row| row.connections == 3));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    std::fs::write(&path, "this is no database, whatever its name says").expect("writes");
    let error = Store::open(&path).await.expect_err("no database");
    assert!(error.to_string().contains("not a database"), "{error}");
}
