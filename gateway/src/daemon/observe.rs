//! Metrics and health, as the engineer on call and Prometheus see them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_ebpf::verdict::Verdict;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::broker::table::Table;
use crate::kernel::filter::{Counters, Gate};
use crate::metrics::{self, Metrics};

#[derive(Clone)]
struct Observed {
    metrics: Arc<Metrics>,
    about: Arc<[(&'static str, String); 3]>,
    table: Arc<Table>,
    gate: Gate,
}

/// `/metrics`, `/healthz`, `/readyz`. `about` names backend, hook and steering.
pub fn routes(
    metrics: &Arc<Metrics>,
    about: [(&'static str, String); 3],
    table: Arc<Table>,
    gate: Gate,
) -> Router {
    let observed = Observed { metrics: metrics.clone(), about: about.into(), table, gate };
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(observed)
}

async fn scrape(State(observed): State<Observed>) -> Response {
    let counters = match observed.gate.counters().await {
        Ok(counters) => Some(counters),
        Err(error) => {
            // The rest of the page is still good; that these are missing is counted on it.
            observed.metrics.filter_failed();
            tracing::warn!(%error, "filter counters not read");
            None
        }
    };
    let scraped = Scraped { brokers: observed.table.len(), counters };
    let registry = observed.metrics.registry((*observed.about).clone(), vec![Box::new(scraped)]);
    match metrics::encode(&registry) {
        Ok(page) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Ready is a daemon whose gate answers.
async fn ready(State(observed): State<Observed>) -> Response {
    match observed.gate.counters().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// What is read at scrape time.
#[derive(Debug)]
struct Scraped {
    brokers: usize,
    counters: Option<Counters>,
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let brokers = ConstGauge::new(self.brokers as i64);
        brokers.encode(encoder.encode_descriptor(
            "brokers_open",
            "Brokers that are open",
            None,
            brokers.metric_type(),
        )?)?;
        let Some(counters) = self.counters else { return Ok(()) };
        let unit: Option<&Unit> = None;
        let kind = ConstCounter::new(0_u64).metric_type();
        let help = "Packets that the filter saw, by verdict";
        let mut family = encoder.encode_descriptor("filter_packets", help, unit, kind)?;
        for verdict in Verdict::ALL {
            let labels = [("verdict", verdict.name())];
            ConstCounter::new(counters.get(verdict)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
