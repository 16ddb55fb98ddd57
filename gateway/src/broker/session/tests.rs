//! Sessions with any number of connections: who is let in, who makes room, and when all is over.

use super::*;

const WINDOW: Duration = Duration::from_secs(30);

fn session(id: &str, protocol: Protocol) -> Arc<Session> {
    let origin = Origin { broker_id: "b-1".into(), instance_id: "i-1".into(), protocol, by_address: false };
    Session::new(id.into(), origin, here())
}

fn here() -> IpAddr {
    [192, 0, 2, 1].into()
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    let session = session("s-1", Protocol::Vnc);
    let now = Instant::now();
    session.join(here(), now, WINDOW).expect("joins");
    let first = session.enter();
    session.join(here(), now, WINDOW).expect("joins");
    let second = session.enter();
    assert_eq!(first.stopped().await, Stop::Replaced);
    assert_eq!(session.live(), 2);
    drop(first);
    session.kill();
    assert_eq!(second.stopped().await, Stop::Killed);
    assert_eq!(session.join(here(), now, WINDOW), Err(Refusal::TicketUsed));
}

#[tokio::test]
async fn who_comes_in_while_the_session_is_killed_is_out_again() {
    let session = session("s-1", Protocol::Vnc);
    session.join(here(), Instant::now(), WINDOW).expect("joins");
    session.kill();
    assert_eq!(session.enter().stopped().await, Stop::Killed);
}

#[tokio::test]
async fn channels_of_a_desktop_belong_together() {
    let session = session("s-1", Protocol::Spice);
    let now = Instant::now();
    let mut channels = Vec::new();
    for _ in 0..8 {
        session.join(here(), now, WINDOW).expect("joins");
        channels.push(session.enter());
    }
    let stopped = channels[0].stopped();
    assert!(tokio::time::timeout(Duration::ZERO, stopped).await.is_err());
}

#[test]
fn there_is_a_time_to_come_back_in() {
    let session = session("s-1", Protocol::Vnc);
    let now = Instant::now();
    session.join(here(), now, WINDOW).expect("joins");
    drop(session.enter());
    let left = Instant::now();
    assert_eq!(session.join([192, 0, 2, 2].into(), left, WINDOW), Err(Refusal::TicketUsed));
    assert!(!session.is_over(left + WINDOW / 2, WINDOW));
    session.join(here(), left + WINDOW / 2, WINDOW).expect("comes back");
    assert!(!session.give_up());
    assert!(session.is_over(left + WINDOW * 2, WINDOW));
    assert_eq!(session.join(here(), left + WINDOW * 2, WINDOW), Err(Refusal::TicketUsed));
}

#[test]
fn sessions_are_limited_and_counted_once() {
    let sessions = Arc::new(Sessions::new(Limits { total: 0, per_instance: 1, per_client: 0 }));
    let (one, two) = (session("s-1", Protocol::Vnc), session("s-2", Protocol::Vnc));
    let admitted = sessions.admit(&one).expect("room");
    let again = sessions.admit(&one).expect("the same session");
    assert_eq!(sessions.admit(&two).err(), Some(Refusal::InstanceFull));
    assert_eq!(sessions.len(), 1);
    drop((admitted, again));
    sessions.admit(&two).expect("room again");
    // Without memory, those that are in have their channels, and nobody else comes.
    let admitted = sessions.admit(&one).expect("room");
    sessions.admit_no_more(true);
    assert_eq!(sessions.admit(&two).err(), Some(Refusal::Full));
    drop((sessions.admit(&one).expect("the same session"), admitted));
    assert_eq!(sessions.admit(&one).err(), Some(Refusal::Full));
    sessions.admit_no_more(false);
    sessions.admit(&one).expect("memory again");
}

#[test]
fn a_session_ends_once_however_many_connections_it_had() {
    let sessions = Arc::new(Sessions::default());
    let (one, two) = (session("s-1", Protocol::Vnc), session("s-2", Protocol::Rdp));
    let connect = |session: &Arc<Session>, now| {
        session.join(here(), now, WINDOW).expect("joins");
        (session.enter(), sessions.admit(session).expect("room"))
    };
    for (expected, end) in [(true, "client_gone"), (false, "target_closed")] {
        let (connection, admitted) = connect(&one, Instant::now());
        assert_eq!(connection.is_first(), expected);
        assert_eq!(sessions.settle(Instant::now() + WINDOW, WINDOW), []);
        connection.end(end);
        drop(admitted);
        assert_eq!(sessions.settle(Instant::now(), WINDOW), []);
    }
    let late = Instant::now() + WINDOW;
    assert_eq!(sessions.settle(late, WINDOW), [(Protocol::Vnc, "target_closed")]);
    assert_eq!(one.join(here(), late - WINDOW, WINDOW), Err(Refusal::TicketUsed));
    // Nobody waits for one that was killed.
    let (connection, admitted) = connect(&two, late);
    two.kill();
    connection.end("killed");
    drop(admitted);
    assert_eq!(sessions.settle(Instant::now(), WINDOW), [(Protocol::Rdp, "killed")]);
    assert_eq!(sessions.settle(late + WINDOW, WINDOW), []);
}
