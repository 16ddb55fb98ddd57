//! `DescribeInstances`.

use crate::control::api::Api;
use crate::control::api::problem::Problem;

use super::parameters::Parameters;
use super::wire::{Answer, Instance};

/// Instances: all, or those that are named; one that is not there is left out.
pub async fn describe(api: &Api, mut parameters: Parameters) -> Result<Answer, Problem> {
    let mut ids = parameters.list("instances")?;
    let part = parameters.part()?;
    parameters.end()?;
    let show = |row| Instance::new(row, api.reveal_passwords);
    if ids.is_empty() {
        let (rows, total_count) = api.store.instances_at(part.start, part.len() as u32).await?;
        return Ok(Answer::Instances { instance_set: rows.into_iter().map(show).collect(), total_count });
    }
    ids.sort();
    ids.dedup();
    let mut rows = Vec::new();
    for id in &ids {
        rows.extend(api.store.instance(id).await?);
    }
    let total_count = rows.len() as u64;
    let rows = rows.into_iter().skip(part.start as usize).take(part.len());
    Ok(Answer::Instances { instance_set: rows.map(show).collect(), total_count })
}
