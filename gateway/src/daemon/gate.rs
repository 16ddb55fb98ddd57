//! The gate: which filter there is, and who listens behind it.

use std::sync::Arc;

use anyhow::Context;
use tracing::{info, warn};

use crate::broker::Doors;
use crate::config::{Backend, Config};
use crate::kernel::address::carriers;
use crate::kernel::filter;
use crate::kernel::filter::none::NoFilter;
use crate::kernel::hook::Hooks;
use crate::kernel::load::{Loaded, load};
use crate::kernel::object::Plan;
use crate::kernel::steering::Steering;
use crate::relay::core::{Cores, Hatch};
use crate::relay::listener::ports::Ports as PortDoors;
use crate::relay::listener::steering::{Pair, Steered};

/// What stands in front of the listeners.
pub(super) struct Front {
    pub filter: Box<dyn filter::Backend>,
    /// Where the filter of this process is attached; detached when dropped.
    pub hooks: Option<Hooks>,
    pub steering: Option<Steering>,
}

impl Front {
    /// Broker ports are what the listeners make of them.
    fn nothing() -> Self {
        Self { filter: Box::new(NoFilter), hooks: None, steering: None }
    }

    /// The name of the hook in logs and metrics; `-` for none.
    pub fn hook(&self) -> String {
        let hooks = self.hooks.iter().flat_map(Hooks::list);
        let mut names: Vec<_> = hooks.map(|(_, hook)| hook.name()).collect();
        names.dedup();
        if names.is_empty() { "-".into() } else { names.join(",") }
    }
}

/// The best that is wanted and works here.
pub(super) async fn choose_filter(config: &Config) -> anyhow::Result<Front> {
    if config.backend == Backend::None {
        return Ok(Front::nothing());
    }
    match load(&plan(config).await?) {
        Ok(Loaded { filter, hooks, steering }) => {
            for (interface, hook) in hooks.list() {
                info!(interface, hook = hook.name(), "filter attached");
            }
            let steering = steering
                .inspect_err(|error| warn!(%error, "no steering: every broker gets a socket of its own"));
            Ok(Front { filter: Box::new(filter), hooks: Some(hooks), steering: steering.ok() })
        }
        Err(error) if config.backend == Backend::Auto => {
            warn!(%error, "no filter: broker ports are plain listeners");
            Ok(Front::nothing())
        }
        Err(error) => Err(error).context("filter.backend = \"ebpf\""),
    }
}

/// What the filter is to judge, and where. An address that nobody has, or an interface that is not there,
/// is a mistake that must not end in "no filter".
async fn plan(config: &Config) -> anyhow::Result<Plan> {
    let interfaces = match config.interfaces.as_slice() {
        [] => carriers(&config.addresses).await.context("interfaces")?,
        named => named.to_vec(),
    };
    for interface in &interfaces {
        nix::net::if_::if_nametoindex(interface.as_str())
            .with_context(|| format!("interfaces = [{interface:?}]: there is no such interface"))?;
    }
    Ok(Plan {
        addresses: config.addresses.clone(),
        range: config.range.clone(),
        exclude: config.exclude.iter().copied().collect(),
        interfaces,
        hook: config.hook,
        limits: config.filter_limits,
    })
}

/// With steering, a pair of listeners for each core is put in place now; without, brokers bring theirs.
pub(super) fn open_doors(
    cores: Cores,
    steering: Option<Steering>,
) -> anyhow::Result<(Arc<dyn Doors>, Vec<Hatch>)> {
    let Some(mut steering) = steering else { return Ok((Arc::new(PortDoors::new(cores)), Vec::new())) };
    let pairs: Vec<Pair> =
        (0..cores.count()).map(|_| Pair::bind()).collect::<Result<_, _>>().context("listen")?;
    let sockets: Vec<_> = pairs.iter().map(|pair| (&pair.v4, pair.v6.as_ref())).collect();
    steering.set(&sockets)?;
    let mut hatches = Vec::new();
    for (core, Pair { v4, v6 }) in pairs.into_iter().enumerate() {
        hatches.push(cores.listen(core, v4)?);
        if let Some(v6) = v6 {
            hatches.push(cores.listen(core, v6)?);
        }
    }
    Ok((Arc::new(Steered), hatches))
}
