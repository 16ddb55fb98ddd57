//! The daemon ends: by SIGTERM, by SIGKILL, and by SIGKILL in the middle of something. What was answered
//! holds; what was not answered has happened as a whole or not at all.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis_tests::gateway::{Api, Broker};
use portcullis_tests::websocket::{closed, upgrades};
use serde_json::{Value, json};

use crate::world::{ModelBroker, ModelTicket, World};

/// What was under way when the daemon died, and the answer if one came.
enum Cut {
    Create(String, Option<Value>),
    Connect { id: String, at: usize, client: IpAddr, came_in: bool },
    Close(String, bool),
    Move(String, u16, bool),
    Remove(String, bool),
    Kill { id: String, at: usize, done: bool },
}

impl World {
    /// SIGTERM; brokers outlive it.
    pub(crate) fn stop(&mut self) {
        let mut gateway = self.take_gateway();
        gateway.signal(Signal::SIGTERM);
        let tickets = self.brokers.values_mut().flat_map(|broker| &mut broker.tickets);
        for mut socket in tickets.filter_map(|ticket| ticket.socket.take()) {
            assert_eq!(closed(&mut socket), Some((1001, "the gateway is stopping".into())), "{}", self.said);
        }
        assert!(gateway.ended().success(), "{}", self.said);
        self.all_are_cut_off();
        self.start();
    }

    /// SIGKILL, half of the time in the middle of something.
    pub(crate) fn crash(&mut self) {
        self.crashes += 1;
        let cut = if self.chance(50) { None } else { self.begin_something() };
        let mut gateway = self.take_gateway();
        if cut.is_some() {
            // Not a wait for anything: it dies at another moment each time.
            thread::sleep(Duration::from_micros(self.pick(4_000) as u64));
        }
        gateway.signal(Signal::SIGKILL);
        gateway.ended();
        drop(gateway);
        let cut = cut.map(|cut| cut.join().expect("no panic"));
        self.all_are_cut_off();
        self.start();
        if let Some(cut) = cut {
            self.settle(cut);
        }
    }

    fn all_are_cut_off(&mut self) {
        for broker in self.brokers.values_mut() {
            // Who came without a ticket is nobody any more.
            broker.tickets.retain(|ticket| ticket.token.is_some());
            broker.tickets.iter_mut().for_each(|ticket| ticket.socket = None);
        }
    }

    fn begin_something(&mut self) -> Option<thread::JoinHandle<Cut>> {
        let api = self.gateway().api().clone();
        let instance = self.any_instance();
        let cut: Box<dyn FnOnce() -> Cut + Send> = match self.pick(6) {
            0 => Box::new(move || {
                let answer = api.try_post("/v1/brokers", &json!({ "instance_id": instance }));
                Cut::Create(instance, answer.filter(|(status, _)| *status == 201).map(|(_, answer)| answer))
            }),
            1 => {
                let (id, at, client) = self.any_good_ticket()?;
                let endpoint = self.brokers[&id].endpoint;
                let token = self.brokers[&id].tickets[at].token.clone();
                Box::new(move || {
                    let came_in = upgrades(endpoint, token.as_deref(), client);
                    Cut::Connect { id, at, client, came_in }
                })
            }
            2 => {
                let id = self.any_broker()?;
                Box::new(move || {
                    let done = answered(&api, &format!("/v1/brokers/{id}"));
                    Cut::Close(id, done)
                })
            }
            3 => {
                let at = self.pick(4);
                let port = self.consoles[at];
                let body = json!({ "host": "127.0.0.1", "graphics_port": port, "graphics_protocol": "vnc" });
                Box::new(move || {
                    let answer = api.try_put(&format!("/v1/instances/{instance}"), &body);
                    Cut::Move(instance, port, answer.is_some_and(|(status, _)| matches!(status, 200 | 201)))
                })
            }
            4 => Box::new(move || {
                let done = answered(&api, &format!("/v1/instances/{instance}"));
                Cut::Remove(instance, done)
            }),
            _ => {
                let (id, at, session) = self.any_session()?;
                Box::new(move || {
                    let done = answered(&api, &format!("/v1/sessions/{session}"));
                    Cut::Kill { id, at, done }
                })
            }
        };
        Some(thread::spawn(cut))
    }

    /// A ticket that would let its client in.
    fn any_good_ticket(&mut self) -> Option<(String, usize, IpAddr)> {
        let id = self.any_broker()?;
        let client = self.any_client();
        let tickets = self.brokers[&id].tickets.iter().enumerate();
        let mut good = tickets.filter(|(_, ticket)| ticket.token.is_some() && !ticket.dead && !ticket.short);
        good.next().map(|(at, ticket)| (id.clone(), at, ticket.client.unwrap_or(client)))
    }

    fn any_session(&mut self) -> Option<(String, usize, String)> {
        let id = self.any_broker()?;
        let tickets = self.brokers[&id].tickets.iter().enumerate();
        let mut live = tickets.filter(|(_, ticket)| ticket.socket.is_some() && ticket.token.is_some());
        live.next().and_then(|(at, ticket)| Some((id.clone(), at, ticket.session.clone()?)))
    }

    /// Finds out which of the two happened, and holds the gateway to what it answered.
    fn settle(&mut self, cut: Cut) {
        match cut {
            Cut::Create(instance, answer) => self.settle_create(instance, answer),
            Cut::Connect { id, at, client, came_in } => {
                // In or not, it is this client's ticket: it comes in now, and then nobody else does.
                let token = self.brokers[&id].tickets[at].token.clone().expect("a ticket");
                if came_in {
                    self.brokers.get_mut(&id).expect("it is open").tickets[at].client = Some(client);
                    self.connect_with(&id, at, &token, "127.1.9.9".parse().expect("an address"));
                }
                self.connect_with(&id, at, &token, client);
            }
            Cut::Close(id, done) => {
                let gone = self.gateway().api().get(&format!("/v1/brokers/{id}")).0 == 404;
                assert!(gone || !done, "{}: {id} was closed, and came back", self.said);
                if gone {
                    self.forget(&id);
                }
            }
            Cut::Move(id, port, done) => {
                let now = self.gateway().api().get(&format!("/v1/instances/{id}")).1["graphics_port"].clone();
                assert!(now == port || !done, "{}: {id} was moved, and came back", self.said);
                if now == port {
                    self.instances.insert(id, port);
                }
            }
            Cut::Remove(id, done) => {
                let gone = self.gateway().api().get(&format!("/v1/instances/{id}")).0 == 404;
                assert!(gone || !done, "{}: {id} was removed, and came back", self.said);
                if gone {
                    self.instances.remove(&id);
                    self.forget_all_of(&id);
                }
            }
            Cut::Kill { id, at, done } => self.settle_kill(&id, at, done),
        }
    }

    fn settle_create(&mut self, instance: String, answer: Option<Value>) {
        let answered = answer.map(Broker::read);
        let (_, list) = self.gateway().api().get("/v1/brokers?limit=1000");
        let new: Vec<Value> = list["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|item| !self.brokers.contains_key(item["broker_id"].as_str().expect("text")))
            .cloned()
            .collect();
        assert!(new.len() <= 1, "{}: {new:?}", self.said);
        assert!(answered.is_none() || new.len() == 1, "{}: what was answered is lost", self.said);
        let Some(mut item) = new.into_iter().next() else { return };
        // Nobody knows the ticket of a broker whose answer was lost.
        let token = answered.map(|broker| broker.token);
        item["token"] = token.clone().unwrap_or_default().into();
        let Broker { id, endpoint, .. } = Broker::read(item);
        assert!(self.lent.insert(endpoint), "{}: {endpoint} was lent before", self.said);
        let known = token.is_some();
        let tickets = vec![ModelTicket::of(token, false)];
        self.brokers.insert(id.clone(), ModelBroker { endpoint, instance, optional: false, tickets });
        if !known {
            assert_eq!(self.gateway().api().delete(&format!("/v1/brokers/{id}")).0, 204);
            self.forget(&id);
        }
    }

    fn settle_kill(&mut self, id: &str, at: usize, done: bool) {
        let said = self.said.clone();
        // A broker whose last good ticket is dead may be closed already.
        let broker = self.brokers.get_mut(id).expect("the model has it");
        broker.tickets[at].dead = done;
        if done || broker.fades() {
            return;
        }
        let ticket = &broker.tickets[at];
        let (client, token) = (ticket.client.expect("it was in"), ticket.token.clone().expect("a ticket"));
        let alone = broker.tickets.iter().all(|other| other.token == ticket.token || other.dead);
        if alone && !broker.optional {
            // Killed or not, what is left of it is closed, so that the model need not guess.
            let (status, answer) = self.gateway().api().delete(&format!("/v1/brokers/{id}"));
            assert!(matches!(status, 204 | 404), "{said}: {answer}");
            return self.forget(id);
        }
        let console = self.instances[&self.brokers[id].instance];
        let answer = crate::steps::dial(self.brokers[id].endpoint, Some(&token), client);
        let ticket = &mut self.brokers.get_mut(id).expect("it is open").tickets[at];
        match answer {
            Ok(socket) => ticket.came_in(socket, client, console, &said),
            Err(refused) => {
                assert_eq!(refused, (403, "ticket_used".to_owned()), "{said}");
                ticket.dead = true;
            }
        }
    }
}

/// Whether the call was done for certain.
fn answered(api: &Api, path: &str) -> bool {
    api.try_delete(path).is_some_and(|(status, _)| status == 204)
}
