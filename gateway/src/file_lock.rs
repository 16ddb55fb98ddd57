//! Locks on files and folders, one process at a time (flock(2)).

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Opens and locks what is at `path`; `None` if another has locked it. Given back when dropped, and when the
/// process ends.
///
/// # Errors
/// It cannot be opened or locked.
pub fn take(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process that has locked what is at `path`. To try the lock could keep somebody who starts just now from
/// it, so the kernel's list is read instead.
pub fn holder(path: &Path) -> Option<u32> {
    find(&fs::read_to_string("/proc/locks").ok()?, fs::metadata(path).ok()?.ino())
}

/// Who holds a lock as `flock` makes it on the file `inode`, from /proc/locks (proc_locks(5)). The device
/// is not compared: file systems in layers give another one there than here.
fn find(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, id, place, ..] = words[..] else { return None };
        (place.rsplit_once(':')?.1.parse() == Ok(inode)).then(|| id.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let locks = "\
1: POSIX  ADVISORY  READ  700 00:23:42 128 128
2: FLOCK  ADVISORY  WRITE 812 fe:01:4711 0 EOF
2: -> FLOCK  ADVISORY  WRITE 813 fe:01:4711 0 EOF
";
        assert_eq!(find(locks, 4711), Some(812));
        assert_eq!(find(locks, 42), None);
        assert_eq!(find("", 4711), None);
    }

    #[test]
    fn a_lock_is_taken_once_and_given_back() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(holder(folder.path()), None);
        let lock = take(folder.path()).expect("opens").expect("is free");
        assert!(take(folder.path()).expect("opens").is_none());
        assert_eq!(holder(folder.path()), Some(std::process::id()));
        drop(lock);
        assert!(take(folder.path()).expect("opens").is_some());
    }
}
