//! `kernel load`: makes the pins be what a plan says, whatever was there, with no moment without a filter.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use portcullis_ebpf::layout::{ADDRESSES, BOUNDS, BROKERS, BrokerKeyWords, SlotWords};

use super::rivals;
use super::{FACTS, Facts, PinnedMaps, STEER, folder, link_name, link_of, links, lock, names};
use crate::kernel::filter::FilterError;
use crate::kernel::filter::ebpf::{EbpfFilter, take};
use crate::kernel::hook::{self, Hook, Interface};
use crate::kernel::object::{self, MAPS, Plan, set_addresses};
use crate::kernel::steering::Steering;

/// What was loaded.
#[derive(Debug)]
pub struct Report {
    /// Whether the maps that were there are used on; otherwise they are new, and a daemon that runs must be
    /// started again.
    pub maps_kept: bool,
    /// Each interface with its hook, and whether it had the filter before.
    pub hooks: Vec<(Interface, Hook, bool)>,
    /// Why there is no steering.
    pub steering: Result<(), FilterError>,
    /// How many open brokers were moved from maps that were made for another plan.
    pub moved: usize,
}

/// Loads, attaches and pins what `plan` says below `base`; members of `group` may open brokers then, and
/// nobody else but root. What is pinned already is replaced in place.
///
/// # Errors
/// There is no bpffs, the folder is somebody else's, another loader is at work, a daemon that loaded for itself
/// filters one of the addresses, or the kernel refused. What was in force before is so still, and what this
/// loader made is gone.
pub fn load(
    base: &Path,
    plan: &Plan,
    interfaces: &[Interface],
    group: Option<u32>,
) -> Result<Report, FilterError> {
    let is_new = prepare(base)?;
    let loaded = locked(base, plan, interfaces, group);
    if loaded.is_err() && is_new {
        // Not there any more, or not empty because of another loader: neither is ours to mend.
        let _ = std::fs::remove_dir(base);
    }
    loaded
}

fn locked(
    base: &Path,
    plan: &Plan,
    interfaces: &[Interface],
    group: Option<u32>,
) -> Result<Report, FilterError> {
    let Some(_lock) = lock(base)? else {
        return Err(FilterError::new(base.display().to_string(), "another loader is at work"));
    };
    let (present, next) = (folder(base), base.join(format!("{}_next", name_of(&folder(base)))));
    finish(&present, &next)?;
    refuse_another_namespace(&present, plan)?;
    rivals::refuse(base, plan, interfaces)?;
    // Maps that were completed for this very plan are used on: nothing in them changes. All others stay as they
    // are, and in force, until what takes their place is complete.
    let fits = !present.exists() || Facts::read(&present)? == Some(Facts::of(plan)?);
    let into = if fits { &present } else { &next };
    let is_new = !into.exists();
    let loaded = make(into, base, plan, interfaces).and_then(|report| {
        hand_over(base, into, group)?;
        Facts::of(plan)?.write(into)?;
        own(&into.join(FACTS), group, 0o660)?;
        Ok(report)
    });
    match loaded {
        Ok(report) => {
            finish(&present, &next)?;
            remove_others(base, &present)?;
            Ok(Report { maps_kept: !is_new, ..report })
        }
        Err(error) => {
            if is_new && into.exists() {
                remove(into)?;
            }
            Err(error)
        }
    }
}

/// Makes sure that `base` is a folder of ours on bpffs. Returns whether it was made now.
fn prepare(base: &Path) -> Result<bool, FilterError> {
    let named = || base.display().to_string();
    let parent = base.parent().unwrap_or(Path::new("/"));
    let on = nix::sys::statfs::statfs(parent)
        .map_err(|error| FilterError::new(format!("look at {}", parent.display()), error))?;
    if on.filesystem_type() != nix::sys::statfs::BPF_FS_MAGIC {
        let remedy = format!("there is no bpffs: mount -t bpf bpf {}", parent.display());
        return Err(FilterError::new(parent.display().to_string(), remedy));
    }
    let is_new = match DirBuilder::new().mode(0o700).create(base) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(FilterError::new(format!("make {}", named()), error)),
    };
    let found = std::fs::symlink_metadata(base).map_err(|error| FilterError::new(named(), error))?;
    let me = nix::unistd::geteuid().as_raw();
    if !found.is_dir() || ![0, me].contains(&found.uid()) || found.mode() & 0o022 != 0 {
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        return Err(FilterError::new(
            named(),
            format!(
                "made by user {owner} with mode {mode:04o}, so what is in it cannot be trusted: remove it"
            ),
        ));
    }
    Ok(is_new)
}

fn refuse_another_namespace(present: &Path, plan: &Plan) -> Result<(), FilterError> {
    match present.exists().then(|| Facts::read(present)).transpose()?.flatten() {
        Some(facts) if facts.namespace != Facts::of(plan)?.namespace => Err(FilterError::new(
            format!("pins in {}", present.display()),
            "they are of another network namespace; `portcullis kernel clean` removes them",
        )),
        _ => Ok(()),
    }
}

/// Loads into `into`: steering first, so that what the filter lets in has somewhere to go.
fn make(into: &Path, base: &Path, plan: &Plan, interfaces: &[Interface]) -> Result<Report, FilterError> {
    if !into.exists() {
        let made = DirBuilder::new().mode(0o700).create(into);
        made.map_err(|error| FilterError::new(format!("make {}", into.display()), error))?;
    }
    let mut programs = object::open(plan, Some(into))?;
    set_addresses(&mut programs, plan)?;
    let mut filter = EbpfFilter::new(&mut programs, plan.places(), &plan.excluded())?;
    filter.limit(plan.limits)?;
    let moved = move_brokers(base, into, &mut programs)?;
    let steering = steer(into, &mut programs);
    let mut hooks = Vec::new();
    let held = held(base, plan.hook)?;
    let holds = |interface: &Interface| held.iter().find(|held| held.index == interface.index);
    // What is new may fail; links that are there change only when nothing else will.
    let (old, new): (Vec<_>, Vec<_>) = interfaces.iter().partition(|interface| holds(interface).is_some());
    for interface in new.into_iter().chain(old) {
        let hook = match holds(interface) {
            Some(held) => swap(held, into, &mut programs)?,
            None => attach(into, interface, plan.hook, &mut programs)?,
        };
        hooks.push((interface.clone(), hook, holds(interface).is_some()));
    }
    for (hook, index) in links(into)? {
        if !hooks.iter().any(|(interface, wanted, _)| (*wanted, interface.index) == (hook, index)) {
            remove_pin(&into.join(link_name(hook, index)))?;
        }
    }
    // Second names that a loader before this one did not live to take away.
    for name in names(into)?.iter().filter(|name| name.ends_with("_next")) {
        remove_pin(&into.join(name))?;
    }
    Ok(Report { maps_kept: false, hooks, steering, moved })
}

/// Takes open brokers over from maps that are not used on, so that they stay open while the daemon is
/// started again. Maps of another layout are left: their brokers close until then.
fn move_brokers(base: &Path, into: &Path, programs: &mut Ebpf) -> Result<usize, FilterError> {
    type Brokers = HashMap<MapData, BrokerKeyWords, SlotWords>;
    let mut moved = 0;
    let mut brokers: Brokers = take(programs, BROKERS)?;
    for other in names(base)?.into_iter().map(|name| base.join(name)).filter(|other| other != into) {
        let Ok(old) = take::<Brokers>(&mut PinnedMaps(&other), BROKERS) else { continue };
        for entry in old.iter().filter_map(Result::ok) {
            brokers
                .insert(entry.0, entry.1, 0)
                .map_err(|error| FilterError::new(format!("map {BROKERS}: move an entry"), error))?;
            moved += 1;
        }
    }
    Ok(moved)
}

/// Two programs may steer beside each other; the old one goes when its pin is replaced.
fn steer(into: &Path, programs: &mut Ebpf) -> Result<(), FilterError> {
    let (pin, next) = (into.join(STEER), into.join(format!("{STEER}_next")));
    if next.exists() {
        remove_pin(&next)?;
    }
    pin_link(Steering::link(programs)?, &next)?;
    std::fs::rename(&next, &pin)
        .map_err(|error| FilterError::new(format!("replace {}", pin.display()), error))
}

/// A link that is pinned already, in whatever folder.
pub(super) struct Held {
    pub pin: PathBuf,
    hook: Hook,
    index: u32,
}

/// The links of all versions at the hook that is wanted, or at any.
pub(super) fn held(base: &Path, wanted: Option<Hook>) -> Result<Vec<Held>, FilterError> {
    let mut held = Vec::new();
    for folder in names(base)?.into_iter().map(|name| base.join(name)) {
        for (hook, index) in links(&folder)? {
            if wanted.is_none_or(|wanted| wanted == hook) {
                held.push(Held { pin: folder.join(link_name(hook, index)), hook, index });
            }
        }
    }
    Ok(held)
}

fn attach(
    into: &Path,
    interface: &Interface,
    wanted: Option<Hook>,
    programs: &mut Ebpf,
) -> Result<Hook, FilterError> {
    let (hook, link) = hook::attach(programs, &interface.name, wanted)?;
    pin_link(link, &into.join(link_name(hook, interface.index)))?;
    Ok(hook)
}

/// The link that is pinned as `pin`, by a second name, because having it takes the name away; the first one
/// never goes.
pub(super) fn open_link(pin: &Path) -> Result<FdLink, FilterError> {
    let failed = |error: std::io::Error| FilterError::new(format!("link {}", pin.display()), error);
    let second = pin.with_file_name(format!("{}_next", name_of(pin)));
    if second.exists() {
        remove_pin(&second)?;
    }
    std::fs::hard_link(pin, &second).map_err(failed)?;
    let opened = PinnedLink::from_pin(&second);
    let opened = opened.map_err(|error| FilterError::new(format!("open {}", second.display()), error))?;
    opened.unpin().map_err(failed)
}

/// Replaces the program of a link that is there, and pins the link in `into`.
fn swap(held: &Held, into: &Path, programs: &mut Ebpf) -> Result<Hook, FilterError> {
    let Held { pin, hook, index } = held;
    let place = into.join(link_name(*hook, *index));
    let link = open_link(pin)?;
    if !place.exists() {
        std::fs::hard_link(pin, &place)
            .map_err(|error| FilterError::new(format!("link {}", pin.display()), error))?;
    }
    hook::replace(link, *hook, programs)?;
    Ok(*hook)
}

fn pin_link(link: FdLink, path: &Path) -> Result<(), FilterError> {
    link.pin(path).map(drop).map_err(|error| FilterError::new(format!("pin {}", path.display()), error))
}

/// Puts what another loader completed, and did not put there any more, in its place; removes what it did
/// not complete.
fn finish(present: &Path, next: &Path) -> Result<(), FilterError> {
    if !next.exists() {
        return Ok(());
    }
    if Facts::read(next)?.is_none() {
        return remove(next);
    }
    if present.exists() {
        remove(present)?;
    }
    std::fs::rename(next, present)
        .map_err(|error| FilterError::new(format!("move {}", next.display()), error))
}

fn remove_others(base: &Path, present: &Path) -> Result<(), FilterError> {
    let others = names(base)?.into_iter().map(|name| base.join(name)).filter(|other| other != present);
    others.into_iter().try_for_each(|other| remove(&other))
}

/// Removes the pins of one version, and with them what only they hold. First goes what says that they are
/// complete, so that nobody uses the rest, and then the filter.
pub(super) fn remove(folder: &Path) -> Result<(), FilterError> {
    let mut names = names(folder)?;
    let is_link = |name: &str| link_of(name.trim_end_matches("_next")).is_some();
    names.sort_by_key(|name| (name != FACTS, !is_link(name), name != STEER));
    names.iter().try_for_each(|name| remove_pin(&folder.join(name)))?;
    std::fs::remove_dir(folder)
        .map_err(|error| FilterError::new(format!("remove {}", folder.display()), error))
}

fn remove_pin(path: &Path) -> Result<(), FilterError> {
    std::fs::remove_file(path).map_err(|error| FilterError::new(format!("remove {}", path.display()), error))
}

/// Gives everybody their rights, the folder's last: until then nobody else sees what is in it.
fn hand_over(base: &Path, into: &Path, group: Option<u32>) -> Result<(), FilterError> {
    for map in MAPS {
        let mode = if [ADDRESSES, BOUNDS].contains(&map) { 0o600 } else { 0o660 };
        own(&into.join(map), group, mode)?;
    }
    own(into, group, 0o750)?;
    own(base, group, 0o750)
}

fn own(path: &Path, group: Option<u32>, mode: u32) -> Result<(), FilterError> {
    let failed = |error| FilterError::new(format!("permissions of {}", path.display()), error);
    if let Some(group) = group {
        chown(path, None, Some(group)).map_err(failed)?;
    }
    // Without a group of its own it is for root alone.
    let mode = if group.is_some() { mode } else { mode & 0o700 };
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
