//! `portcullis instance`.

mod import;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::broker::Protocol;
use crate::broker::target::tls::{Rule, Start};
use crate::control::api::wire::{InstanceView, PutInstance};

use super::client::{Client, Connection, Failure, encode};
use super::{print, say};

#[derive(Subcommand)]
pub enum Command {
    /// Add an instance, or write over it.
    Add(Add),
    /// Add the instances of a file, or write over them: all, or none if a row is wrong.
    Import(import::Options),
    /// List the instances.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one instance.
    Show {
        /// Its id.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget the certificate that an instance showed first: the next one counts.
    ForgetCertificate {
        /// Its id.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an instance, and close its brokers.
    Remove {
        /// Its id.
        id: String,
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
    #[arg(long, required_unless_present_any = ["socket", "command"])]
    host: Option<String>,
    /// TCP port of the console.
    #[arg(long, required_unless_present_any = ["socket", "command"])]
    port: Option<u16>,
    /// A Unix socket on the gateway's machine instead, by its path under targets.unix_root.
    #[arg(long, conflicts_with_all = ["host", "port", "command"])]
    socket: Option<String>,
    /// A command of the gateway's configuration instead, for serial and container.
    #[arg(long, conflicts_with_all = ["host", "port"])]
    command: Option<String>,
    /// What the command is given; once for each argument.
    #[arg(long = "argument", requires = "command")]
    arguments: Vec<String>,
    /// vnc, spice, rdp, serial, container or ikvm; by default container with --hypervisor lxc, and vnc otherwise.
    #[arg(long)]
    protocol: Option<Protocol>,
    /// kvm or lxc.
    #[arg(long, default_value = "kvm")]
    hypervisor: String,
    /// File with the console's password in one line; - is standard input. Without it, the password that
    /// is known stays.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// TLS on the way to the console: off, ca, pin, first-use (RDP; usual there), or insecure, which
    /// believes anybody.
    #[arg(long, value_parser = named::<Rule>)]
    tls: Option<Rule>,
    /// With --tls pin: SHA-256 of the console's certificate, as `openssl x509 -fingerprint -sha256` prints it.
    #[arg(long)]
    tls_pin: Option<String>,
    /// The name that the certificate is to have, where it is not that of --host.
    #[arg(long)]
    tls_server_name: Option<String>,
    /// connect: TLS from the first byte. protocol: where VNC or RDP asks for it, which is usual for these.
    #[arg(long, value_parser = named::<Start>)]
    tls_start: Option<Start>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(command: Command, connection: &Connection) -> Result<(), Failure> {
    match command {
        Command::Add(options) => add(options, &connection.client()?),
        Command::Import(options) => import::run(&options, connection),
        Command::List { json } => list(json, &connection.client()?),
        Command::Show { id, json } => {
            let view: InstanceView = connection.client()?.get(&path(&id))?;
            if json {
                print(&view)?
            } else {
                line(&view)
            }
            Ok(())
        }
        Command::ForgetCertificate { id, json } => {
            connection.client()?.delete(&format!("{}/certificate", path(&id)))?;
            if json {
                print(&json!({ "instance_id": id, "certificate": "forgotten" }))?;
            }
            Ok(())
        }
        Command::Remove { id, json } => {
            connection.client()?.delete(&path(&id))?;
            if json {
                print(&json!({ "instance_id": id, "state": "removed" }))?;
            }
            Ok(())
        }
    }
}

fn add(options: Add, client: &Client) -> Result<(), Failure> {
    let usual = if options.hypervisor == "lxc" { Protocol::Container } else { Protocol::Vnc };
    let body = PutInstance {
        instance_id: None,
        hypervisor: options.hypervisor,
        host: options.host.unwrap_or_default(),
        graphics_port: options.port.unwrap_or_default(),
        graphics_protocol: Some(options.protocol.unwrap_or(usual)),
        graphics_passwd: options.password_file.as_deref().map(password).transpose()?,
        tls: options.tls,
        tls_pin: options.tls_pin,
        tls_server_name: options.tls_server_name,
        tls_start: options.tls_start,
        graphics_path: options.socket,
        graphics_command: options.command,
        graphics_arguments: options.arguments,
    };
    let view: InstanceView = client.put(&path(&options.id), &body)?;
    if options.json {
        return print(&view);
    }
    say(format_args!("{} is {}", view.instance_id, place(&view)));
    Ok(())
}

fn list(json: bool, client: &Client) -> Result<(), Failure> {
    let instances: Vec<InstanceView> = client.list("/v1/instances")?;
    if json {
        print(&instances)?
    } else {
        instances.iter().for_each(line)
    }
    Ok(())
}

fn path(id: &str) -> String {
    format!("/v1/instances/{}", encode(id))
}

fn line(view: &InstanceView) {
    say(format_args!("{:<24} {:<4} {}", view.instance_id, view.hypervisor, place(view)));
}

fn place(view: &InstanceView) -> String {
    let tls = view.tls.as_ref().map(|tls| format!(", TLS {tls}")).unwrap_or_default();
    let tls = view.tls_seen.as_ref().map_or(tls, |seen| format!(", known by {seen}"));
    let protocol = &view.graphics_protocol;
    match (&view.graphics_path, &view.graphics_command) {
        (Some(path), _) => format!("{protocol} at socket {path}"),
        (None, Some(command)) => {
            let arguments = view.graphics_arguments.iter().map(|argument| format!(" {argument}"));
            format!("{protocol} by {command}{}", arguments.collect::<String>())
        }
        (None, None) => format!("{protocol} at {} port {}{tls}", view.host, view.graphics_port),
    }
}

/// A value by its name in the API.
fn named<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

/// Longest file that is a password.
const PASSWORD_FILE_MAX: u64 = 4096;

/// The password in the file at `path`. On a command line everybody on the machine could read it.
fn password(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = PASSWORD_FILE_MAX + 1;
    let read = if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    let read = read.with_context(|| format!("read the password from {}", path.display()))?;
    if read as u64 > PASSWORD_FILE_MAX {
        return Err(anyhow!("{}: too long for a password", path.display()).into());
    }
    one_line(&text).map(str::to_owned).ok_or_else(|| {
        anyhow!("{}: write the password into it, in one line and nothing else", path.display()).into()
    })
}

/// The only line of `text`, if that is what it has.
fn one_line(text: &str) -> Option<&str> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    (!line.is_empty() && !line.contains(char::is_control)).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        for (text, expected) in [
            ("secret\n", Some("secret")),
            ("with space \r\n", Some("with space ")),
            ("secret", Some("secret")),
            ("", None),
            ("\n", None),
            ("two\nlines\n", None),
        ] {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
    }
}
