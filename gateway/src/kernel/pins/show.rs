//! `kernel show`: what is pinned, and whether it is in force.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aya::maps::{HashMap, MapData};
use portcullis_ebpf::layout::{
    ADDRESSES, Address, BROKERS, BrokerKeyWords, EXCLUDED, Slot, SlotWords, ip_address,
};
use serde::Serialize;

use super::{Facts, PinnedMaps, STEER, folder, links, names};
use crate::file_lock;
use crate::kernel::filter::FilterError;
use crate::kernel::filter::ebpf::take;

/// What is pinned below a folder.
#[derive(Debug, Serialize)]
pub struct Pins {
    /// The folder.
    pub folder: String,
    /// One for each version of the layout, this one's among them or not.
    pub versions: Vec<Version>,
}

/// What is pinned of one version.
#[derive(Debug, Serialize)]
pub struct Version {
    /// `v` and the number of the layout; with `_next` a loader has not finished it.
    pub name: String,
    /// Whether it is the layout of this program.
    pub ours: bool,
    /// Whether loading was finished.
    pub complete: bool,
    /// The process of the daemon that uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemon: Option<u32>,
    /// Owner, group and permissions of the folder.
    pub owner: u32,
    /// See `owner`.
    pub group: u32,
    /// See `owner`: octal.
    pub mode: String,
    /// Interfaces with the filter.
    pub interfaces: Vec<Interface>,
    /// Whether there is steering.
    pub steering: bool,
    /// Broker addresses with the first and the last port that is judged; absent for another layout, or where
    /// this user may not look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// Entries of open brokers; absent as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<usize>,
}

/// An interface that has the filter, or had it.
#[derive(Debug, Serialize)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name now; absent if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The hook.
    pub hook: &'static str,
}

/// Looks at everything below `base`; `None` if there is nothing.
///
/// # Errors
/// A folder cannot be read.
pub fn show(base: &Path) -> Result<Option<Pins>, FilterError> {
    match base.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => return Err(FilterError::new(format!("look at {}", base.display()), error)),
    }
    let mut names = names(base)?;
    names.sort_unstable();
    let versions = names.iter().map(|name| version(base, name)).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Pins { folder: base.display().to_string(), versions }))
}

fn version(base: &Path, name: &str) -> Result<Version, FilterError> {
    let at = base.join(name);
    let failed = |error| FilterError::new(format!("look at {}", at.display()), error);
    let found = std::fs::metadata(&at).map_err(failed)?;
    let interfaces = links(&at)?.into_iter().map(|(hook, index)| {
        let name = nix::net::if_::if_indextoname(index).ok();
        Interface { index, name: name.map(|name| name.to_string_lossy().into_owned()), hook: hook.name() }
    });
    let ours = at == folder(base);
    Ok(Version {
        name: name.into(),
        ours,
        complete: Facts::read(&at).is_ok_and(|facts| facts.is_some()),
        daemon: file_lock::holder(&at),
        owner: found.uid(),
        group: found.gid(),
        mode: format!("{:04o}", found.mode() & 0o7777),
        interfaces: interfaces.collect(),
        steering: at.join(STEER).exists(),
        addresses: if ours { addresses(&at).ok() } else { None },
        brokers: if ours { brokers(&at).ok() } else { None },
    })
}

fn addresses(at: &Path) -> Result<Vec<String>, FilterError> {
    let map: HashMap<MapData, Address, [u16; 2]> = take(&mut PinnedMaps(at), ADDRESSES)?;
    let entries = map.iter().filter_map(Result::ok);
    let mut told: Vec<_> =
        entries.map(|(address, [first, last])| format!("{} {first}-{last}", ip_address(address))).collect();
    told.sort_unstable();
    Ok(told)
}

fn brokers(at: &Path) -> Result<usize, FilterError> {
    let map: HashMap<MapData, BrokerKeyWords, SlotWords> = take(&mut PinnedMaps(at), BROKERS)?;
    let slots = map.iter().filter_map(Result::ok).map(|(_, words)| Slot::from_words(words));
    Ok(slots.filter(|slot| slot.state != EXCLUDED).count())
}
