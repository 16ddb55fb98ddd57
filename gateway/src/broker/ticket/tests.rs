//! Tickets against a model: never two sessions, never another broker, never after its time.

use proptest::prelude::*;

use super::*;
use crate::broker::{Admission, Protocol, Target};

const WINDOW: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(60);

fn broker(admission: Admission) -> Arc<Broker> {
    let target = Target::new("127.0.0.1", 5900, Protocol::Vnc);
    let endpoint = "127.0.80.1:10000".parse().expect("an endpoint");
    Arc::new(Broker::new("b-1".into(), endpoint, "i-1".into(), target, admission, Instant::now() + TTL))
}

fn tickets_only() -> Admission {
    Admission { client: None, tickets_optional: false, view_only: false, window: WINDOW }
}

fn ticket(broker: &Broker) -> (Token, Instant) {
    let now = Instant::now();
    let token = Token::random().expect("random numbers");
    broker.add_ticket(token.hash(), now + TTL, now);
    (token, now)
}

fn client(number: u8) -> IpAddr {
    [192, 0, 2, number].into()
}

fn claim(broker: &Arc<Broker>, token: &Token, from: u8, now: Instant) -> Result<Claim, Refusal> {
    broker.claim(Some(token), client(from), now)
}

#[test]
fn a_ticket_lets_one_session_in() {
    let broker = broker(tickets_only());
    let (token, now) = ticket(&broker);
    let connection = claim(&broker, &token, 1, now).expect("a fresh ticket").enter();
    assert_eq!(claim(&broker, &token, 2, now).err(), Some(Refusal::TicketUsed));
    let again = claim(&broker, &token, 1, now).expect("the same client").enter();
    assert!(Arc::ptr_eq(connection.session(), again.session()));
    drop((connection, again));
    let left = Instant::now();
    assert!(claim(&broker, &token, 1, left + WINDOW / 2).is_ok());
    assert_eq!(claim(&broker, &token, 1, left + WINDOW * 2).err(), Some(Refusal::TicketUsed));
}

#[test]
fn a_session_that_did_not_begin_gives_its_ticket_back() {
    let broker = broker(tickets_only());
    let (token, now) = ticket(&broker);
    drop(claim(&broker, &token, 1, now).expect("a fresh ticket"));
    // Also for somebody else: nobody was let in yet.
    assert!(claim(&broker, &token, 2, now).is_ok());
}

#[test]
fn a_ticket_is_of_one_broker_and_for_a_time() {
    let (broker, other) = (broker(tickets_only()), broker(tickets_only()));
    let (token, now) = ticket(&broker);
    assert_eq!(claim(&other, &token, 1, now).err(), Some(Refusal::WrongTicket));
    assert_eq!(claim(&broker, &Token::from_client(""), 1, now).err(), Some(Refusal::WrongTicket));
    assert_eq!(broker.claim(None, client(1), now).err(), Some(Refusal::NoTicket));
    assert_eq!(claim(&broker, &token, 1, now + TTL).err(), Some(Refusal::TicketExpired));
}

#[test]
fn a_broker_is_for_its_clients_only() {
    let client_net = Some("192.0.2.0/31".parse().expect("a prefix"));
    let broker = broker(Admission { client: client_net, tickets_optional: true, ..tickets_only() });
    let now = Instant::now();
    assert_eq!(broker.claim(None, client(2), now).err(), Some(Refusal::WrongSource));
    let (token, now) = ticket(&broker);
    assert_eq!(claim(&broker, &token, 2, now).err(), Some(Refusal::WrongSource));
    let first = broker.claim(None, client(1), now).expect("no ticket needed").enter();
    let second = broker.claim(None, client(1), now).expect("comes again").enter();
    assert!(Arc::ptr_eq(first.session(), second.session()));
    let other = broker.claim(None, client(0), now).expect("another client").enter();
    assert!(!Arc::ptr_eq(first.session(), other.session()));
    // A wrong ticket is not the same as none.
    assert_eq!(claim(&broker, &Token::from_client("x"), 1, now).err(), Some(Refusal::WrongTicket));
}

#[test]
fn a_broker_is_over_when_it_lets_nobody_in() {
    let broker = broker(tickets_only());
    let (token, now) = ticket(&broker);
    assert_eq!(broker.over(now), None);
    assert_eq!(broker.over(now + TTL), Some("expired"));
    let connection = claim(&broker, &token, 1, now).expect("a fresh ticket").enter();
    assert_eq!(broker.over(now + TTL * 10), None);
    drop(connection);
    let left = Instant::now();
    assert_eq!(broker.over(left + WINDOW / 2), None);
    assert_eq!(broker.over(left + WINDOW), Some("done"));
    // A further ticket keeps it open.
    broker.add_ticket([7; 32], left + WINDOW * 2, left);
    assert_eq!(broker.over(left + WINDOW), None);
}

#[test]
fn a_ticket_is_not_in_any_log() {
    let token = Token::from_client("secret");
    assert_eq!(format!("{token:?}"), "Token(..)");
}

/// What may happen to tickets.
#[derive(Clone, Debug)]
enum Step {
    Claim { ticket: usize, from: u8 },
    Enter { claim: prop::sample::Index },
    GiveUp { claim: prop::sample::Index },
    Leave { connection: prop::sample::Index },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 1..4_u8).prop_map(|(ticket, from)| Step::Claim { ticket, from }),
        3 => any::<prop::sample::Index>().prop_map(|claim| Step::Enter { claim }),
        1 => any::<prop::sample::Index>().prop_map(|claim| Step::GiveUp { claim }),
        2 => any::<prop::sample::Index>().prop_map(|connection| Step::Leave { connection }),
    ]
}

proptest! {
    #[test]
    fn a_ticket_never_lets_two_clients_in(steps in prop::collection::vec(step(), 0..60)) {
        let broker = broker(tickets_only());
        let tickets: Vec<Token> = (0..3).map(|_| ticket(&broker).0).collect();
        let now = Instant::now();
        let (mut claims, mut connections) = (Vec::new(), Vec::new());
        let mut holders: [Option<String>; 3] = Default::default();
        for step in steps {
            match step {
                Step::Claim { ticket, from } => {
                    if let Ok(claim) = claim(&broker, &tickets[ticket], from, now) {
                        prop_assert_eq!(claim.session().client, client(from));
                        claims.push((ticket, claim));
                    }
                }
                Step::Enter { claim } if !claims.is_empty() => {
                    let (ticket, claim) = claims.swap_remove(claim.index(claims.len()));
                    let connection = claim.enter();
                    let id = &connection.session().id;
                    // Once somebody was in, the ticket has this one session for ever.
                    let holder = holders[ticket].get_or_insert_with(|| id.clone());
                    prop_assert_eq!(&*holder, id);
                    connections.push(connection);
                }
                Step::GiveUp { claim } if !claims.is_empty() => {
                    claims.swap_remove(claim.index(claims.len()));
                }
                Step::Leave { connection } if !connections.is_empty() => {
                    connections.swap_remove(connection.index(connections.len()));
                }
                _ => {}
            }
            let live: usize = broker.connections();
            prop_assert_eq!(live, connections.len());
        }
    }
}

#[test]
fn one_native_client_comes_in_by_its_address() {
    let prefix = Some("192.0.2.0/24".parse().expect("a prefix"));
    let broker = broker(Admission { client: prefix, ..tickets_only() });
    let now = Instant::now();
    assert_eq!(broker.claim_native(client(1), now).err(), Some(Refusal::NoTicket));
    broker.admit_native(now + TTL);
    assert!(broker.awaits_native(client(1), now));
    let elsewhere = [198, 51, 100, 1].into();
    assert!(!broker.awaits_native(elsewhere, now));
    assert_eq!(broker.claim_native(elsewhere, now).err(), Some(Refusal::WrongSource));
    // One that did not come in after all leaves the place to another.
    drop(broker.claim_native(client(1), now).expect("the first"));
    let claim = broker.claim_native(client(2), now).expect("another");
    assert!(claim.may_have_secret() && claim.hash().is_none() && claim.session().by_address);
    let connection = claim.enter();
    assert!(broker.awaits_native(client(2), now) && !broker.awaits_native(client(1), now));
    assert_eq!(broker.claim_native(client(1), now).err(), Some(Refusal::TicketUsed));
    assert!(broker.over(now + 10 * TTL).is_none(), "somebody is in");
    // It comes back as with a ticket, long after the minute.
    drop(connection);
    let left = Instant::now();
    let back = broker.claim_native(client(2), left + WINDOW / 2).expect("comes back").enter();
    drop(back);
    let late = Instant::now() + WINDOW * 2;
    assert_eq!(broker.claim_native(client(2), late).err(), Some(Refusal::TicketUsed));
    assert!(!broker.awaits_native(client(2), late));
    assert_eq!(broker.over(late), Some("done"));
}

#[test]
fn a_native_client_comes_within_its_time() {
    let broker = broker(tickets_only());
    let now = Instant::now();
    broker.admit_native(now + TTL);
    assert_eq!(broker.over(now), None);
    assert_eq!(broker.claim_native(client(1), now + TTL).err(), Some(Refusal::TicketExpired));
    assert_eq!(broker.over(now + TTL), Some("expired"));
}

#[test]
fn a_secret_is_for_who_showed_a_ticket_or_is_awaited() {
    let broker = broker(Admission { tickets_optional: true, ..tickets_only() });
    let (token, now) = ticket(&broker);
    assert!(claim(&broker, &token, 1, now).expect("a ticket").may_have_secret());
    assert!(!broker.claim(None, client(2), now).expect("none needed").may_have_secret());
}

#[test]
fn a_ticket_fits_into_a_password_of_spice() {
    let token = Token::random().expect("random numbers");
    let password = token.password();
    assert_eq!(password.len(), 43);
    assert_eq!(Token::from_password(&password), token);
    for none in ["", "secret12", &password[1..], token.reveal()] {
        assert_ne!(Token::from_password(none), token, "{none}");
    }
}

#[test]
fn a_ticket_looks_like_one_and_nothing_else_does() {
    let token = Token::random().expect("random numbers");
    assert!(Token::is_like(token.reveal()));
    let long = format!("{}0", token.reveal());
    for other in ["", &token.reveal()[1..], &long, &"A5".repeat(32), &"é".repeat(32), "3640205228.15629.0000"]
    {
        assert!(!Token::is_like(other), "{other}");
    }
}

#[test]
fn names_are_in_the_order_of_their_seconds() {
    let now = || jiff::Timestamp::now().as_second() as u32;
    let (before, id, after) = (now(), new_id('s').expect("random"), now());
    let (second, random) = id.strip_prefix("s-").expect("its kind").split_at(8);
    let second = u32::from_str_radix(second, 16).expect("digits");
    assert!((before..=after).contains(&second), "{id}");
    assert_eq!(random.len(), 12, "{id}");
    assert_ne!(id, new_id('s').expect("random"));
}
