//! Files with a line `token: host:port` for each token, or folders of such files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing::warn;

use super::{Destination, LookupError, TokenPlugin};

/// Read again for each client, so that it may be changed.
pub struct TokenFile(PathBuf);

impl TokenFile {
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl TokenPlugin for TokenFile {
    fn find(&self, token: &str) -> Result<Option<Destination>, LookupError> {
        Ok(read(&self.0)?.remove(token))
    }
}

/// Read when the first client comes, and then no more.
pub struct ReadOnce {
    path: PathBuf,
    tokens: Mutex<Option<Tokens>>,
}

type Tokens = HashMap<String, Destination>;

impl ReadOnce {
    pub const fn new(path: PathBuf) -> Self {
        Self { path, tokens: Mutex::new(None) }
    }
}

impl TokenPlugin for ReadOnce {
    fn find(&self, token: &str) -> Result<Option<Destination>, LookupError> {
        // Whoever panicked with the lock had not changed anything.
        let mut tokens = self.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tokens.is_none() {
            *tokens = Some(read(&self.path)?);
        }
        Ok(tokens.as_ref().and_then(|tokens| tokens.get(token)).cloned())
    }
}

/// All tokens of a file, or of the files of a folder in the order of their names; the last line of two for the
/// same token counts.
fn read(path: &Path) -> Result<Tokens, LookupError> {
    let failed = |source| LookupError::Read { path: path.to_owned(), source };
    let mut tokens = Tokens::new();
    for file in files(path).map_err(failed)? {
        let text = fs::read(&file).map_err(|source| LookupError::Read { path: file.clone(), source })?;
        for (number, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            match parse(line) {
                Line::Nothing => {}
                Line::Token(token, destination) => drop(tokens.insert(token, destination)),
                // Without the line: a token is a secret.
                Line::Wrong => warn!(file = %file.display(), line = number + 1, "no token and target"),
            }
        }
    }
    Ok(tokens)
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

/// What a line of a token file says.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing: it is empty, or a comment.
    Nothing,
    /// Where a token leads.
    Token(String, Destination),
    /// What cannot be meant.
    Wrong,
}

/// A colon and white space divide token and target, once.
pub fn parse(line: &str) -> Line {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    let dividers =
        || line.match_indices(':').filter(|(at, _)| line[at + 1..].starts_with(char::is_whitespace));
    let (Some((at, _)), None) = (dividers().next(), dividers().nth(1)) else { return Line::Wrong };
    match Destination::parse(&line[at + 1..]) {
        Some(destination) => Line::Token(line[..at].to_owned(), destination),
        None => Line::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, meant: Option<(&str, &str)>) {
        let expected = meant.map_or(Line::Wrong, |(token, target)| {
            Line::Token(token.into(), Destination::parse(target).expect("a target"))
        });
        assert_eq!(parse(line), expected, "{line}");
    }

    #[test]
    fn lines_are_read() {
        for line in ["", "  \t", "# a: b:1", "  # c"] {
            assert_eq!(parse(line), Line::Nothing, "{line}");
        }
        check("a: host:1", Some(("a", "host:1")));
        check("  a:b:\thost:1 ", Some(("a:b", "host:1")));
        check("a:   ::1:5901", Some(("a", "::1:5901")));
        check("a: unix_socket:/run/x", Some(("a", "unix_socket:/run/x")));
        check("ä: host:1", Some(("ä", "host:1")));
        for line in ["a", "a:host:1", "a: host", "a: b: host:1", "a: host:port"] {
            check(line, None);
        }
    }

    #[test]
    fn one_is_read_again_and_the_other_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writes");
        let source = || folder.path().to_owned();
        let (once, again) = (ReadOnce::new(source()), TokenFile::new(source()));
        let found = |plugin: &dyn TokenPlugin, token: &str| {
            plugin.find(token).expect("a folder").map(|destination| destination.to_string())
        };
        put("1", "a: first:1\nb: first:2\nnonsense\n");
        put("2", "a: second:1\n");
        fs::create_dir(folder.path().join("0")).expect("a folder");
        assert_eq!(found(&once, "a").as_deref(), Some("second:1"));
        assert_eq!(found(&again, "b").as_deref(), Some("first:2"));
        assert_eq!(found(&again, "nonsense"), None);
        put("2", "c: third:1\n");
        assert_eq!(found(&once, "a").as_deref(), Some("second:1"));
        assert_eq!(found(&once, "c"), None);
        assert_eq!(found(&again, "a").as_deref(), Some("first:1"));
        assert_eq!(found(&again, "c").as_deref(), Some("third:1"));
    }

    #[test]
    fn a_file_that_is_not_there_is_said_and_may_come() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        for plugin in [&ReadOnce::new(path.clone()) as &dyn TokenPlugin, &TokenFile::new(path.clone())] {
            assert!(matches!(plugin.find("a"), Err(LookupError::Read { .. })));
        }
        let once = ReadOnce::new(path.clone());
        assert!(once.find("a").is_err());
        fs::write(&path, "a: host:1\n").expect("writes");
        assert!(once.find("a").expect("a file").is_some());
    }
}
