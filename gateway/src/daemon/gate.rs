//! The gate: which filter there is, and who listens behind it.

use std::sync::Arc;

use anyhow::Context;
use tracing::{info, warn};

use crate::broker::Doors;
use crate::config::{Backend, Config};
use crate::kernel::address::carriers;
use crate::kernel::filter::nft::{NftFilter, clear, table_name};
use crate::kernel::filter::none::NoFilter;
use crate::kernel::filter::{self, FilterError};
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
    let front = choose(config).await?;
    clear(&table_name(&config.addresses, &config.range), front.filter.name() == "nft");
    Ok(front)
}

async fn choose(config: &Config) -> anyhow::Result<Front> {
    if config.backend == Backend::None {
        return Ok(Front::nothing());
    }
    let plan = plan(config).await?;
    match config.backend {
        Backend::None => Ok(Front::nothing()),
        Backend::Ebpf => ebpf(&plan).context("filter.backend = \"ebpf\""),
        Backend::Nft => nft(&plan).context("filter.backend = \"nft\""),
        Backend::Auto => {
            let found = ebpf(&plan).or_else(|error| {
                warn!(%error, "no filter in eBPF: nftables is tried");
                nft(&plan)
            });
            Ok(found.unwrap_or_else(|error| {
                warn!(%error, "no filter: broker ports are plain listeners");
                Front::nothing()
            }))
        }
    }
}

fn ebpf(plan: &Plan) -> Result<Front, FilterError> {
    let Loaded { filter, hooks, steering } = load(plan)?;
    for (interface, hook) in hooks.list() {
        info!(interface, hook = hook.name(), "filter attached");
    }
    let steering =
        steering.inspect_err(|error| warn!(%error, "no steering: every broker gets a socket of its own"));
    Ok(Front { filter: Box::new(filter), hooks: Some(hooks), steering: steering.ok() })
}

fn nft(plan: &Plan) -> Result<Front, FilterError> {
    let filter = NftFilter::new(plan)?;
    Ok(Front { filter: Box::new(filter), hooks: None, steering: None })
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
