//! `portcullis instance`.

use clap::{Args, Subcommand};

use crate::broker::Protocol;
use crate::control::api::wire::{InstanceView, PutInstance};

use super::client::{Client, Failure, encode};
use super::say;

#[derive(Subcommand)]
pub enum Command {
    /// Add an instance, or write over it.
    Add(Add),
    /// List the instances.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub struct Add {
    /// Its id, as the cloud names it.
    id: String,
    /// Name or address of the hypervisor.
    #[arg(long)]
    host: String,
    /// TCP port of the console.
    #[arg(long)]
    port: u16,
    /// vnc, spice, rdp, serial, container or ikvm.
    #[arg(long, default_value = "vnc")]
    protocol: Protocol,
    /// kvm or lxc.
    #[arg(long, default_value = "kvm")]
    hypervisor: String,
}

pub fn run(command: Command, client: &Client) -> Result<(), Failure> {
    match command {
        Command::Add(add) => {
            let body = PutInstance {
                instance_id: None,
                hypervisor: add.hypervisor,
                host: add.host,
                graphics_port: add.port,
                graphics_protocol: add.protocol,
                graphics_passwd: None,
            };
            let view: InstanceView = client.put(&format!("/v1/instances/{}", encode(&add.id)), &body)?;
            say(format_args!("{} is {}", view.instance_id, place(&view)));
        }
        Command::List { json } => {
            let instances: Vec<InstanceView> = client.list("/v1/instances")?;
            if json {
                say(serde_json::to_string_pretty(&instances).map_err(anyhow::Error::from)?);
            } else {
                for view in &instances {
                    say(format_args!("{:<24} {:<4} {}", view.instance_id, view.hypervisor, place(view)));
                }
            }
        }
    }
    Ok(())
}

fn place(view: &InstanceView) -> String {
    format!("{} at {} port {}", view.graphics_protocol, view.host, view.graphics_port)
}
