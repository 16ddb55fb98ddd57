//! `portcullis open`.

use clap::Args;

use crate::control::api::wire::{CreateBroker, CreatedBroker};

use super::client::{Client, Failure};
use super::{print, say};

#[derive(Args)]
pub struct Options {
    /// The instance.
    instance_id: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A broker that is open already is as good: whoever opens a console twice fills no range.
pub fn run(options: Options, client: &Client) -> Result<(), Failure> {
    let Options { instance_id, json } = options;
    let wish = CreateBroker { instance_id, reuse: true, ..CreateBroker::default() };
    let created: CreatedBroker = client.post("/v1/brokers", &wish)?;
    if json {
        print(&created)?
    } else {
        say(&created.console_url)
    }
    Ok(())
}
