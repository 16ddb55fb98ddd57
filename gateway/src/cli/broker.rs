//! `portcullis broker`.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::control::api::wire::{BrokerView, ConnectionCounts, CreateBroker, CreatedBroker, TicketRule};

use super::client::{Client, Failure, encode};
use super::{print, say};

#[derive(Subcommand)]
pub enum Command {
    /// Open a broker for an instance, and print the URL of its page.
    Create(Create),
    /// List the open brokers.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one broker.
    Show {
        /// Its id.
        broker_id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Close a broker and end its sessions.
    Close {
        /// Its id.
        broker_id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub struct Create {
    /// The instance.
    instance_id: String,
    /// Seconds until the broker is closed if nobody uses it.
    #[arg(long)]
    ttl_s: Option<u64>,
    /// Address or prefix that clients come from.
    #[arg(long, value_name = "PREFIX")]
    client: Option<String>,
    /// Whether clients need a ticket; they may do without only together with --client.
    #[arg(long)]
    tickets: Option<TicketRule>,
    /// One native viewer is let in without a ticket, within a minute; needs --client.
    #[arg(long, requires = "client")]
    native: bool,
    /// Clients may look, and do nothing.
    #[arg(long)]
    view_only: bool,
    /// A broker that is open already for the same is as good.
    #[arg(long)]
    reuse: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(command: Command, client: &Client) -> Result<(), Failure> {
    match command {
        Command::Create(create) => {
            let Create { instance_id, ttl_s, client: prefix, tickets, native, view_only, reuse, json } =
                create;
            let wish = CreateBroker { instance_id, ttl_s, client: prefix, tickets, native, view_only, reuse };
            let created: CreatedBroker = client.post("/v1/brokers", &wish)?;
            if json { print(&created)? } else { say(&created.console_url) }
        }
        Command::List { json } => {
            let brokers: Vec<BrokerView> = client.list("/v1/brokers")?;
            if json { print(&brokers)? } else { brokers.iter().for_each(line) }
        }
        Command::Show { broker_id, json } => {
            let broker: BrokerView = client.get(&format!("/v1/brokers/{}", encode(&broker_id)))?;
            if json { print(&broker)? } else { details(&broker) }
        }
        Command::Close { broker_id, json } => {
            client.delete(&format!("/v1/brokers/{}", encode(&broker_id)))?;
            if json {
                print(&json!({ "broker_id": broker_id, "state": "closed" }))?;
            }
        }
    }
    Ok(())
}

fn line(broker: &BrokerView) {
    let BrokerView { broker_id, broker_ip, broker_port, instance_id, graphics_protocol, sessions, .. } =
        broker;
    let endpoint = std::net::SocketAddr::new(*broker_ip, *broker_port);
    say(format_args!("{broker_id} {endpoint} {instance_id} {graphics_protocol} {sessions} sessions"));
}

fn details(broker: &BrokerView) {
    line(broker);
    let Some(ConnectionCounts { open, wrong_source, expired, rate_limited }) = broker.connections else {
        return;
    };
    say(format_args!(
        "new connections: {open} let in, {wrong_source} from elsewhere, {expired} too late, {rate_limited} over \
         a limit"
    ));
}
