//! `/v1/status`: how the gateway is and what it did so far, in one answer that can be asked for every second.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use portcullis_ebpf::verdict::Verdict;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::broker::BrokerState;
use crate::control::store::WallTime;
use crate::kernel::interfaces::Seat;

use super::Api;
use super::openapi::problems;

problems!(
    /// Only those about the key.
    Problems:
);

/// What the daemon runs on, since when.
#[derive(Clone, Debug)]
pub struct About {
    /// What filters: `ebpf`, `nft` or `none`.
    pub backend: &'static str,
    /// Where the filter is attached: `tc`, `xdp`, `xdp-generic`, several with commas, or `-`.
    pub hook: String,
    /// What leads connections to the relay: `sk_lookup` or `ports`.
    pub steering: &'static str,
    /// When it began.
    pub started_at: WallTime,
}

/// Whether a part does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It answers.
    Ok,
    /// It does not.
    Unavailable,
    /// There is none.
    None,
}

/// The gateway as it is now. Totals count from its start on.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusView {
    /// This build.
    pub version: &'static str,
    /// RFC 3339.
    pub started_at: String,
    /// The gateway's clock, RFC 3339.
    pub now: String,
    /// Name that clients are given.
    pub broker_host: String,
    /// What filters: `ebpf`, `nft` or `none`.
    pub backend: &'static str,
    /// Where the filter is attached; `-` for nowhere.
    pub hook: String,
    /// What leads connections to the relay: `sk_lookup` or `ports`.
    pub steering: &'static str,
    /// Whether the filter's counters can be read.
    pub filter: Health,
    /// Interfaces that are to have the filter.
    pub interfaces: Vec<InterfaceView>,
    /// Whether the store can be read.
    pub store: Health,
    /// Brokers that are open.
    pub brokers_open: u64,
    /// Brokers that were opened.
    pub brokers_opened: u64,
    /// Sessions that have a connection.
    pub sessions_live: u64,
    /// Sessions that began.
    pub sessions_begun: u64,
    /// Payload bytes, client to target.
    pub up_bytes: u64,
    /// Payload bytes, target to client.
    pub down_bytes: u64,
    /// Packets that the filter saw, by verdict; absent without a filter that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<BTreeMap<&'static str, u64>>,
    /// Connections that were not let in, by code; those that never happened are left out.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Changes and reads of the filter that failed.
    pub filter_errors: u64,
    /// Reads and writes of the store that failed.
    pub store_errors: u64,
    /// Ends of sessions and lines of the audit log that could not be recorded.
    pub lost_records: u64,
}

/// An interface that is to have the filter.
#[derive(Debug, Serialize, ToSchema)]
pub struct InterfaceView {
    /// Its name.
    pub name: String,
    /// Where the filter is attached; absent if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<&'static str>,
    /// Why it is not attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<&Seat> for InterfaceView {
    fn from(Seat { interface, hook }: &Seat) -> Self {
        let (hook, error) = match hook {
            Ok(hook) => (Some(hook.name()), None),
            Err(error) => (None, Some(error.clone())),
        };
        Self { name: interface.name.clone(), hook, error }
    }
}

/// How long the store has to show that it is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// The gateway as it is now.
#[utoipa::path(
    get,
    path = "/v1/status",
    operation_id = "showStatus",
    tag = "status",
    responses((status = 200, description = "Also where parts of it do not work", body = StatusView), Problems),
)]
pub async fn show(State(api): State<Api>) -> Json<StatusView> {
    let (verdicts, filter) = api.verdicts().await;
    let (up_bytes, down_bytes) = api.metrics.bytes();
    let (filter_errors, store_errors, lost_records) = api.metrics.failures();
    let sessions = api.lifecycle.sessions().all();
    let interfaces = api.seats.borrow().iter().map(Into::into).collect();
    Json(StatusView {
        version: env!("CARGO_PKG_VERSION"),
        started_at: api.about.started_at.to_string(),
        now: WallTime::now().to_string(),
        broker_host: api.broker_host.to_string(),
        backend: api.about.backend,
        hook: api.about.hook.clone(),
        steering: api.about.steering,
        filter,
        interfaces,
        store: api.store_health().await,
        brokers_open: api.metrics.brokers_in(BrokerState::Open),
        brokers_opened: api.metrics.opened(),
        sessions_live: sessions.iter().filter(|session| session.live() > 0).count() as u64,
        sessions_begun: api.metrics.sessions_begun(),
        up_bytes,
        down_bytes,
        verdicts,
        refusals: api.metrics.refusals(),
        filter_errors,
        store_errors,
        lost_records,
    })
}

impl Api {
    async fn verdicts(&self) -> (Option<BTreeMap<&'static str, u64>>, Health) {
        if self.about.backend == "none" {
            return (None, Health::None);
        }
        let Ok(counters) = self.gate.counters().await else {
            self.metrics.filter_failed();
            return (None, Health::Unavailable);
        };
        let named = Verdict::ALL.map(|verdict| (verdict.name(), counters.get(verdict)));
        (Some(named.into()), Health::Ok)
    }

    async fn store_health(&self) -> Health {
        match timeout(PATIENCE, self.store.is_readable()).await {
            Ok(true) => Health::Ok,
            Ok(false) | Err(_) => Health::Unavailable,
        }
    }
}
