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
use tokio::sync::watch;

use crate::broker::Protocol;
use crate::broker::session::Sessions;
use crate::kernel::address::{Change, View};
use crate::kernel::filter::{Counters, Gate};
use crate::kernel::interfaces::Seat;
use crate::metrics::{self, Metrics};

#[derive(Clone)]
struct Observed {
    metrics: Arc<Metrics>,
    about: Arc<[(&'static str, String); 3]>,
    sessions: Arc<Sessions>,
    gate: Gate,
    seats: watch::Receiver<Vec<Seat>>,
    addresses: View,
}

/// `/metrics`, `/healthz`, `/readyz`. `about` names backend, hook and steering.
pub fn routes(
    metrics: &Arc<Metrics>,
    about: [(&'static str, String); 3],
    sessions: Arc<Sessions>,
    gate: Gate,
    seats: watch::Receiver<Vec<Seat>>,
    addresses: View,
) -> Router {
    let about = about.into();
    let observed = Observed { metrics: metrics.clone(), about, sessions, gate, seats, addresses };
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
    let filtered = observed.seats.borrow().iter().filter(|seat| seat.hook.is_ok()).count();
    let interfaces = [("filtered", filtered), ("unfiltered", observed.seats.borrow().len() - filtered)];
    let addresses = observed.addresses.present_and_missing().await;
    if let Err(error) = &addresses {
        tracing::warn!(%error, "broker addresses not looked at");
    }
    let scraped = Scraped {
        sessions: observed.sessions.clone(),
        counters,
        interfaces,
        present_and_missing: addresses.ok(),
        addresses: observed.addresses.clone(),
    };
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
    sessions: Arc<Sessions>,
    counters: Option<Counters>,
    interfaces: [(&'static str, usize); 2],
    present_and_missing: Option<(usize, usize)>,
    addresses: View,
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.encode_sessions(&mut encoder)?;
        self.encode_interfaces(&mut encoder)?;
        self.encode_addresses(&mut encoder)?;
        self.counters.map_or(Ok(()), |counters| encode_packets(counters, &mut encoder))
    }
}

impl Scraped {
    fn encode_sessions(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let running: Vec<_> =
            self.sessions.all().iter().filter(|session| session.live() > 0).cloned().collect();
        let kind = ConstGauge::new(0_i64).metric_type();
        let help = "Sessions that have a connection, by protocol";
        let mut family = encoder.encode_descriptor("sessions_active", help, None, kind)?;
        for (protocol, name) in Protocol::ALL {
            let count = running.iter().filter(|session| session.protocol == protocol).count();
            ConstGauge::new(count as i64).encode(family.encode_family(&[("protocol", name)])?)?;
        }
        Ok(())
    }

    fn encode_interfaces(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let kind = ConstGauge::new(0_i64).metric_type();
        let help = "Interfaces that are to have the filter, by whether they have it";
        let mut family = encoder.encode_descriptor("filter_interfaces", help, None, kind)?;
        for (state, count) in self.interfaces {
            ConstGauge::new(count as i64).encode(family.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }

    fn encode_addresses(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some((present, missing)) = self.present_and_missing {
            let kind = ConstGauge::new(0_i64).metric_type();
            let help = "Broker addresses that are on an interface, or not";
            let mut family = encoder.encode_descriptor("broker_addresses", help, None, kind)?;
            for (state, count) in [("present", present), ("missing", missing)] {
                ConstGauge::new(count as i64).encode(family.encode_family(&[("state", state)])?)?;
            }
        }
        let kind = ConstCounter::new(0_u64).metric_type();
        let help = "What was done with broker addresses";
        let mut family = encoder.encode_descriptor("address_changes", help, None, kind)?;
        for (change, name) in Change::ALL {
            let labels = [("change", name)];
            ConstCounter::new(self.addresses.count(change)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn encode_packets(counters: Counters, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let kind = ConstCounter::new(0_u64).metric_type();
    let help = "Packets that the filter saw, by verdict";
    let mut family = encoder.encode_descriptor("filter_packets", help, None, kind)?;
    for verdict in Verdict::ALL {
        let labels = [("verdict", verdict.name())];
        ConstCounter::new(counters.get(verdict)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
