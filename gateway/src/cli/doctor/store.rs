//! The state folder: there or to be made, writable, with room, and whose it is now.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use crate::config::Config;
use crate::file_lock;

use super::Check;

/// Below this the next burst of brokers may not be recorded.
const ROOM_MIB: u64 = 64;

pub fn check(config: &Config, daemon: Option<u32>) -> Check {
    const NAME: &str = "store";
    let folder = &config.state_dir;
    let shown = folder.display();
    let Some(there) = folder.ancestors().find(|path| path.exists()) else {
        return Check::missing(NAME, format!("no {shown}"), "name a folder: state_dir");
    };
    if let Some(wrong) = not_writable(there) {
        let remedy = "run as the daemon's user, give it the folder (chown), or name another: state_dir";
        return Check::missing(NAME, wrong, remedy);
    }
    let room = match statvfs(there) {
        Ok(about) => about.blocks_available().saturating_mul(about.fragment_size()) >> 20,
        Err(error) => return Check::degraded(NAME, format!("{}: {error}", there.display()), "ask with `df`"),
    };
    let state = match daemon {
        _ if there != folder => "is made at the first start".to_owned(),
        Some(id) => format!("in use by the daemon that runs, process {id}"),
        None => "not in use".to_owned(),
    };
    let seen = format!("{shown}, {state}, {room} MiB free");
    if room < ROOM_MIB {
        return Check::degraded(NAME, seen, format!("make room: at least {ROOM_MIB} MiB"));
    }
    Check::ok(NAME, seen)
}

/// What of the folder at `there` this user may not write.
fn not_writable(there: &Path) -> Option<String> {
    if !there.is_dir() {
        return Some(format!("{} is no folder", there.display()));
    }
    let files =
        ["store.db", "store.db-begun-0", "store.db-begun-1", "api.key", "lock"].map(|name| there.join(name));
    let mut paths = std::iter::once(there.to_owned()).chain(files.into_iter().filter(|file| file.exists()));
    paths.find_map(|path| {
        let folder = if path.is_dir() { AccessFlags::X_OK } else { AccessFlags::empty() };
        let error = access(&path, AccessFlags::R_OK | AccessFlags::W_OK | folder).err()?;
        Some(format!("{}: not for this user: {error}", path.display()))
    })
}

/// The process that has locked the state folder.
pub fn daemon(folder: &Path) -> Option<u32> {
    file_lock::holder(&folder.join("lock"))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use std::fs;

    use super::*;

    #[test]
    fn a_held_lock_shows_and_is_let_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(daemon(folder.path()), None);
        let lock = fs::File::create(folder.path().join("lock")).expect("makes it");
        assert_eq!(daemon(folder.path()), None);
        lock.lock().expect("locks");
        assert_eq!(daemon(folder.path()), Some(std::process::id()));
    }

    #[test]
    fn a_folder_is_there_or_can_be_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = |path: &Path| {
            let text = format!("addresses = [\"127.0.80.1\"]\nstate_dir = {path:?}\n");
            Config::parse(&text, |_| None).expect("is sound")
        };
        assert_eq!(check(&config(folder.path()), None).state, State::Ok);
        let made = check(&config(&folder.path().join("a/b")), None);
        assert!(made.state == State::Ok && made.seen.contains("is made at the first start"), "{made:?}");
        assert!(!folder.path().join("a").exists());
        let file = folder.path().join("file");
        fs::write(&file, "").expect("writes");
        assert_eq!(check(&config(&file), None).state, State::Missing);
    }
}
