//! `kernel clean`: removes all pins, and with them filter and steering.

use std::path::Path;

use super::load::remove;
use super::{folder, lock, names};
use crate::kernel::filter::FilterError;

/// Removes everything below `base`, of all versions. Returns whether there was anything. Without `force` not
/// from under a daemon that uses it, whose consoles nobody would reach any more.
///
/// # Errors
/// Another loader or a daemon is there, or a file could not be removed.
pub fn clean(base: &Path, force: bool) -> Result<bool, FilterError> {
    if !base.exists() {
        return Ok(false);
    }
    let refused = |why| Err(FilterError::new(base.display().to_string(), why));
    let Some(_lock) = lock(base)? else { return refused("a loader is at work") };
    let present = folder(base);
    if !force && present.exists() && lock(&present)?.is_none() {
        return refused("a daemon uses these pins: stop it first, or say --force");
    }
    for version in names(base)? {
        remove(&base.join(version))?;
    }
    std::fs::remove_dir(base)
        .map_err(|error| FilterError::new(format!("remove {}", base.display()), error))?;
    Ok(true)
}
