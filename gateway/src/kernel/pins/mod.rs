//! What outlives a process: maps, filter and steering, pinned in a folder of bpffs. `kernel load` makes it
//! with privileges; a daemon without any adopts it.
//!
//! The folder holds one folder for each version of the layout, and that one file for each map, one for the
//! steering, and one for each interface that has the filter. What a loader has not finished lies in a folder
//! whose name ends in `_next`. bpffs takes no dots in names.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use portcullis_ebpf::layout::LAYOUT_VERSION;
use sha2::{Digest, Sha256};

use super::filter::FilterError;
use super::filter::ebpf::{EbpfFilter, Maps};
use super::hook::Hook;
use super::object::Plan;
use super::steering::Steering;
use crate::file_lock;

pub mod clean;
pub mod load;
mod rivals;
pub mod show;

/// Where pins are by default.
pub const FOLDER: &str = "/sys/fs/bpf/portcullis";

/// The pinned link of the steering.
const STEER: &str = "steer";
/// The map that says what was loaded: [`Facts`].
const FACTS: &str = "FACTS";

/// The folder of this layout below `base`.
pub fn folder(base: &Path) -> PathBuf {
    base.join(format!("v{LAYOUT_VERSION}"))
}

/// What the loader knows and the daemon must: for what the programs were loaded, and that all of it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    /// Of addresses and range.
    plan: u64,
    /// Inode of the network namespace.
    namespace: u64,
}

/// The third word of [`Facts`] in its map, written last. What is there without it was not finished.
const COMPLETE: u64 = 0x706f_7274_6375_6c6c;

impl Facts {
    fn of(plan: &Plan) -> Result<Self, FilterError> {
        let mut addresses: Vec<_> = plan.addresses.iter().map(ToString::to_string).collect();
        addresses.sort_unstable();
        let text = format!("{} {:?}", addresses.join(" "), plan.range);
        let digest = Sha256::digest(text);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        let namespace = std::fs::metadata("/proc/thread-self/ns/net")
            .map_err(|error| FilterError::new("look at /proc/thread-self/ns/net", error))?;
        Ok(Self { plan: u64::from_be_bytes(first), namespace: namespace.ino() })
    }

    /// Reads what is pinned in `folder`; `None` if it is not complete.
    fn read(folder: &Path) -> Result<Option<Self>, FilterError> {
        let path = folder.join(FACTS);
        if !path.exists() {
            return Ok(None);
        }
        let map = pinned(folder, FACTS).and_then(|map| {
            Array::<MapData, u64>::try_from(map).map_err(|error| FilterError::new("map FACTS", error))
        })?;
        let word = |index| map.get(&index, 0).map_err(|error| FilterError::new("map FACTS: read", error));
        Ok((word(2)? == COMPLETE).then_some(Self { plan: word(0)?, namespace: word(1)? }))
    }

    /// Pins them in `folder`, or changes those that are there.
    fn write(self, folder: &Path) -> Result<(), FilterError> {
        let failed = |error| FilterError::new("map FACTS: write", error);
        let path = folder.join(FACTS);
        let mut map = if path.exists() {
            Array::<MapData, u64>::try_from(pinned(folder, FACTS)?).map_err(failed)?
        } else {
            let map = Array::<MapData, u64>::create(3, 0).map_err(failed)?;
            let pin = map.pin(&path);
            pin.map_err(|error| FilterError::new(format!("pin {}", path.display()), error))?;
            Array::try_from(pinned(folder, FACTS)?).map_err(failed)?
        };
        for (index, word) in (0..).zip([self.plan, self.namespace, COMPLETE]) {
            map.set(index, word, 0).map_err(failed)?;
        }
        Ok(())
    }
}

/// The map that is pinned as `name` in `folder`.
fn pinned(folder: &Path, name: &str) -> Result<Map, FilterError> {
    let path = folder.join(name);
    MapData::from_pin(&path)
        .and_then(Map::from_map_data)
        .map_err(|error| FilterError::new(format!("open {}", path.display()), error))
}

/// The maps that are pinned in a folder.
pub struct PinnedMaps<'a>(pub &'a Path);

impl Maps for PinnedMaps<'_> {
    fn take(&mut self, name: &str) -> Result<Map, FilterError> {
        pinned(self.0, name)
    }
}

/// The file name of the link of one interface.
fn link_name(hook: Hook, index: u32) -> String {
    format!("{}-{index}", hook.name())
}

/// The reverse of [`link_name`].
fn link_of(name: &str) -> Option<(Hook, u32)> {
    let (hook, index) = name.rsplit_once('-')?;
    let hook = Hook::ALL.into_iter().find(|known| known.name() == hook)?;
    Some((hook, index.parse().ok()?))
}

/// Hook and number of each interface that has the filter by a pin in `folder`; some may be gone.
///
/// # Errors
/// The folder cannot be read.
pub fn links(folder: &Path) -> Result<Vec<(Hook, u32)>, FilterError> {
    let mut links: Vec<_> = names(folder)?.iter().filter_map(|name| link_of(name)).collect();
    links.sort_unstable_by_key(|(_, index)| *index);
    Ok(links)
}

fn names(folder: &Path) -> Result<Vec<String>, FilterError> {
    let failed = |error| FilterError::new(format!("list {}", folder.display()), error);
    let entries =
        std::fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Locks a folder for one process at a time; `None` if another has it.
fn lock(folder: &Path) -> Result<Option<File>, FilterError> {
    file_lock::take(folder).map_err(|error| FilterError::new(format!("lock {}", folder.display()), error))
}

/// Pinned maps in the hands of the one daemon that writes them.
pub struct Adopted {
    /// The filter's maps.
    pub filter: EbpfFilter,
    /// The steering's maps, if it is loaded.
    pub steering: Option<Steering>,
    /// Where they are pinned.
    pub folder: PathBuf,
    /// Held as long as the maps are used.
    pub lock: File,
}

/// Takes the pins below `base`, if there are any.
///
/// # Errors
/// As [`usable`], or another daemon uses them. A filter is in force then, and going on without it would leave
/// every port closed.
pub fn adopt(base: &Path, plan: &Plan) -> Result<Option<Adopted>, FilterError> {
    let Some(folder) = usable(base, plan)? else { return Ok(None) };
    let Some(lock) = lock(&folder)? else { return refused(&folder, "another daemon uses them") };
    let maps = &mut PinnedMaps(&folder);
    let mut filter = EbpfFilter::new(maps, plan.places(), &plan.excluded())?;
    filter.limit(plan.limits)?;
    let steering = if is_steered(&folder) { Some(Steering::open(maps, None)?) } else { None };
    Ok(Some(Adopted { filter, steering, folder, lock }))
}

/// The folder below `base` that a daemon with this plan would use; `None` if nothing is pinned.
///
/// # Errors
/// What is pinned is of another layout, incomplete, loaded for another plan or network namespace, or not to be
/// had by this user.
pub fn usable(base: &Path, plan: &Plan) -> Result<Option<PathBuf>, FilterError> {
    match base.try_exists() {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(error) => return Err(FilterError::new(format!("look at {}", base.display()), error)),
    }
    let folder = folder(base);
    if !folder.exists() {
        let others = names(base)?.join(", ");
        return match others.as_str() {
            "" => Ok(None),
            others => refused(
                &folder,
                &format!(
                    "there are none of this version, but {others}: run `portcullis kernel load` of this version"
                ),
            ),
        };
    }
    let wanted = Facts::of(plan)?;
    match Facts::read(&folder)? {
        None => refused(&folder, "loading was not finished: run `portcullis kernel load` again"),
        Some(facts) if facts.namespace != wanted.namespace => {
            refused(&folder, "they are of another network namespace")
        }
        Some(facts) if facts.plan != wanted.plan => refused(
            &folder,
            "they were loaded for other addresses or another range: run `portcullis kernel load` with this \
             configuration",
        ),
        Some(_) => Ok(Some(folder)),
    }
}

/// Whether the steering is pinned in `folder`.
pub fn is_steered(folder: &Path) -> bool {
    folder.join(STEER).exists()
}

fn refused<T>(folder: &Path, why: &str) -> Result<T, FilterError> {
    Err(FilterError::new(format!("pins in {}", folder.display()), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_by_its_name() {
        for hook in Hook::ALL {
            assert_eq!(link_of(&link_name(hook, 17)), Some((hook, 17)));
        }
        for name in ["steer", "tc", "tc-", "tc-x", "BROKERS", "tc-1_next"] {
            assert_eq!(link_of(name), None, "{name}");
        }
    }
}
