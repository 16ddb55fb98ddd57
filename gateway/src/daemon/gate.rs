//! The gate: which filter there is, and who listens behind it.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context, bail};
use aya::programs::links::FdLink;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::broker::Doors;
use crate::config::{Backend, Config};
use crate::kernel::filter::ebpf::EbpfFilter;
use crate::kernel::filter::nft::{NftFilter, clear, table_name};
use crate::kernel::filter::none::NoFilter;
use crate::kernel::filter::{self, FilterError};
use crate::kernel::hook::Interface;
use crate::kernel::host_firewall::opening::Opening;
use crate::kernel::interfaces::{Follower, Hold, Seat, Wanted};
use crate::kernel::load::{Loaded, load};
use crate::kernel::object::Plan;
use crate::kernel::pins::{self, Adopted};
use crate::kernel::steering::Steering;
use crate::relay::core::{Cores, Hatch};
use crate::relay::listener::ports::Ports as PortDoors;
use crate::relay::listener::steering::{Pair, Steered};

/// What stands in front of the listeners.
pub(super) struct Front {
    pub filter: Box<dyn filter::Backend>,
    pub steering: Option<Steering>,
    pub hold: FrontHold,
    pub seats: watch::Receiver<Vec<Seat>>,
}

/// What must be held for the front to stand.
#[derive(Default)]
pub(super) struct FrontHold {
    follower: Option<Follower>,
    /// Of the host's firewall.
    opening: Option<Opening>,
    _steering: Option<FdLink>,
    /// Pins that nobody else may use meanwhile.
    _pins: Option<File>,
}

impl FrontHold {
    /// Detaches what this process attached.
    pub async fn stop(self) {
        drop(self.opening);
        if let Some(follower) = self.follower {
            follower.stop().await;
        }
    }
}

impl Front {
    /// Broker ports are what the listeners make of them.
    fn nothing() -> Self {
        Self::on_ports(Box::new(NoFilter))
    }

    /// A socket for each broker, behind `filter`, which looks after itself.
    fn on_ports(filter: Box<dyn filter::Backend>) -> Self {
        let (_, seats) = watch::channel(Vec::new());
        Self { filter, steering: None, hold: FrontHold::default(), seats }
    }

    /// A filter that is attached by somebody, and followed from now on.
    fn of(
        filter: EbpfFilter,
        mut steering: Option<Steering>,
        mut hold: Hold,
        config: &Config,
        interfaces: &[Interface],
        pins: Option<File>,
    ) -> anyhow::Result<Self> {
        let seats = hold.seat(interfaces)?;
        for seat in &seats {
            let interface = seat.interface.name.as_str();
            match &seat.hook {
                Ok(hook) => info!(interface, hook = hook.name(), "filter attached"),
                Err(error) => error!(interface, error, "no filter"),
            }
        }
        let follower = Follower::start(wanted(config), hold, seats).context("listen to netlink")?;
        let seats = follower.seats();
        let link = steering.as_mut().and_then(Steering::take_link);
        let hold = FrontHold { follower: Some(follower), opening: None, _steering: link, _pins: pins };
        Ok(Self { filter: Box::new(filter), steering, hold, seats })
    }

    /// The name of the hook in logs and metrics; `-` for none.
    pub fn hook(&self) -> String {
        let seats = self.seats.borrow();
        let mut names: Vec<_> =
            seats.iter().filter_map(|seat| Some(seat.hook.as_ref().ok()?.name())).collect();
        names.dedup();
        if names.is_empty() { "-".into() } else { names.join(",") }
    }
}

/// The best that is wanted and works here.
pub(super) async fn choose_filter(config: &Config) -> anyhow::Result<Front> {
    let mut front = choose(config).await?;
    let name = table_name(&config.addresses, &config.range);
    clear(&name, front.filter.name() == "nft");
    if config.open_host_firewall {
        let opening = Opening::new(&config.addresses, &config.range, &name);
        let failed = |error: &FilterError| warn!(%error, "the host's firewall is as it was");
        front.hold.opening = opening.inspect_err(failed).ok();
    }
    Ok(front)
}

async fn choose(config: &Config) -> anyhow::Result<Front> {
    if config.backend == Backend::None {
        refuse_pins(config, "none")?;
        return Ok(Front::nothing());
    }
    // An address that nobody has, or an interface that is not there, is a mistake that must not end in "no
    // filter".
    let interfaces = wanted(config).find_all().await.context("interfaces")?;
    let plan = plan(config, &interfaces);
    if config.backend == Backend::Nft {
        refuse_pins(config, "nft")?;
        return nft(&plan).context("filter.backend = \"nft\"");
    }
    // A filter that is pinned is in force whatever is done here, so pins that cannot be used are no reason to
    // go on without.
    if let Some(Adopted { filter, steering, folder, lock }) = pins::adopt(&config.pins, &plan)? {
        info!(pins = %folder.display(), "filter and steering are pinned");
        return Front::of(filter, steering, Hold::Pinned(folder), config, &interfaces, Some(lock));
    }
    match load(&plan) {
        Ok(Loaded { filter, hooks, steering }) => {
            let steering = steering
                .inspect_err(|error| warn!(%error, "no steering: every broker gets a socket of its own"));
            Front::of(filter, steering.ok(), Hold::Own(hooks), config, &interfaces, None)
        }
        Err(error) if config.backend == Backend::Auto => {
            warn!(%error, "no filter in eBPF: nftables is tried");
            Ok(nft(&plan).unwrap_or_else(|error| {
                warn!(%error, "no filter: broker ports are plain listeners");
                Front::nothing()
            }))
        }
        Err(error) => Err(error).context("filter.backend = \"ebpf\""),
    }
}

/// A pinned filter for the same addresses is in force, and nobody would open its ports.
fn refuse_pins(config: &Config, backend: &str) -> anyhow::Result<()> {
    if let Ok(Some(folder)) = pins::usable(&config.pins, &plan(config, &[])) {
        bail!(
            "filter.backend = \"{backend}\", but a filter is pinned in {}, and would leave every port closed: \
             remove it (portcullis kernel clean), or use it (filter.backend = \"ebpf\")",
            folder.display()
        );
    }
    Ok(())
}

fn nft(plan: &Plan) -> Result<Front, FilterError> {
    Ok(Front::on_ports(Box::new(NftFilter::new(plan)?)))
}

/// Which interfaces are to have the filter.
pub(crate) fn wanted(config: &Config) -> Wanted {
    match config.interfaces.as_slice() {
        [] => Wanted::Carrying(config.addresses.clone()),
        named => Wanted::Named(named.to_vec()),
    }
}

/// What the filter is to judge, and where.
pub(crate) fn plan(config: &Config, interfaces: &[Interface]) -> Plan {
    Plan {
        addresses: config.addresses.clone(),
        range: config.range.clone(),
        exclude: config.exclude.iter().copied().collect(),
        interfaces: interfaces.iter().map(|interface| interface.name.clone()).collect(),
        hook: config.hook,
        limits: config.filter_limits,
    }
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
