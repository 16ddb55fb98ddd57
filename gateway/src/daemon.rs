//! Wiring: builds the parts in order, runs them, and stops them in reverse.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};
use tracing::{error, info, warn};

use crate::broker::allocator::{Allocator, Ports};
use crate::broker::channels::Channels;
use crate::broker::pseudo_name::Names;
use crate::broker::session::Sessions;
use crate::broker::table::Table;
use crate::broker::viewer_file::Viewer;
use crate::config::{At, BrokerTls, Config};
use crate::control::access::{Key, kept};
use crate::control::api::status::About;
use crate::control::api::{self, Api};
use crate::control::desk::ControlDesk;
use crate::control::events::{Event, Events};
use crate::control::inventory::Inventory;
use crate::control::lifecycle::{Lifecycle, Parts, Times};
use crate::control::store::{Store, WallTime};
use crate::descriptors;
use crate::every::every;
use crate::kernel::address::Addresses;
use crate::kernel::filter::Gate;
use crate::memory;
use crate::metrics::Metrics;
use crate::relay::console::spice::ticket::Own;
use crate::relay::console::terminal::Histories;
use crate::relay::core::{self, Hatch, Threads};
use crate::relay::far::Reach;
use crate::relay::forwarded::Proxies;
use crate::relay::handshake::HeadTimes;
use crate::relay::pulse::Pace;
use crate::relay::session::{END_NAMES, Shared};
use crate::relay::stream::Tls;
use crate::relay::target::pty::Commands;
use crate::relay::target::tcp::Destinations;
use crate::relay::target::tls::Connector;
use crate::relay::target::unix::Sockets;

use certificates::Certificates;
use control_port::ControlPort;
use gate::{Front, FrontHold, choose_filter, open_doors};

mod certificates;
mod control_port;
pub(crate) mod gate;
mod observe;

/// How often brokers that nobody uses are looked for.
const REAP: Duration = Duration::from_secs(1);
/// Time that the last records have to be written in.
const RECORD: Duration = Duration::from_secs(5);
/// Time that requests under way have at the end; who listens to events, or asks slowly, gets no more.
const ANSWER: Duration = Duration::from_secs(2);
/// How often closed brokers are forgotten, and how long the store remembers them.
const FORGET: Duration = Duration::from_secs(60 * 60);
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: Config) -> anyhow::Result<()> {
    // Whatever is written is for the daemon's user alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    memory::set_up();
    // Each session takes two.
    if let Err(error) = descriptors::raise_limit() {
        warn!(%error, "descriptor limit not raised");
    }
    // The control side has a runtime of its own: no session ever waits behind a request.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .context("start the control runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;

    let daemon = Daemon::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM"),
        _ = interrupt.recv() => info!("SIGINT"),
    }
    daemon.stop().await;
    Ok(())
}

/// The running parts, in the order in which they were built.
struct Daemon {
    config: Config,
    _lock: File,
    addresses: Addresses,
    store: Store,
    threads: Threads,
    /// Listeners that belong to no single broker.
    hatches: Vec<Hatch>,
    lifecycle: Arc<Lifecycle>,
    gate: Gate,
    keeper: JoinHandle<()>,
    front: FrontHold,
    /// Records the ends of sessions.
    recorder: tokio::task::JoinHandle<()>,
    shared: Arc<Shared>,
    servers: [tokio::task::JoinHandle<()>; 2],
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Daemon {
    async fn start(config: Config) -> anyhow::Result<Self> {
        let target_tls = target_tls(&config)?;
        let commands = Commands::new(&config.commands).context("terminals.commands")?;
        let mut certificates = Certificates::new(&config);
        certificates.follow(target_tls.kept());
        let tls = broker_tls(&config, &mut certificates)?;
        let lock = claim_state(&config.state_dir)?;
        let key = config.state_dir.join("api.key");
        let key = Key::load(&key).with_context(|| format!("API key {}", key.display()))?;
        let store = Store::open(&config.state_dir.join("store.db")).await?;
        let allocator = Allocator::new(Ports {
            addresses: config.addresses.clone(),
            range: config.range.clone(),
            exclude: config.exclude.clone(),
            rest: config.rest,
        });
        // Before whatever listens on them, and before the filter, which goes where they are.
        let addresses = Addresses::start(&config.addresses, config.address_interface.as_deref()).await?;
        let handshake = certificates.handshake_if(config.api.tls, &config.api.clients)?;
        let api_port = ControlPort::bind("the API", &config.api, handshake).await?;
        let handshake = certificates.handshake_if(config.metrics.tls, &config.metrics.clients)?;
        let metrics_port = ControlPort::bind("metrics", &config.metrics, handshake).await?;

        let metrics = Metrics::new(&END_NAMES);
        let table = Arc::new(Table::default());
        let inventory = Inventory::new(store.clone());
        let audit = config.state_dir.join("audit.log");
        let events =
            Events::new(&audit, metrics.clone()).with_context(|| format!("open {}", audit.display()))?;
        let (desk, recorder) =
            ControlDesk::new(inventory.clone(), store.clone(), metrics.clone(), events.clone());
        let sessions = Arc::new(Sessions::new(config.limits));
        let viewer = Arc::new(viewer(&config, &mut certificates)?);
        let histories = Arc::new(Histories::new(config.history, config.reconnect));
        let shared = Arc::new(Shared {
            table: table.clone(),
            sessions: sessions.clone(),
            sources: Arc::default(),
            desk: Arc::new(desk),
            reach: Reach {
                destinations: destinations(&config, [api_port.address(), metrics_port.address()]),
                sockets: sockets(&config),
                commands,
                histories: histories.clone(),
                within: config.dial,
                peer: config.peer_timeout,
                inject_secrets: config.inject_secrets,
                spice: (Own::default(), config.spice_channels),
                passwords: Arc::default(),
                tls: target_tls,
                metrics: metrics.clone(),
            },
            tls,
            head: HeadTimes { first_byte: config.first_byte, head: config.header },
            viewer: viewer.clone(),
            allowed_origins: config.allowed_origins.clone(),
            proxies: Proxies(config.trusted_proxies.clone()),
            answer: config.dial,
            pace: Pace { peer: config.peer_timeout, idle: config.idle, longest: config.max },
            bytes_per_s: config.bytes_per_s,
            metrics: metrics.clone(),
        });
        let (cores, threads) = core::start(config.cores, &shared).context("start the relay")?;

        let front = choose_filter(&config).await?;
        let (hook, backend) = (front.hook(), front.filter.name());
        let Front { filter, steering, hold, seats } = front;
        let (doors, hatches) = open_doors(cores, steering)?;
        let steering = doors.name();
        info!(backend, hook, steering, "the gate stands");
        let (gate, keeper) = Gate::start(filter)?;

        let times = Times { ttl: config.ttl, window: config.reconnect };
        let lifecycle = Lifecycle::new(Parts {
            inventory,
            allocator,
            doors,
            store: store.clone(),
            table,
            sessions: sessions.clone(),
            gate: gate.clone(),
            metrics: metrics.clone(),
            events: events.clone(),
            times,
            proxied: !config.trusted_proxies.is_empty(),
        });
        let recovered = lifecycle.recover(config.rest).await?;
        info!(open = recovered.open, closed = recovered.closed, "brokers of the daemon before this one");

        let stop = watch::Sender::new(false);
        let labels = [("backend", backend.into()), ("hook", hook.clone()), ("steering", steering.into())];
        let (seats_too, addresses_too) = (seats.clone(), addresses.view());
        let observe = observe::routes(&metrics, labels, sessions, gate.clone(), seats_too, addresses_too);
        let api = Api {
            lifecycle: lifecycle.clone(),
            store: store.clone(),
            events,
            broker_host: config.broker_host.as_str().into(),
            broker_tls: config.broker_tls != BrokerTls::Off,
            viewer,
            faces: shared.clone(),
            reveal_passwords: config.reveal_passwords,
            key,
            about: Arc::new(About { backend, hook: hook.clone(), steering, started_at: WallTime::now() }),
            gate: gate.clone(),
            seats,
            metrics: metrics.clone(),
        };
        if config.reveal_passwords {
            warn!("reveal_passwords = true: who has the API key reads the passwords of consoles");
            api.events.say(Event::passwords_revealed());
        }
        let (api_url, metrics_url) = (api_port.url(), metrics_port.url());
        let servers = [api_port.serve(api::routes(api), &stop), metrics_port.serve(observe, &stop)];
        let keep = config.keep_sessions;
        let tasks = vec![
            tokio::spawn(certificates.look_after(metrics.clone())),
            tokio::spawn(memory::left::watch(shared.sessions.clone(), metrics.clone())),
            tokio::spawn(housekeeping(lifecycle.clone(), store.clone(), metrics, keep, histories)),
        ];

        // Whoever started the daemon reads from here where it is; the ports may have been its choice.
        let _ = writeln!(
            std::io::stdout(),
            "ready api={api_url} metrics={metrics_url} backend={backend} hook={hook} steering={steering}"
        );
        info!(api_url, metrics_url, broker_host = config.broker_host, "ready");
        Ok(Self {
            config,
            _lock: lock,
            addresses,
            store,
            threads,
            hatches,
            lifecycle,
            gate,
            keeper,
            front: hold,
            recorder,
            shared,
            servers,
            tasks,
            stop,
        })
    }

    /// Closes every broker, kernel first, ends the sessions within the grace, and lets go of the rest.
    async fn stop(self) {
        let began = Instant::now();
        self.stop.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
        self.lifecycle.stop().await;
        drop(self.hatches);
        let (threads, grace) = (self.threads, self.config.stop_grace);
        let relay = tokio::task::spawn_blocking(move || threads.stop(grace));
        if let Err(error) = relay.await {
            error!(%error, "the relay did not stop as it should");
        }
        // The cores are gone; with the last handle on the desk the ends of their sessions are all queued.
        drop(self.shared);
        if timeout(RECORD, self.recorder).await.is_err() {
            warn!("the ends of some sessions are not recorded; the next start records that they ended");
        }
        let late = Instant::now() + ANSWER;
        for mut server in self.servers {
            if timeout_at(late.into(), &mut server).await.is_err() {
                server.abort();
            }
        }
        self.store.close().await;
        // The keeper ends, and detaches, when the last gate is gone. The API's routes hold one too; they
        // are gone with their servers, or with the process.
        drop(self.lifecycle);
        drop(self.gate);
        let keeper = tokio::task::spawn_blocking(move || self.keeper.join());
        if timeout(Duration::from_secs(2), keeper).await.is_err() {
            warn!("the kernel lets go of the filter when the process ends");
        }
        self.front.stop().await;
        self.addresses.withdraw().await;
        info!(seconds = began.elapsed().as_secs_f32(), "stopped");
    }
}

fn broker_tls(config: &Config, certificates: &mut Certificates) -> anyhow::Result<Tls> {
    Ok(match config.broker_tls {
        BrokerTls::Off => Tls::Off,
        BrokerTls::Optional => Tls::Optional(certificates.handshake(&config.broker_clients)?),
        BrokerTls::Required => Tls::Required(certificates.handshake(&config.broker_clients)?),
    })
}

/// What files for native viewers say of the gateway.
fn viewer(config: &Config, certificates: &mut Certificates) -> anyhow::Result<Viewer> {
    let names = config.state_dir.join("names.key");
    let key = kept(&names).with_context(|| format!("key of names {}", names.display()))?;
    Ok(Viewer {
        host: config.broker_host.as_str().into(),
        tls: certificates.face_if(config.broker_tls != BrokerTls::Off)?,
        plain: config.broker_tls != BrokerTls::Required,
        names: Arc::new(Names::new(&Sha256::digest(key.as_bytes()).into(), config.ttl)),
        all_channels: config.spice_channels == Channels::default(),
        reveal_passwords: config.reveal_passwords,
    })
}

/// How TLS toward targets is done.
fn target_tls(config: &Config) -> anyhow::Result<Connector> {
    if config.insecure_target_tls {
        warn!("targets.insecure_tls = true: where an instance says so, TLS with any console is believed");
    }
    Connector::new(config.target_ca.as_ref(), config.insecure_target_tls).context("targets.ca")
}

/// Makes the state folder, and makes sure that no other daemon uses it.
fn claim_state(folder: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(folder).with_context(|| format!("make the state folder {}", folder.display()))?;
    let path = folder.join("lock");
    let lock = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another daemon uses the state folder {}", folder.display())
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

/// What may be dialled; `own` are addresses that are never a target.
fn destinations(config: &Config, own: [Option<SocketAddr>; 2]) -> Destinations {
    let range = || config.range.clone();
    Destinations {
        allow: config.allow.clone(),
        own: own.into_iter().flatten().collect(),
        own_range: config.addresses.iter().map(|ip| (ip.to_canonical(), range())).collect(),
        anywhere: false,
    }
}

/// Sockets of this machine that instances may be at.
fn sockets(config: &Config) -> Sockets {
    let own = [&config.api, &config.metrics].into_iter().filter_map(|listen| match &listen.at {
        At::Unix { path, .. } => Some(path.clone()),
        At::Tcp(_) => None,
    });
    Sockets { root: config.unix_root.clone(), own: own.collect() }
}

async fn housekeeping(
    lifecycle: Arc<Lifecycle>,
    store: Store,
    metrics: Arc<Metrics>,
    (keep, keep_for): (u32, Duration),
    histories: Arc<Histories>,
) {
    let (mut reap, mut forget) = (every(REAP), every(FORGET));
    loop {
        tokio::select! {
            _ = reap.tick() => {
                let now = Instant::now();
                lifecycle.reap(now).await;
                histories.forget(now);
            }
            _ = forget.tick() => {
                let now = WallTime::now();
                let forgotten = async {
                    store.forget_brokers(now.before(REMEMBER)).await?;
                    store.forget_sessions(now.before(keep_for), keep).await
                };
                if let Err(error) = forgotten.await {
                    metrics.store_failed();
                    warn!(%error, "old brokers and sessions not forgotten");
                }
            }
        }
    }
}
