//! What goes over the wire, with the field names that clouds already use.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{AllOfBuilder, Array, ArrayBuilder, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

use crate::broker::session::Session;
use crate::broker::target::TargetTls;
use crate::broker::target::local;
use crate::broker::target::tls::{Columns, Rule, Start, Trust};
use crate::broker::{Broker, Protocol, Secret};
use crate::control::lifecycle::{Opened, TTL_MAX, Wish};
use crate::control::store::{self, InstanceRow, SessionRow, WallTime};
use crate::kernel::filter::BrokerCounts;

use super::Api;
use super::page::bounded;
use super::problem::Problem;

pub use super::page::{PageOf, PageQuery};

/// `POST /v1/brokers`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBroker {
    /// The instance whose console is asked for.
    #[schema(example = "i-8snyruit")]
    pub instance_id: String,
    /// Seconds until the broker is closed if nobody uses it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(minimum = 1, maximum = 86_400)]
    pub ttl_s: Option<u64>,
    /// Address or prefix that clients come from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<String>,
    /// `required` (the default), or `optional`, which needs `client`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tickets: Option<TicketRule>,
    /// One native viewer, which cannot show a ticket, is let in by its address: from `client`, which has to be
    /// an address or a prefix of at least /24 or /48, within a minute, for one session. Such a broker is always
    /// a new one.
    #[serde(default)]
    pub native: bool,
    /// Clients may look, and do nothing: no key, pointer or clipboard reaches the console. For VNC.
    #[serde(default)]
    pub view_only: bool,
    /// A broker that is open already for the same is as good; it gets a further ticket.
    #[serde(default)]
    pub reuse: bool,
}

/// Whether clients need a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TicketRule {
    /// They do.
    Required,
    /// They do not.
    Optional,
}

impl CreateBroker {
    /// What is asked for.
    ///
    /// # Errors
    /// Which value cannot be meant.
    pub fn into_wish(self) -> Result<Wish, Problem> {
        let ttl = self.ttl_s.map(Duration::from_secs);
        if ttl.is_some_and(|ttl| ttl.is_zero() || ttl > TTL_MAX) {
            return Err(Problem::bad_request(format!("ttl_s is 1 to {}", TTL_MAX.as_secs())));
        }
        let client = self.client.as_deref().map(prefix).transpose()?;
        let tickets_optional = self.tickets == Some(TicketRule::Optional);
        if tickets_optional && client.is_none() {
            return Err(Problem::bad_request("tickets may be optional only together with client"));
        }
        if self.native && !client.is_some_and(is_narrow) {
            return Err(Problem::bad_request("native needs client, an address or at least a /24 or /48"));
        }
        let Self { instance_id, native, view_only, reuse, .. } = self;
        Ok(Wish { instance_id, ttl, client, tickets_optional, native, view_only, reuse })
    }
}

/// Whether a prefix is narrow enough to let somebody in for it.
fn is_narrow(client: IpNet) -> bool {
    client.prefix_len() >= if client.addr().is_ipv4() { 24 } else { 48 }
}

fn prefix(text: &str) -> Result<IpNet, Problem> {
    let whole = |address: IpAddr| IpNet::from(address.to_canonical());
    let parsed = text.parse::<IpAddr>().map(whole).or_else(|_| text.parse::<IpNet>());
    parsed
        .map(|network| network.trunc())
        .map_err(|_| Problem::bad_request(format!("client {text:?} is no address and no prefix")))
}

/// A broker, without its ticket.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct BrokerView {
    /// Its id.
    pub broker_id: String,
    /// Name that clients are given.
    pub broker_host: String,
    /// Address.
    #[schema(value_type = String)]
    pub broker_ip: IpAddr,
    /// Port.
    pub broker_port: u16,
    /// The instance.
    pub instance_id: String,
    /// What the console speaks.
    pub graphics_protocol: Protocol,
    /// `open`; closed brokers are not listed.
    pub state: String,
    /// Sessions that have a connection.
    pub sessions: usize,
    /// Prefix that clients come from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub client: Option<IpNet>,
    /// Whether clients need a ticket.
    pub tickets: TicketRule,
    /// Whether clients may only look.
    pub view_only: bool,
    /// When it is closed if nobody uses it, RFC 3339.
    pub expires_at: String,
    /// What the filter did with new connections; absent where it does not count them for each broker, and in
    /// the answer that opens the broker.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connections: Option<ConnectionCounts>,
}

/// New connections to a broker as its filter saw them. A client that hears nothing tries again, and is counted
/// again.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
pub struct ConnectionCounts {
    /// Let in.
    pub open: u64,
    /// Dropped: from outside of `client`.
    pub wrong_source: u64,
    /// Dropped: past the deadline that the daemon renews while it runs.
    pub expired: u64,
    /// Dropped: more than source or broker may have.
    pub rate_limited: u64,
}

impl From<BrokerCounts> for ConnectionCounts {
    fn from(BrokerCounts { open, wrong_source, expired, rate_limited }: BrokerCounts) -> Self {
        Self { open, wrong_source, expired, rate_limited }
    }
}

impl BrokerView {
    /// What is shown of `broker`.
    pub fn new(broker: &Arc<Broker>, expires_at: WallTime, broker_host: &str) -> Self {
        Self {
            broker_id: broker.id.clone(),
            broker_host: broker_host.to_owned(),
            broker_ip: broker.endpoint.ip(),
            broker_port: broker.endpoint.port(),
            instance_id: broker.instance_id.clone(),
            graphics_protocol: broker.protocol,
            state: "open".to_owned(),
            sessions: broker.sessions(),
            client: broker.admission.client,
            tickets: if broker.admission.tickets_optional {
                TicketRule::Optional
            } else {
                TicketRule::Required
            },
            view_only: broker.admission.view_only,
            expires_at: expires_at.to_string(),
            connections: None,
        }
    }

    fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.broker_ip, self.broker_port)
    }
}

impl Api {
    /// Adds to `views` what the filter counted. Where it cannot be asked they go without, which is counted.
    pub async fn counted(&self, mut views: Vec<BrokerView>) -> Vec<BrokerView> {
        match self.gate.broker_counts(views.iter().map(BrokerView::endpoint).collect()).await {
            Ok(counts) => {
                for (view, counts) in views.iter_mut().zip(counts) {
                    view.connections = counts.map(Into::into);
                }
            }
            Err(error) => {
                self.metrics.filter_failed();
                tracing::warn!(%error, "counts of brokers not read");
            }
        }
        views
    }
}

/// The answer to `POST /v1/brokers`: the only place where a ticket is shown.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct CreatedBroker {
    /// The broker.
    #[serde(flatten)]
    pub broker: BrokerView,
    /// The ticket.
    pub token: String,
    /// For front ends of one's own.
    pub ws_url: String,
    /// The built-in page. The ticket is behind the `#`, which browsers do not send.
    pub console_url: String,
    /// The console's password; only where the gateway has `reveal_passwords = true`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub graphics_passwd: Option<String>,
}

impl CreatedBroker {
    /// What the caller is given of a broker that was opened.
    pub fn new(opened: &Opened, api: &Api) -> Self {
        let Api { broker_host, broker_tls, reveal_passwords, .. } = api;
        let broker = BrokerView::new(&opened.broker, opened.expires_at, broker_host);
        let token = opened.token.reveal().to_owned();
        let port = broker.broker_port;
        let host = match broker_host.parse() {
            Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
            _ => broker_host.to_string(),
        };
        let (ws, http) = if *broker_tls { ("wss", "https") } else { ("ws", "http") };
        Self {
            broker,
            ws_url: format!("{ws}://{host}:{port}/websockify?token={token}"),
            console_url: format!("{http}://{host}:{port}/#token={token}"),
            graphics_passwd: revealed(opened.broker.target().secret, *reveal_passwords),
            token,
        }
    }
}

/// `PUT /v1/instances/ID`, and a row of an import.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutInstance {
    /// Has to be the id of the path, if given at all; a row of an import has no other.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(min_length = 1, max_length = 255, example = "i-8snyruit")]
    pub instance_id: Option<String>,
    /// `kvm` (the default) or `lxc`.
    #[serde(default = "kvm")]
    #[schema(value_type = Hypervisor, default = "kvm")]
    pub hypervisor: String,
    /// Name or address of the hypervisor. Host and port, or `graphics_path`, or `graphics_command`.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    #[schema(pattern = "^[A-Za-z0-9._:%-]{1,255}$", example = "10.0.0.7")]
    pub host: String,
    /// TCP port of the console.
    #[serde(skip_serializing_if = "is_zero", default)]
    #[schema(minimum = 1, example = 5901)]
    pub graphics_port: u16,
    /// What the console speaks; of an `lxc` without it, `container`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub graphics_protocol: Option<Protocol>,
    /// Written and never read back, unless the gateway has `reveal_passwords = true`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub graphics_passwd: Option<String>,
    /// TLS on the way to the console; of RDP `first-use` where it is not said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(default = "off")]
    pub tls: Option<Rule>,
    /// With `pin`: SHA-256 of the certificate, hexadecimal, as openssl prints it or without the colons.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(pattern = "^[0-9A-Fa-f:]{64,95}$")]
    pub tls_pin: Option<String>,
    /// The name that the certificate is to have, where it is not `host`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(pattern = "^[A-Za-z0-9._:%-]{1,255}$")]
    pub tls_server_name: Option<String>,
    /// By default `protocol` for vnc, and always for rdp; `connect` for all others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls_start: Option<Start>,
    /// A Unix socket on the gateway's machine, by its path under `targets.unix_root`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(max_length = 107, example = "i-8snyruit/serial0")]
    pub graphics_path: Option<String>,
    /// For `serial` and `container`: a command of the gateway's configuration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", example = "lxc")]
    pub graphics_command: Option<String>,
    /// What the command is given, each a whole argument: letters, digits, and after the first also `.`, `_`, `-`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schema(max_items = 9, example = json!(["c1"]))]
    pub graphics_arguments: Vec<String>,
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

/// What runs instances, for the API's description.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used: rows of other programs may say more")]
enum Hypervisor {
    /// A virtual machine.
    Kvm,
    /// A container.
    Lxc,
}

fn kvm() -> String {
    "kvm".to_owned()
}

/// Longest id of an instance, in bytes.
pub const ID_MAX: usize = 255;

impl PutInstance {
    /// The row.
    ///
    /// # Errors
    /// Which value cannot be meant.
    pub fn into_row(self, id: String) -> Result<InstanceRow, Problem> {
        let bad = |detail: String| Err(Problem::bad_request(detail));
        if self.instance_id.as_ref().is_some_and(|given| *given != id) {
            return bad(format!("instance_id is not {id:?}, the id of the path"));
        }
        if id.is_empty() || id.len() > ID_MAX || id.chars().any(char::is_control) {
            return bad(format!("an instance's id has 1 to {ID_MAX} bytes and no control characters"));
        }
        if !matches!(self.hypervisor.as_str(), "kvm" | "lxc") {
            return bad(format!("hypervisor {:?} is neither kvm nor lxc", self.hypervisor));
        }
        let protocol = match self.graphics_protocol {
            None if self.hypervisor == "lxc" => Protocol::Container,
            None => return bad("missing field `graphics_protocol`".to_owned()),
            Some(protocol) => protocol,
        };
        let local = self.local(protocol)?;
        if self.host.is_empty() && local.is_elsewhere() {
            return bad("missing field `host`".to_owned());
        }
        let host = Some(&self.host).filter(|_| local.is_elsewhere());
        for (field, host) in [("host", host), ("tls_server_name", self.tls_server_name.as_ref())] {
            if let Some(host) = host.filter(|host| !is_host(host)) {
                return bad(format!("{field} {host:?} is no name and no address"));
            }
        }
        if self.graphics_port == 0 && local.is_elsewhere() {
            return bad("graphics_port is 1 to 65535".to_owned());
        }
        let tls = self.tls(protocol)?;
        Ok(InstanceRow {
            instance_id: id,
            hypervisor: self.hypervisor,
            host: self.host,
            graphics_port: self.graphics_port,
            graphics_protocol: protocol.to_string(),
            graphics_passwd: self.graphics_passwd.and_then(Secret::new),
            tls,
            tls_seen: None,
            local,
        })
    }

    fn local(&self, protocol: Protocol) -> Result<local::Columns, Problem> {
        let (path, command) = (self.graphics_path.clone(), self.graphics_command.clone());
        let columns = local::Columns::new(path, command, &self.graphics_arguments);
        columns.meant(protocol).map_err(Problem::bad_request)?;
        if columns.is_elsewhere() || (self.host.is_empty() && self.graphics_port == 0 && self.tls.is_none()) {
            return Ok(columns);
        }
        let one = "host, graphics_port and tls are for consoles that are elsewhere; this one is a path or a command";
        Err(Problem::bad_request(one))
    }

    fn tls(&self, protocol: Protocol) -> Result<Columns, Problem> {
        let mut columns = Columns {
            tls: self.tls.and_then(Rule::column),
            pin: self.tls_pin.clone(),
            server_name: self.tls_server_name.clone(),
            start: self.tls_start.map(|start| start.name().to_owned()),
        };
        let meant = columns.meant(protocol).map_err(Problem::bad_request)?;
        // However it was written, it is kept and shown in one form.
        if let Some(TargetTls { trust: Trust::Pin(pin), .. }) = meant {
            columns.pin = Some(pin.to_string());
        }
        Ok(columns)
    }
}

fn is_host(host: &str) -> bool {
    let is_sound = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    !host.is_empty() && host.len() <= ID_MAX && host.chars().all(is_sound)
}

/// `POST /v1/instances`: as many `PUT /v1/instances/ID`, of which all are done or none.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportInstances {
    /// At most 100,000, each with its id, and no id twice.
    #[schema(schema_with = rows)]
    pub instances: Vec<PutInstance>,
}

/// Rows of an import are like `PutInstance`, but have their ids.
fn rows() -> Array {
    let id = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    let with_id = ObjectBuilder::new().property("instance_id", id).required("instance_id");
    let row = AllOfBuilder::new().item(Ref::from_schema_name("PutInstance")).item(with_id);
    ArrayBuilder::new().items(row).max_items(Some(IMPORT_MAX)).build()
}

/// Most rows of an import.
pub const IMPORT_MAX: usize = 100_000;
/// Largest body of an import, in bytes.
pub const IMPORT_BODY_MAX: usize = 16 * 1024 * 1024;

impl ImportInstances {
    /// The rows, each with its password.
    ///
    /// # Errors
    /// Which row cannot be meant, and why.
    pub fn into_rows(self) -> Result<Vec<InstanceRow>, Problem> {
        if self.instances.len() > IMPORT_MAX {
            return Err(Problem::too_large(format!("an import has at most {IMPORT_MAX} instances")));
        }
        let mut seen = HashMap::with_capacity(self.instances.len());
        let rows = self.instances.into_iter().enumerate().map(|(index, instance)| {
            let bad = |detail: &str| Problem::bad_request(format!("instances[{index}]: {detail}"));
            let id = instance.instance_id.clone().ok_or_else(|| bad("missing field `instance_id`"))?;
            if let Some(first) = seen.insert(id.clone(), index) {
                return Err(bad(&format!("instances[{first}] has the same instance_id, {id:?}")));
            }
            instance.into_row(id).map_err(|problem| bad(problem.detail()))
        });
        rows.collect()
    }
}

/// The answer to `POST /v1/instances`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Imported {
    /// Instances that are new.
    pub created: u64,
    /// Instances that were there.
    pub updated: u64,
}

impl From<store::Imported> for Imported {
    fn from(store::Imported { created, updated }: store::Imported) -> Self {
        Self { created, updated }
    }
}

/// An instance.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct InstanceView {
    /// As the cloud names it.
    pub instance_id: String,
    /// `kvm` or `lxc`.
    #[schema(value_type = Hypervisor)]
    pub hypervisor: String,
    /// Name or address of the hypervisor; empty where the console is a path or a command.
    pub host: String,
    /// TCP port of the console; 0 likewise.
    pub graphics_port: u16,
    /// What the console speaks.
    #[schema(value_type = Protocol)]
    pub graphics_protocol: String,
    /// Only where it is read, and the gateway has `reveal_passwords = true`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub graphics_passwd: Option<String>,
    /// TLS on the way to the console, if there is any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Rule>)]
    pub tls: Option<String>,
    /// With `pin`: SHA-256 of the certificate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls_pin: Option<String>,
    /// With `first-use`: SHA-256 of the certificate that it showed first, once it has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls_seen: Option<String>,
    /// The name that the certificate is to have, where it is not `host`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls_server_name: Option<String>,
    /// When TLS begins, where it was said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<Start>)]
    pub tls_start: Option<String>,
    /// A Unix socket on the gateway's machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub graphics_path: Option<String>,
    /// A command of the gateway's configuration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub graphics_command: Option<String>,
    /// What it is given.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub graphics_arguments: Vec<String>,
}

impl InstanceView {
    /// What is shown of a row; with `reveal`, its password too.
    pub fn new(row: InstanceRow, reveal: bool) -> Self {
        let InstanceRow { instance_id, hypervisor, host, graphics_port, graphics_protocol, .. } = row;
        let graphics_passwd = revealed(row.graphics_passwd, reveal);
        let Columns { tls, pin: tls_pin, server_name: tls_server_name, start: tls_start } = row.tls;
        // What another program wrote is not shown where it is no list.
        let graphics_arguments = row.local.arguments().unwrap_or_default();
        let local::Columns { path: graphics_path, command: graphics_command, .. } = row.local;
        Self {
            instance_id,
            hypervisor,
            host,
            graphics_port,
            graphics_protocol,
            graphics_passwd,
            tls,
            tls_pin,
            tls_seen: row.tls_seen,
            tls_server_name,
            tls_start,
            graphics_path,
            graphics_command,
            graphics_arguments,
        }
    }
}

/// A password as it is shown, if it is.
pub fn revealed(secret: Option<Secret>, reveal: bool) -> Option<String> {
    secret.filter(|_| reveal).map(|secret| secret.reveal().to_owned())
}

/// A session.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SessionView {
    /// Its id.
    pub session_id: String,
    /// Its broker.
    pub broker_id: String,
    /// Its instance.
    pub instance_id: String,
    /// What the console speaks.
    #[schema(value_type = Protocol)]
    pub graphics_protocol: String,
    /// Where it comes from.
    pub client: String,
    /// `live` while it has a connection, else `ended`.
    pub state: String,
    /// Connections so far.
    pub connections: u32,
    /// The channels that are open, of a live session of SPICE.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub channels: Vec<String>,
    /// Payload bytes, client to target.
    pub up_bytes: u64,
    /// Payload bytes, target to client.
    pub down_bytes: u64,
    /// RFC 3339.
    pub started_at: String,
    /// When its last connection ended, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<String>,
    /// How its last connection ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_reason: Option<String>,
}

impl SessionView {
    /// What is shown of a row; the bytes of a session that runs are those of now.
    pub fn new(row: SessionRow, live: Option<&Session>) -> Self {
        let bytes = |recorded: i64, now: Option<&AtomicU64>| {
            now.map_or(recorded.max(0).unsigned_abs(), |now| now.load(Ordering::Relaxed))
        };
        Self {
            up_bytes: bytes(row.up_bytes, live.map(|session| &session.up)),
            down_bytes: bytes(row.down_bytes, live.map(|session| &session.down)),
            channels: live.map(Session::channels).unwrap_or_default().into_iter().map(String::from).collect(),
            session_id: row.session_id,
            broker_id: row.broker_id,
            instance_id: row.instance_id,
            graphics_protocol: row.graphics_protocol,
            client: row.client,
            state: if row.ended_at.is_none() { "live" } else { "ended" }.to_owned(),
            connections: row.connections,
            started_at: row.started_at.to_string(),
            ended_at: row.ended_at.map(|at| at.to_string()),
            end_reason: row.end_reason,
        }
    }
}

/// Which sessions are asked for.
#[derive(Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SessionQuery {
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
    /// Only what comes behind the session with this id.
    pub after: Option<String>,
    /// Only those that are `live`, or those that `ended`; of these, what ended last comes first.
    pub state: Option<SessionState>,
}

/// Whether a session has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// It has.
    Live,
    /// It has none any more.
    Ended,
}

impl SessionQuery {
    /// `limit`, with its default of 100.
    ///
    /// # Errors
    /// It is out of its bounds.
    pub fn limit(&self) -> Result<u32, Problem> {
        bounded(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(host: &str) -> PutInstance {
        PutInstance {
            instance_id: None,
            hypervisor: "kvm".into(),
            host: host.into(),
            graphics_port: 5900,
            graphics_protocol: Some(Protocol::Vnc),
            graphics_passwd: None,
            tls: None,
            tls_pin: None,
            tls_server_name: None,
            tls_start: None,
            graphics_path: None,
            graphics_command: None,
            graphics_arguments: Vec::new(),
        }
    }

    #[test]
    fn tls_of_a_console_is_written_in_one_form() {
        let print = "ab".repeat(32);
        let put = |tls, pin: Option<&str>| {
            let pin = pin.map(str::to_owned);
            PutInstance { tls: Some(tls), tls_pin: pin, ..instance("h") }.into_row("i-1".into())
        };
        let row = put(Rule::Pin, Some(&print)).unwrap_or_else(|problem| panic!("{}", problem.detail()));
        assert_eq!(row.tls.pin, Some(vec!["AB"; 32].join(":")));
        assert_eq!(put(Rule::Off, None).ok().map(|row| row.tls), Some(Columns::default()));
        assert!(put(Rule::Off, Some(&print)).is_err() && put(Rule::Pin, Some("AB")).is_err());
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for (host, good) in [
            ("10.0.0.1", true),
            ("fe80::1%eth0", true),
            ("host-1.example", true),
            ("", false),
            ("a b", false),
            ("a/b", false),
        ] {
            assert_eq!(instance(host).into_row("i-1".into()).is_ok(), good, "{host}");
        }
    }

    #[test]
    fn a_console_is_at_one_place() {
        let here = |path: Option<&str>, command: Option<&str>| PutInstance {
            host: String::new(),
            graphics_port: 0,
            graphics_protocol: Some(Protocol::Serial),
            graphics_path: path.map(str::to_owned),
            graphics_command: command.map(str::to_owned),
            ..instance("h")
        };
        let row = |put: PutInstance| put.into_row("i-1".into());
        assert!(row(here(Some("i-1/serial"), None)).is_ok_and(|row| !row.local.is_elsewhere()));
        assert!(row(here(None, Some("lxc"))).is_ok());
        assert!(row(here(None, None)).is_err_and(|problem| problem.detail() == "missing field `host`"));
        assert!(row(here(Some("../x"), None)).is_err());
        for elsewhere in [
            PutInstance { host: "h".into(), ..here(None, Some("lxc")) },
            PutInstance { graphics_port: 1, ..here(None, Some("lxc")) },
            PutInstance { tls: Some(Rule::Ca), ..here(Some("x"), None) },
        ] {
            assert!(row(elsewhere).is_err_and(|problem| problem.detail().contains("a path or a command")));
        }
    }

    #[test]
    fn a_container_has_a_terminal() {
        let put = |hypervisor: &str| PutInstance {
            hypervisor: hypervisor.into(),
            graphics_protocol: None,
            ..instance("h")
        };
        let row = put("lxc").into_row("i-1".into());
        assert_eq!(row.map(|row| row.graphics_protocol).ok(), Some("container".into()));
        let problem = put("kvm").into_row("i-1".into()).expect_err("it may speak anything");
        assert_eq!(problem.detail(), "missing field `graphics_protocol`");
    }

    #[test]
    fn ids_are_bounded() {
        for (id, good) in [("i-8snyruit", true), ("", false), ("a\nb", false)] {
            assert_eq!(instance("h").into_row(id.into()).is_ok(), good, "{id:?}");
        }
        assert!(instance("h").into_row("x".repeat(ID_MAX + 1)).is_err());
    }

    #[test]
    fn an_import_names_the_row_that_is_wrong() {
        let import = |ids: &[Option<&str>]| {
            let row = |id: &Option<&str>| PutInstance { instance_id: id.map(str::to_owned), ..instance("h") };
            let body = ImportInstances { instances: ids.iter().map(row).collect() };
            body.into_rows().map(|rows| rows.len()).map_err(|problem| problem.detail().to_owned())
        };
        assert_eq!(import(&[Some("i-1"), Some("i-2")]), Ok(2));
        assert_eq!(import(&[Some("i-1"), None]), Err("instances[1]: missing field `instance_id`".into()));
        let twice = "instances[2]: instances[0] has the same instance_id, \"i-1\"";
        assert_eq!(import(&[Some("i-1"), Some("i-2"), Some("i-1")]), Err(twice.into()));
        assert!(import(&[Some("i-1"), Some("")]).is_err_and(|detail| detail.starts_with("instances[1]: ")));
        assert!(import(&vec![None; IMPORT_MAX + 1]).is_err_and(|detail| detail.contains("at most 100000")));
    }
}
