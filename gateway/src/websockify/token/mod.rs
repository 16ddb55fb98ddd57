//! What a token stands for: one file per way to know, each with the name that `websockify` has for it.

mod file;
mod file_name;
mod http;
mod jwe;
mod jwt;
mod redis;
mod sockets;

use std::io;
use std::path::{PathBuf, absolute};

use super::destination::Destination;

pub use file::{Line, parse as parse_line};

/// A way to know.
pub trait TokenPlugin: Send + Sync {
    /// Where `token` leads; `None` where it leads nowhere. May block.
    ///
    /// # Errors
    /// Whoever knows could not be asked, or answered what cannot be meant.
    fn find(&self, token: &str) -> Result<Option<Destination>, LookupError>;
}

/// Why it is not known where a token leads. No message has the token in it, or a password.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// A file cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file, or the folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A service does not answer.
    #[error("ask {whom}: {why}")]
    Ask {
        /// The service.
        whom: String,
        /// What it or the system said.
        why: String,
    },
    /// What it leads to is no target.
    #[error("{whom} names no target")]
    Nonsense {
        /// The file or service.
        whom: String,
    },
    /// The key is none.
    #[error("{}: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

/// Why there is no such plug-in.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The name is none of those that are known.
    #[error("{what} {class}: a Python class cannot be used here; there are {}", known.join(", "))]
    Unknown {
        /// `--token-plugin` or `--auth-plugin`.
        what: &'static str,
        /// As it was named.
        class: String,
        /// All that there are.
        known: &'static [&'static str],
    },
    /// It cannot be without.
    #[error("{class} needs {option}")]
    NoSource {
        /// The plug-in.
        class: &'static str,
        /// The option that is missing.
        option: &'static str,
    },
    /// What it is to work with cannot be that.
    #[error("{class}: {source_text:?} is not {wanted}")]
    WrongSource {
        /// The plug-in.
        class: &'static str,
        /// As it was written; never one with a password in it.
        source_text: String,
        /// What would be right.
        wanted: &'static str,
    },
}

/// Their names.
pub const KNOWN: [&str; 8] = [
    "ReadOnlyTokenFile",
    "TokenFile",
    "TokenFileName",
    "BaseTokenAPI",
    "JSONTokenApi",
    "JWTTokenApi",
    "TokenRedis",
    "UnixDomainSocketDirectory",
];

/// The plug-in of that name, with or without its Python module before it, for `source`.
///
/// # Errors
/// See [`PluginError`].
pub fn plugin(class: &str, source: Option<&str>) -> Result<Box<dyn TokenPlugin>, PluginError> {
    let name = class.strip_prefix("websockify.token_plugins.").unwrap_or(class);
    let known = KNOWN.iter().copied().find(|known| *known == name);
    let unknown = || PluginError::Unknown { what: "--token-plugin", class: class.to_owned(), known: &KNOWN };
    let class = known.ok_or_else(unknown)?;
    let source = source.ok_or(PluginError::NoSource { class, option: "--token-source" })?;
    // Found from the background too, where the folder is another; an empty one is found nowhere.
    let path = absolute(source).unwrap_or_default();
    Ok(match class {
        "ReadOnlyTokenFile" => Box::new(file::ReadOnce::new(path)),
        "TokenFile" => Box::new(file::TokenFile::new(path)),
        "TokenFileName" => Box::new(file_name::TokenFileName::new(path)?),
        "BaseTokenAPI" => Box::new(http::Api::new(class, source, http::text)?),
        "JSONTokenApi" => Box::new(http::Api::new(class, source, http::json)?),
        "JWTTokenApi" => Box::new(jwt::Jwt::new(path)),
        "TokenRedis" => Box::new(redis::Redis::new(source)?),
        _ => Box::new(sockets::Sockets::new(path)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_plug_in() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in KNOWN {
            let source = match name {
                "BaseTokenAPI" | "JSONTokenApi" => "http://127.0.0.1/%s",
                "TokenRedis" => "127.0.0.1",
                _ => folder.path().to_str().expect("a path"),
            };
            for name in [name.to_owned(), format!("websockify.token_plugins.{name}")] {
                assert!(plugin(&name, Some(source)).is_ok(), "{name}");
                assert!(matches!(plugin(&name, None), Err(PluginError::NoSource { .. })), "{name}");
            }
        }
        for name in ["mine.Plugin", "BasePlugin", ""] {
            let error = plugin(name, Some("x")).err().expect("there is none");
            assert!(error.to_string().contains("Python class"), "{error}");
        }
    }
}
