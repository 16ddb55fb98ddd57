//! The file of a Unix socket: made where nothing is, or where a daemon that is gone has left its own, and
//! removed when the daemon stops.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why there is no socket at a path.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The folder is missing, or not to be read.
    #[error("open the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody makes a socket in this folder right now.
    #[error("another process has locked the folder {}", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A file of another kind has the name; it is not removed.
    #[error("there is a file of that name that is no socket")]
    NoSocket,
    /// Somebody listens there.
    #[error("another process listens there")]
    Live,
    /// Whether somebody listens there cannot be told.
    #[error("there is a socket that does not say whose it is: {0}")]
    Unclear(io::Error),
    /// The system refuses.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A socket's file. It is removed when this is dropped, if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens at `path`, with the permissions `mode`.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn bind(path: &Path, mode: u32) -> Result<(UnixListener, Self), SocketError> {
        // Two daemons that find the same stale file would remove each other's new one otherwise.
        let _lock = lock_folder(path.parent().unwrap_or(Path::new("/")))?;
        make_way(path)?;
        // The umask of the daemon leaves it to its own user until the next line.
        let listener = UnixListener::bind(path)?;
        let about = fs::symlink_metadata(path)?;
        let file = Self { path: path.to_owned(), identity: (about.dev(), about.ino()) };
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok((listener, file))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity);
        if is_ours {
            // A file that stays is replaced by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock_folder(path: &Path) -> Result<File, SocketError> {
    let folder = |source| SocketError::Folder { path: path.to_owned(), source };
    let lock = File::open(path).map_err(folder)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SocketError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(folder(error)),
    }
}

/// Removes a socket that nobody listens on any more.
fn make_way(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(about) if !about.file_type().is_socket() => return Err(SocketError::NoSocket),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Live),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        Err(error) => Err(SocketError::Unclear(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("api.sock")
        }

        fn bind(&self) -> Result<(UnixListener, SocketFile), SocketError> {
            SocketFile::bind(&self.path(), 0o640)
        }
    }

    #[test]
    fn it_is_there_while_it_is_used() {
        let place = Place::new();
        let (_listener, file) = place.bind().expect("binds");
        let mode = fs::metadata(place.path()).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(matches!(place.bind(), Err(SocketError::Live)));
        UnixStream::connect(place.path()).expect("still served");
        drop(file);
        assert!(!place.path().exists());
    }

    #[test]
    fn only_a_stale_socket_is_replaced() {
        let place = Place::new();
        drop(UnixListener::bind(place.path()).expect("binds"));
        let (_listener, _file) = place.bind().expect("replaces it");
        UnixStream::connect(place.path()).expect("is served");

        let place = Place::new();
        fs::write(place.path(), "kept").expect("writes");
        assert!(matches!(place.bind(), Err(SocketError::NoSocket)));
        assert_eq!(fs::read(place.path()).expect("a file"), b"kept");

        let (place, elsewhere) = (Place::new(), Place::new());
        drop(UnixListener::bind(elsewhere.path()).expect("binds"));
        std::os::unix::fs::symlink(elsewhere.path(), place.path()).expect("links");
        assert!(matches!(place.bind(), Err(SocketError::NoSocket)));
        assert!(elsewhere.path().exists());
    }

    #[test]
    fn what_came_after_it_is_not_removed() {
        let place = Place::new();
        let (listener, file) = place.bind().expect("binds");
        fs::remove_file(place.path()).expect("removes");
        let other = UnixListener::bind(place.path()).expect("binds");
        drop((listener, file));
        UnixStream::connect(place.path()).expect("the other one's");
        drop(other);
    }

    #[test]
    fn two_at_a_time_do_not_meet() {
        let place = Place::new();
        let _lock = lock_folder(place.0.path()).expect("locks");
        assert!(matches!(place.bind(), Err(SocketError::Busy { .. })));
        let nowhere = place.0.path().join("nowhere/api.sock");
        assert!(matches!(SocketFile::bind(&nowhere, 0o600), Err(SocketError::Folder { .. })));
    }
}
