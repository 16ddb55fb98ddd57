//! `portcullis broker`.

use clap::Subcommand;
use serde::Serialize;

use crate::control::api::wire::{BrokerView, CreateBroker, CreatedBroker};

use super::client::{Client, Failure, encode};
use super::say;

#[derive(Subcommand)]
pub enum Command {
    /// Open a broker for an instance, and print the URL of its page.
    Create {
        /// The instance.
        instance_id: String,
        /// Seconds until the broker is closed if nobody uses it.
        #[arg(long)]
        ttl_s: Option<u64>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
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
    },
}

pub fn run(command: Command, client: &Client) -> Result<(), Failure> {
    match command {
        Command::Create { instance_id, ttl_s, json } => {
            let created: CreatedBroker = client
                .post("/v1/brokers", &CreateBroker { instance_id, ttl_s, ..CreateBroker::default() })?;
            if json { print(&created)? } else { say(&created.console_url) }
        }
        Command::List { json } => {
            let brokers: Vec<BrokerView> = client.list("/v1/brokers")?;
            if json { print(&brokers)? } else { brokers.iter().for_each(line) }
        }
        Command::Show { broker_id, json } => {
            let broker: BrokerView = client.get(&format!("/v1/brokers/{}", encode(&broker_id)))?;
            if json { print(&broker)? } else { line(&broker) }
        }
        Command::Close { broker_id } => client.delete(&format!("/v1/brokers/{}", encode(&broker_id)))?,
    }
    Ok(())
}

fn print(value: &impl Serialize) -> Result<(), Failure> {
    say(serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?);
    Ok(())
}

fn line(broker: &BrokerView) {
    let BrokerView { broker_id, broker_ip, broker_port, instance_id, graphics_protocol, sessions, .. } =
        broker;
    let endpoint = std::net::SocketAddr::new(*broker_ip, *broker_port);
    say(format_args!("{broker_id} {endpoint} {instance_id} {graphics_protocol} {sessions} sessions"));
}
