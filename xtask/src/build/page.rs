//! The page: npm packages as the lock file says, and the bundle that gateway/build.rs embeds.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::{exec, workspace};

/// What npm or the build makes itself.
const MADE: [&str; 2] = ["node_modules", "dist"];

/// Builds the page, unless nothing has changed since: the daemon is built anew for a new page.
pub(crate) fn build() -> Result<()> {
    let folder = workspace::root().join("gateway/web");
    install_packages(&folder)?;
    let stamp = workspace::target().join("embed/page.stamp");
    let built = fs::metadata(&stamp).and_then(|meta| meta.modified()).ok();
    if folder.join("dist").exists()
        && built.is_some_and(|built| newest(&folder).is_ok_and(|newest| newest < built))
    {
        return Ok(());
    }
    exec::run(exec::command("npm").args(["run", "build"]).current_dir(&folder))?;
    fs::create_dir_all(workspace::target().join("embed"))?;
    fs::write(&stamp, "").with_context(|| format!("write {}", stamp.display()))
}

/// `npm ci`, unless the packages are there for this very lock file.
pub(crate) fn install_packages(folder: &Path) -> Result<()> {
    let lock = folder.join("package-lock.json");
    let lock = fs::read(&lock).with_context(|| format!("read {}", lock.display()))?;
    // Inside, so that it goes when someone removes the packages. A time would not do: a checkout of an
    // older lock file is newer than the packages.
    let copy = folder.join("node_modules/.lock-of-these");
    if fs::read(&copy).is_ok_and(|copy| copy == lock) {
        return Ok(());
    }
    exec::run(exec::command("npm").args(["ci", "--no-fund", "--no-audit"]).current_dir(folder))?;
    fs::create_dir_all(folder.join("node_modules"))?;
    fs::write(&copy, lock).with_context(|| format!("write {}", copy.display()))
}

/// When the youngest file or folder below changed; a folder changes when something in it is removed.
fn newest(folder: &Path) -> std::io::Result<SystemTime> {
    let mut newest = fs::metadata(folder)?.modified()?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if MADE.iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        let meta = entry.metadata()?;
        let changed = if meta.is_dir() { self::newest(&entry.path())? } else { meta.modified()? };
        newest = newest.max(changed);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_build_makes_does_not_count_as_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(&path, "").expect("written");
            fs::File::open(path).expect("there")
        };
        let future = SystemTime::now() + Duration::from_secs(600);
        file("dist/a.js").set_modified(future).expect("set");
        let source = file("src/a.js");
        assert!(newest(folder.path()).expect("readable") < future);
        source.set_modified(future).expect("set");
        assert_eq!(newest(folder.path()).expect("readable"), future);
    }
}
