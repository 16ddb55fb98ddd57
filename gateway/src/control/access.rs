//! Who may use the API: whoever shows the key.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::broker::ticket::random_hex;

/// The API key, as a hash: two hashes that are compared tell nothing about the key by the time it takes.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Reads the key from `path`; makes one of mode 0600 where there is none.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds no key.
    pub fn load(path: &Path) -> io::Result<Self> {
        kept(path).map(|key| Self::of(&key))
    }

    fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether `shown` is the key.
    pub fn is(&self, shown: &str) -> bool {
        Self::of(shown).0 == self.0
    }
}

/// A secret that is kept in the file `path`; makes one of mode 0600 where there is none.
///
/// # Errors
/// The file cannot be read or made, or holds nothing.
pub fn kept(path: &Path) -> io::Result<String> {
    let key = match std::fs::read_to_string(path) {
        Ok(key) => key,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random_hex::<32>()?;
            // Whole or not at all: a crash in between must not leave an empty key.
            let draft = path.with_extension("new");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(format!("{key}\n").as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, path)?;
            key
        }
        Err(error) => return Err(error),
    };
    match key.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "the file holds no key")),
        key => Ok(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.key");
        let key = Key::load(&path).expect("makes a key");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let written = std::fs::read_to_string(&path).expect("a key");
        assert!(key.is(written.trim()));
        assert!(Key::load(&path).expect("reads it").is(written.trim()));
        assert!(!key.is("") && !key.is(&written));
    }

    #[test]
    fn an_empty_key_opens_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.key");
        std::fs::write(&path, "\n").expect("writes");
        assert!(Key::load(&path).is_err());
    }
}
