//! `CreateBrokers`, `DescribeBrokers`, `DeleteBrokers`.

use crate::broker::Stop;
use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::wire::{BrokerView, CreateBroker, CreatedBroker, TicketRule};

use super::parameters::Parameters;
use super::wire::Answer;

/// Opens a broker for each instance, or none.
pub async fn create(api: &Api, mut parameters: Parameters) -> Result<Answer, Problem> {
    let instances = some(parameters.list("instances")?, "instances")?;
    let ttl_s = parameters.number("ttl_s")?;
    let native = parameters.flag("native")?;
    let view_only = parameters.flag("view_only")?;
    let reuse = parameters.flag("reuse")?;
    let client = parameters.take("client");
    let tickets = parameters.take("tickets").map(|name| rule(&name)).transpose()?;
    parameters.end()?;
    let wish = |instance_id| {
        let client = client.clone();
        CreateBroker { instance_id, ttl_s, client, tickets, native, view_only, reuse }.into_wish()
    };
    let wishes: Vec<_> = instances.into_iter().map(wish).collect::<Result<_, _>>()?;
    let opened = api.lifecycle.open_all(wishes).await?;
    let broker_set = opened.iter().map(|opened| CreatedBroker::new(opened, api)).collect();
    Ok(Answer::Created { broker_set })
}

/// Open brokers.
pub fn describe(api: &Api, mut parameters: Parameters) -> Result<Answer, Problem> {
    let (ids, instances) = (parameters.list("brokers")?, parameters.list("instances")?);
    let part = parameters.part()?;
    parameters.end()?;
    let asked_for = |list: &[String], id: &String| list.is_empty() || list.contains(id);
    let mut brokers = api.lifecycle.brokers();
    brokers.retain(|(broker, _)| asked_for(&ids, &broker.id) && asked_for(&instances, &broker.instance_id));
    let total_count = brokers.len() as u64;
    let broker_set = brokers
        .iter()
        .skip(part.start as usize)
        .take(part.len())
        .map(|(broker, expires_at)| BrokerView::new(broker, *expires_at, &api.broker_host))
        .collect();
    Ok(Answer::Brokers { broker_set, total_count })
}

/// Closes brokers; none, if one is not there.
pub async fn delete(api: &Api, mut parameters: Parameters) -> Result<Answer, Problem> {
    let brokers = some(parameters.list("brokers")?, "brokers")?;
    parameters.end()?;
    if let Some(id) = brokers.iter().find(|id| api.lifecycle.broker(id).is_none()) {
        return Err(Problem::no_broker(id));
    }
    // One that closes meanwhile by itself is closed, which is what was asked for.
    let closing = brokers.iter().map(|id| api.lifecycle.close(id, "closed", Stop::Closed));
    futures_util::future::join_all(closing).await;
    Ok(Answer::Deleted { brokers })
}

fn some(list: Vec<String>, name: &str) -> Result<Vec<String>, Problem> {
    if list.is_empty() { Err(Problem::bad_request(format!("name at least {name}.1"))) } else { Ok(list) }
}

fn rule(name: &str) -> Result<TicketRule, Problem> {
    match name {
        "required" => Ok(TicketRule::Required),
        "optional" => Ok(TicketRule::Optional),
        other => Err(Problem::bad_request(format!("tickets is required or optional, not {other:?}"))),
    }
}
