//! A folder of Unix sockets, of which the token names one.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use super::{Destination, LookupError, TokenPlugin};

pub struct Sockets(PathBuf);

impl Sockets {
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl TokenPlugin for Sockets {
    fn find(&self, token: &str) -> Result<Option<Destination>, LookupError> {
        let below = Path::new(token);
        // A token may name a folder below, and nothing outside.
        if token.is_empty() || !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return Ok(None);
        }
        let path = self.0.join(below);
        match fs::metadata(&path) {
            Ok(found) => Ok(found.file_type().is_socket().then_some(Destination::Unix(path))),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound
                        | ErrorKind::NotADirectory
                        | ErrorKind::InvalidInput
                        | ErrorKind::InvalidFilename
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(LookupError::Read { path: self.0.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_sockets_below_are_found() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = outside.path().join("vms");
        fs::create_dir_all(folder.join("deeper")).expect("a folder");
        // A folder whose name only begins alike.
        fs::create_dir(outside.path().join("vms-of-others")).expect("a folder");
        let names = ["vms/a", "vms/deeper/b", "vms-of-others/c", "d"];
        let _sockets = names.map(|name| UnixListener::bind(outside.path().join(name)).expect("a socket"));
        fs::write(folder.join("file"), "").expect("writes");
        let plugin = Sockets::new(folder.clone());
        for (token, found) in [
            ("a", true),
            ("deeper/b", true),
            ("file", false),
            ("deeper", false),
            ("a/x", false),
            ("none", false),
            ("", false),
            (".", false),
            ("../d", false),
            ("../vms-of-others/c", false),
            ("/etc/passwd", false),
            ("a\0", false),
        ] {
            let destination = plugin.find(token).expect("a folder");
            let meant = found.then(|| Destination::Unix(folder.join(token)));
            assert_eq!(destination, meant, "{token:?}");
        }
        assert_eq!(Sockets::new("/none/such".into()).find("a").expect("nothing"), None);
    }
}
