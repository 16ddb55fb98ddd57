//! What stands in the way of a Unix socket for API or metrics.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// In a clause; `None` where nothing does. `listening` is the text of /proc/net/unix (proc(5)); `daemon` says
/// that ours runs, and then what listens there is its own.
pub fn in_the_way(path: &Path, listening: &str, daemon: bool) -> Option<String> {
    let name = path.display();
    let folder = path.parent().unwrap_or(path);
    if !folder.is_dir() {
        return Some(format!("there is no folder {}", folder.display()));
    }
    let about = fs::symlink_metadata(path).ok()?;
    if !about.file_type().is_socket() {
        return Some(format!("{name} is no socket"));
    }
    (listens(path, listening) && !daemon).then(|| format!("another process listens on {name}"))
}

/// A stale socket has a file, and no line with this flag.
fn listens(path: &Path, table: &str) -> bool {
    const ACCEPTS: &str = "00010000";
    table.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(3) == Some(&ACCEPTS) && words.get(7).is_some_and(|named| Path::new(named) == path)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_in_the_way_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.sock");
        let look = |path: &Path, daemon| {
            let table = fs::read_to_string("/proc/net/unix").expect("a table");
            in_the_way(path, &table, daemon)
        };
        assert_eq!(look(&path, false), None);
        let listener = UnixListener::bind(&path).expect("binds");
        assert!(look(&path, false).is_some_and(|seen| seen.starts_with("another process listens on ")));
        assert_eq!(look(&path, true), None);
        // What a daemon that is gone has left is replaced.
        drop(listener);
        assert_eq!(look(&path, false), None);
        let file = folder.path().join("notes");
        fs::write(&file, "").expect("writes");
        assert!(look(&file, false).is_some_and(|seen| seen.ends_with("notes is no socket")));
        assert!(look(&file.join("x"), false).is_some_and(|seen| seen.starts_with("there is no folder ")));
    }
}
