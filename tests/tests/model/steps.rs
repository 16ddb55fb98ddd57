//! The steps of an ordinary day.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portcullis_tests::gateway::Broker;
use portcullis_tests::wait_for;
use portcullis_tests::websocket::{Socket, closed, connect_from, echoes, open_on};
use serde_json::{Value, json};

use crate::world::{ModelBroker, ModelTicket, World};

/// So many may be open at a time; more would only make the comparison slow.
const ENOUGH: usize = 16;
/// Prefix of those brokers that need no ticket.
const HOME: &str = "127.1.0.0/16";

/// What a client got.
pub(crate) type Answer = Result<Socket, (u16, String)>;

impl World {
    pub(crate) fn step(&mut self) {
        match self.pick(100) {
            0..25 => self.create(),
            25..55 => self.connect(),
            55..67 => self.talk(),
            67..77 => self.disconnect(),
            77..85 => self.close(),
            85..90 => self.move_instance(),
            90..92 => self.remove_instance(),
            92..97 => self.kill(),
            97..99 => self.knock(),
            _ if self.chance(20) => self.wait_for_the_fading(),
            _ => self.stop(),
        }
    }

    /// One of a few machines; it may be gone.
    pub(crate) fn any_instance(&mut self) -> String {
        format!("i-{}", self.pick(4))
    }

    fn create(&mut self) {
        if self.brokers.len() >= ENOUGH {
            return self.close();
        }
        let instance = self.any_instance();
        let (short, optional, reuse) = (self.chance(10), self.chance(15), self.chance(20));
        let mut wish = json!({ "instance_id": instance, "reuse": reuse });
        if optional {
            wish["client"] = HOME.into();
            wish["tickets"] = "optional".into();
        } else if short {
            wish["ttl_s"] = 1.into();
        }
        let (status, answer) = self.gateway().api().post("/v1/brokers", &wish);
        if !self.instances.contains_key(&instance) {
            assert_eq!((status, &answer["code"]), (404, &json!("no_instance")), "{}", self.said);
            return;
        }
        let same = |broker: &ModelBroker| broker.instance == instance && broker.optional == optional;
        let fading = self.brokers.values().any(|broker| same(broker) && broker.fades());
        if reuse && fading && status == 409 {
            return;
        }
        assert_eq!(status, 201, "{}: {answer}", self.said);
        let lasting = self.brokers.values().any(|broker| same(broker) && !broker.fades());
        self.opened(answer, short && !optional, optional, reuse, lasting);
    }

    fn opened(&mut self, answer: Value, short: bool, optional: bool, reuse: bool, lasting: bool) {
        let Broker { id, endpoint, token, answer } = Broker::read(answer);
        let ticket = ModelTicket::of(Some(token), short);
        if let Some(known) = self.brokers.get_mut(&id) {
            assert!(reuse && known.endpoint == endpoint, "{}: {id} was given twice", self.said);
            return known.tickets.push(ticket);
        }
        assert!(!(reuse && lasting), "{}: a new broker where one is open", self.said);
        assert!(self.lent.insert(endpoint), "{}: {endpoint} was lent before, and has to rest", self.said);
        let instance = answer["instance_id"].as_str().expect("text").to_owned();
        self.brokers.insert(id, ModelBroker { endpoint, instance, optional, tickets: vec![ticket] });
    }

    /// A client's address; a few, so that they meet again.
    pub(crate) fn any_client(&mut self) -> IpAddr {
        Ipv4Addr::new(127, 1, 0, 1 + self.pick(3) as u8).into()
    }

    fn connect(&mut self) {
        let Some(id) = self.any_broker() else { return self.create() };
        let client = self.any_client();
        let broker = &self.brokers[&id];
        if broker.optional && self.chance(50) {
            return self.connect_without(&id, client);
        }
        let count = self.brokers[&id].tickets.len();
        let at = self.pick(count);
        let ticket = &self.brokers[&id].tickets[at];
        let Some(token) = ticket.token.clone() else { return };
        // Tickets that are over are wrong tickets after a while, and whoever shows many is sent away.
        let over = ticket.dead || (ticket.short && ticket.client.is_none());
        let client = if over { self.stranger() } else { client };
        self.connect_with(&id, at, &token, client);
    }

    /// An address that hardly ever comes again.
    fn stranger(&mut self) -> IpAddr {
        Ipv4Addr::new(127, 1, self.pick(250) as u8, 10 + self.pick(240) as u8).into()
    }

    /// Shows the ticket at `at`; whether it is good, the model knows, but for one that may just expire.
    pub(crate) fn connect_with(&mut self, id: &str, at: usize, token: &str, client: IpAddr) {
        let endpoint = self.brokers[id].endpoint;
        let answer = dial(endpoint, Some(token), client);
        let console = self.instances[&self.brokers[id].instance];
        let said = self.said.clone();
        let ticket = &mut self.brokers.get_mut(id).expect("it is open").tickets[at];
        let refused = answer.as_ref().err().cloned();
        let codes: &[&str] = match ticket.client {
            _ if ticket.dead => &["ticket_used", "wrong_ticket"],
            Some(owner) if owner != client => &["ticket_used"],
            None if ticket.short && refused.is_some() => &["ticket_expired", "wrong_ticket"],
            _ => &[],
        };
        match &refused {
            None => assert!(codes.is_empty(), "{said}: {client} came in by {ticket:?}"),
            Some((403, code)) if codes.contains(&code.as_str()) => {}
            Some(_) => panic!("{said}: {refused:?} for {ticket:?}"),
        }
        if let Ok(socket) = answer {
            ticket.came_in(socket, client, console, &said);
        }
    }

    fn connect_without(&mut self, id: &str, client: IpAddr) {
        let endpoint = self.brokers[id].endpoint;
        let socket =
            dial(endpoint, None, client).unwrap_or_else(|refused| panic!("{}: {refused:?}", self.said));
        let console = self.instances[&self.brokers[id].instance];
        let said = self.said.clone();
        let tickets = &mut self.brokers.get_mut(id).expect("it is open").tickets;
        let own = |ticket: &&mut ModelTicket| ticket.token.is_none() && ticket.client == Some(client);
        match tickets.iter_mut().filter(|ticket| !ticket.dead).find(own) {
            Some(guest) => guest.came_in(socket, client, console, &said),
            None => {
                let mut guest = ModelTicket::of(None, false);
                guest.came_in(socket, client, console, &said);
                tickets.push(guest);
            }
        }
    }

    /// Tickets that are none, of somewhere else, or missing.
    fn knock(&mut self) {
        let Some(id) = self.any_broker() else { return };
        let (endpoint, optional) = (self.brokers[&id].endpoint, self.brokers[&id].optional);
        let stranger = self.stranger();
        let others = self.brokers.iter().filter(|(other, _)| **other != id);
        let elsewhere = others.flat_map(|(_, broker)| &broker.tickets).find_map(|t| t.token.clone());
        let token = elsewhere.unwrap_or_else(|| "00".repeat(32));
        assert_eq!(dial(endpoint, Some(&token), stranger).err(), Some((403, "wrong_ticket".into())));
        if !optional {
            assert_eq!(dial(endpoint, None, stranger).err(), Some((401, "no_ticket".into())));
        }
    }

    /// A ticket whose client is in.
    fn any_socket(&mut self) -> Option<(String, usize)> {
        let all = self.brokers.iter().flat_map(|(id, broker)| {
            let tickets = broker.tickets.iter().enumerate();
            tickets.filter(|(_, ticket)| ticket.socket.is_some()).map(|(at, _)| (id.clone(), at))
        });
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| all[self.pick(all.len())].clone())
    }

    fn talk(&mut self) {
        let Some((id, at)) = self.any_socket() else { return self.connect() };
        let said = self.said.clone();
        let ticket = &mut self.brokers.get_mut(&id).expect("it is open").tickets[at];
        echoes(ticket.socket.as_mut().expect("it is in"), said.as_bytes());
    }

    fn disconnect(&mut self) {
        let Some((id, at)) = self.any_socket() else { return self.connect() };
        let ticket = &mut self.brokers.get_mut(&id).expect("it is open").tickets[at];
        let mut socket = ticket.socket.take().expect("it is in");
        socket.close(None).expect("closes");
        assert_eq!(closed(&mut socket), None);
    }

    fn close(&mut self) {
        assert_eq!(self.gateway().api().delete("/v1/brokers/b-0000000000000000").0, 404);
        let Some(id) = self.any_broker() else { return };
        assert_eq!(self.gateway().api().delete(&format!("/v1/brokers/{id}")).0, 204, "{}", self.said);
        self.forget(&id);
        assert_eq!(self.gateway().api().delete(&format!("/v1/brokers/{id}")).0, 404, "{}", self.said);
    }

    /// The broker is closed: its clients hear of it.
    pub(crate) fn forget(&mut self, id: &str) {
        let broker = self.brokers.remove(id).expect("the model has it");
        for mut socket in broker.tickets.into_iter().filter_map(|ticket| ticket.socket) {
            assert_eq!(closed(&mut socket), Some((1001, "the console was closed".into())), "{}", self.said);
        }
    }

    fn move_instance(&mut self) {
        let (id, at) = (self.any_instance(), self.pick(4));
        self.gateway().add_instance(&id, self.consoles[at]);
        self.instances.insert(id, self.consoles[at]);
    }

    fn remove_instance(&mut self) {
        let id = self.any_instance();
        let expected = if self.instances.remove(&id).is_some() { 204 } else { 404 };
        assert_eq!(self.gateway().api().delete(&format!("/v1/instances/{id}")).0, expected, "{}", self.said);
        self.forget_all_of(&id);
    }

    /// All brokers of an instance are closed. One that fades may have been faster.
    pub(crate) fn forget_all_of(&mut self, instance: &str) {
        let of = self.brokers.iter().filter(|(_, broker)| broker.instance == instance);
        for id in of.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.forget(&id);
        }
    }

    fn kill(&mut self) {
        let Some((id, at)) = self.any_socket() else { return self.connect() };
        let ticket = &mut self.brokers.get_mut(&id).expect("it is open").tickets[at];
        let (session, socket) = (ticket.session.clone(), ticket.socket.take());
        ticket.dead = true;
        let path = format!("/v1/sessions/{}", session.expect("it was seen"));
        assert_eq!(self.gateway().api().delete(&path).0, 204, "{}", self.said);
        let end = closed(&mut socket.expect("it is in"));
        assert_eq!(end, Some((4001, "ended by an operator".into())), "{}", self.said);
    }

    /// What lets nobody in any more closes by itself.
    fn wait_for_the_fading(&mut self) {
        let fading: Vec<String> =
            self.brokers.iter().filter(|(_, broker)| broker.fades()).map(|(id, _)| id.clone()).collect();
        for id in fading {
            let path = format!("/v1/brokers/{id}");
            wait_for("a broker to expire", || (self.gateway().api().get(&path).0 == 404).then_some(()));
        }
    }
}

impl ModelTicket {
    pub(crate) const fn of(token: Option<String>, short: bool) -> Self {
        Self { token, short, client: None, session: None, dead: false, socket: None }
    }

    /// The right console greets; who was in before is sent away.
    pub(crate) fn came_in(&mut self, mut socket: Socket, client: IpAddr, console: u16, said: &str) {
        assert_eq!(greeting(&mut socket), console, "{said}: another machine's console");
        if let Some(mut elder) = self.socket.replace(socket) {
            assert_eq!(closed(&mut elder).map(|(code, _)| code), Some(4000), "{said}");
        }
        self.client = Some(client);
    }
}

fn greeting(socket: &mut Socket) -> u16 {
    let mut bytes = Vec::new();
    while bytes.len() < 2 {
        bytes.extend_from_slice(&socket.read().expect("a greeting").into_data());
    }
    u16::from_be_bytes(bytes.try_into().expect("two bytes"))
}

/// Connects as a client of that address.
pub(crate) fn dial(endpoint: SocketAddr, token: Option<&str>, client: IpAddr) -> Answer {
    open_on(connect_from(&client.to_string(), endpoint), endpoint, token)
}
