//! `portcullis session`.

use clap::Subcommand;
use serde_json::json;

use crate::control::api::wire::{SessionState, SessionView};

use super::client::{Client, Failure, encode};
use super::{print, say};

#[derive(Subcommand)]
pub enum Command {
    /// List the sessions, live and past.
    List {
        /// Only those that are live, or ended.
        #[arg(long)]
        state: Option<SessionState>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one session.
    Show {
        /// Its id.
        session_id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a session; its ticket lets nobody in any more.
    Kill {
        /// Its id.
        session_id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: Command, client: &Client) -> Result<(), Failure> {
    match command {
        Command::List { state, json } => {
            let state = state.map(|state| match state {
                SessionState::Live => "state=live",
                SessionState::Ended => "state=ended",
            });
            let sessions: Vec<SessionView> = client.list_of("/v1/sessions", state)?;
            if json { print(&sessions)? } else { sessions.iter().for_each(line) }
        }
        Command::Show { session_id, json } => {
            let session: SessionView = client.get(&path(&session_id))?;
            if json { print(&session)? } else { line(&session) }
        }
        Command::Kill { session_id, json } => {
            client.delete(&path(&session_id))?;
            if json {
                print(&json!({ "session_id": session_id, "end_reason": "killed" }))?;
            }
        }
    }
    Ok(())
}

fn path(session_id: &str) -> String {
    format!("/v1/sessions/{}", encode(session_id))
}

fn line(session: &SessionView) {
    let SessionView { session_id, broker_id, instance_id, client, state, started_at, .. } = session;
    let SessionView { up_bytes, down_bytes, end_reason, .. } = session;
    let state = end_reason.as_deref().unwrap_or(state);
    say(format_args!(
        "{session_id} {broker_id} {instance_id} {client} {started_at} {state} {up_bytes} up {down_bytes} down"
    ));
}
