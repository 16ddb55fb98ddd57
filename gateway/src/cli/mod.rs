//! The command line, one file per subcommand. Commands about instances and brokers
//! talk to a daemon by its API.

mod broker;
mod client;
mod completions;
mod console;
mod doctor;
mod instance;
mod kernel;
mod open;
mod serve;
mod session;
mod websockify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use client::{Connection, Failure};

/// Console gateway: browsers and viewers outside, consoles of virtual machines inside.
#[derive(Parser)]
#[command(name = "portcullis", version, about)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Serve(serve::Options),
    /// Say what serve would run with on this machine, and what would make it better. Changes nothing.
    Doctor(doctor::Options),
    /// Filter and steering in the kernel, apart from the daemon.
    #[command(subcommand)]
    Kernel(kernel::Command),
    /// Instances: the machines whose consoles are asked for.
    #[command(subcommand)]
    Instance(instance::Command),
    /// Brokers: one address and port that lead to one console.
    #[command(subcommand)]
    Broker(broker::Command),
    /// Print completions for a shell, to be read by it at its start.
    Completions(completions::Options),
    /// Sessions: who is, or was, connected.
    #[command(subcommand)]
    Session(session::Command),
    /// Open a console: print the URL of its page.
    Open(open::Options),
    /// One port, one target: the options of `websockify`, without a daemon.
    Websockify(Box<websockify::Options>),
    /// Show a serial line or a container in this terminal.
    Console(console::Options),
    /// Print the API's description, as `GET /openapi.json` answers it.
    #[command(hide = true)]
    Openapi,
}

/// Runs the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the service.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Serve(options) => serve::run(&options).map_err(Failure::Failed),
        Command::Doctor(options) => return doctor::run(&options),
        Command::Kernel(command) => kernel::run(command),
        Command::Instance(command) => instance::run(command, &arguments.connection),
        Command::Broker(command) => {
            arguments.connection.client().and_then(|client| broker::run(command, &client))
        }
        Command::Session(command) => {
            arguments.connection.client().and_then(|client| session::run(command, &client))
        }
        Command::Open(options) => {
            arguments.connection.client().and_then(|client| open::run(options, &client))
        }
        Command::Console(options) => console::run(&options, &arguments.connection),
        Command::Completions(options) => {
            completions::run(&options, &mut Arguments::command());
            Ok(())
        }
        Command::Websockify(options) => match websockify::run(*options) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
        Command::Openapi => openapi(),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    match failure {
        Failure::Failed(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::from(1)
        }
        Failure::Usage(why) => {
            eprintln!("portcullis: {why}");
            ExitCode::from(2)
        }
        Failure::Refused(why) => {
            eprintln!("portcullis: {why}");
            ExitCode::from(3)
        }
    }
}

fn openapi() -> Result<(), Failure> {
    say(crate::control::api::document().to_pretty_json().map_err(anyhow::Error::from)?);
    Ok(())
}

/// Prints what the API answers.
fn print(value: &impl serde::Serialize) -> Result<(), Failure> {
    say(serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?);
    Ok(())
}

/// Prints a line; a reader that has gone away is no failure.
fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }
}
