//! A folder in which a file's name is the token, and its content `host:port`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::{Destination, LookupError, PluginError, TokenPlugin};

pub struct TokenFileName(PathBuf);

impl TokenFileName {
    pub fn new(path: PathBuf) -> Result<Self, PluginError> {
        if path.is_dir() {
            return Ok(Self(path));
        }
        let source_text = path.display().to_string();
        Err(PluginError::WrongSource { class: "TokenFileName", source_text, wanted: "a folder" })
    }
}

impl TokenPlugin for TokenFileName {
    fn find(&self, token: &str) -> Result<Option<Destination>, LookupError> {
        // What stands behind the last slash, as `basename` has it; no way leads out of the folder.
        let name = token.rsplit('/').next().unwrap_or_default();
        if !matches!(Path::new(name).components().next(), Some(Component::Normal(_))) {
            return Ok(None);
        }
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            // Without the file's name: it is the token.
            Ok(text) => Destination::parse(text.trim())
                .map(Some)
                .ok_or_else(|| LookupError::Nonsense { whom: format!("a file in {}", self.0.display()) }),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound
                        | ErrorKind::IsADirectory
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
    use super::*;

    #[test]
    fn a_name_is_a_token() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = outside.path().join("tokens");
        fs::create_dir_all(folder.join("deeper")).expect("a folder");
        fs::write(folder.join("a"), "host:1\n").expect("writes");
        fs::write(folder.join("six"), "::1:5901").expect("writes");
        fs::write(folder.join("bad"), "nothing").expect("writes");
        fs::write(outside.path().join("secret"), "host:2").expect("writes");
        let plugin = TokenFileName::new(folder).expect("a folder");
        for (token, target) in [
            ("a", Some("host:1")),
            ("six", Some("[::1]:5901")),
            ("x/../a", Some("host:1")),
            ("none", None),
            ("deeper", None),
            ("", None),
            (".", None),
            ("..", None),
            ("a/", None),
            ("../secret", None),
            ("a\0", None),
        ] {
            let found = plugin.find(token).expect("a folder").map(|found| found.to_string());
            assert_eq!(found.as_deref(), target, "{token:?}");
        }
        let long = "x".repeat(5000);
        assert!(plugin.find(&long).expect("a folder").is_none());
        let error = plugin.find("bad").expect_err("no target").to_string();
        assert!(!error.contains("bad"), "{error}");
        assert!(TokenFileName::new("/none/such".into()).is_err());
    }
}
