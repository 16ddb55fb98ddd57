//! The machine's own package sources, read so that its backports can be asked for in a private file.
//! No I/O but in [`read_all`]. Formats: sources.list(5).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One entry for binary packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uris: String,
    pub(crate) suites: Vec<String>,
    pub(crate) components: String,
    /// Further fields, as deb822 names them, with their continuation lines: the key above all.
    pub(crate) options: Vec<(String, String)>,
}

/// All entries of the machine.
pub(crate) fn read_all() -> Vec<Source> {
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => sources.extend(parse_deb822(&text)),
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            _ => {}
        }
    }
    sources
}

/// A deb822 file with the entries for `codename` and, from the same place as the main one, its backports.
/// `None` if no entry serves `codename`.
pub(crate) fn with_backports(sources: &[Source], codename: &str) -> Option<String> {
    let backports = backports(codename);
    let main = sources.iter().find(|source| source.suites.iter().any(|suite| suite == codename))?;
    let mut wanted = serving(sources, codename);
    if !wanted.iter().any(|source| source.suites.contains(&backports)) {
        wanted.push(Source { suites: vec![backports], ..main.clone() });
    }
    Some(wanted.iter().map(Source::deb822).collect::<Vec<_>>().join("\n"))
}

/// Those that serve the release or one of its offshoots, such as its updates.
pub(crate) fn serving(sources: &[Source], codename: &str) -> Vec<Source> {
    let offshoot = format!("{codename}-");
    let serves = |suite: &String| suite == codename || suite.starts_with(&offshoot);
    sources.iter().filter(|source| source.suites.iter().any(serves)).cloned().collect()
}

/// The name of the backports suite of a release.
pub(crate) fn backports(codename: &str) -> String {
    format!("{codename}-backports")
}

impl Source {
    /// As sources.list(5) has it in files that end in `.sources`.
    pub(crate) fn deb822(&self) -> String {
        let suites = self.suites.join(" ");
        let mut text = format!("Types: deb\nURIs: {}\nSuites: {suites}\n", self.uris);
        if !self.components.is_empty() {
            let _ = writeln!(text, "Components: {}", self.components);
        }
        for (field, value) in &self.options {
            let _ = writeln!(text, "{field}: {value}");
        }
        text
    }
}

/// Stanzas are set apart by empty lines; a line that starts with a blank continues the field above.
pub(crate) fn parse_deb822(text: &str) -> Vec<Source> {
    let mut stanzas = vec![Vec::<(String, String)>::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields = stanzas.last_mut().expect("there is always one, see its start");
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((field, value)) = line.split_once(':') {
            fields.push((field.to_owned(), value.trim().to_owned()));
        }
    }
    stanzas.into_iter().filter_map(from_fields).collect()
}

fn from_fields(fields: Vec<(String, String)>) -> Option<Source> {
    let mut source =
        Source { uris: String::new(), suites: vec![], components: String::new(), options: vec![] };
    for (field, value) in fields {
        match field.to_ascii_lowercase().as_str() {
            "types" if !value.split_whitespace().any(|word| word == "deb") => return None,
            "enabled" if ["no", "false"].contains(&value.to_ascii_lowercase().as_str()) => return None,
            "types" | "enabled" => {}
            "uris" => source.uris = value,
            "suites" => source.suites = value.split_whitespace().map(str::to_owned).collect(),
            "components" => source.components = value,
            _ => source.options.push((field, value)),
        }
    }
    source.usable()
}

/// The older form: `deb [option=value ...] URI suite component...`.
pub(crate) fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default();
    let rest = line.trim().strip_prefix("deb")?;
    // `deb-src` has no blank here.
    let mut rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let mut options = Vec::new();
    if let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        options = inside.split_whitespace().filter_map(option).collect();
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uris, suite) = (words.next()?, words.next()?);
    let components = words.collect::<Vec<_>>().join(" ");
    Source { uris, suites: vec![suite], components, options }.usable()
}

/// `signed-by=FILE` is the field `Signed-By: FILE`; three options are named otherwise in deb822.
fn option(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let field = match name {
        "arch" => "Architectures",
        "lang" => "Languages",
        "target" => "Targets",
        other => other,
    };
    Some((field.to_owned(), value.replace(',', " ")))
}

impl Source {
    /// A disc cannot carry backports, and nobody may be there to put it in.
    fn usable(self) -> Option<Self> {
        let complete = !self.uris.is_empty() && !self.suites.is_empty();
        (complete && !self.uris.starts_with("cdrom:")).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb deb-src
# a remark inside
URIs: http://apt.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/key.gpg

Types: deb
URIs: http://apt.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://other.example/node
Suites: nodistro
Components: main
Enabled: no
";

    #[test]
    fn backports_come_from_where_the_release_comes_from() {
        let text = with_backports(&parse_deb822(DEB822), "bookworm").expect("the release is served");
        let sources = parse_deb822(&text);
        assert_eq!(sources.len(), 3);
        assert_eq!(sources[2].uris, "http://apt.example/debian");
        assert_eq!(sources[2].suites, ["bookworm-backports"]);
        assert_eq!(sources[2].components, "main");
        let key = ("Signed-By".to_owned(), "/usr/share/keyrings/key.gpg".to_owned());
        assert_eq!(sources[2].options, [key]);
        assert!(!text.contains("nodistro"));
    }

    #[test]
    fn backports_that_are_there_are_not_added_again() {
        let lines =
            ["deb http://a.example/debian bookworm main", "deb http://b.example/d bookworm-backports main"];
        let sources: Vec<_> = lines.into_iter().filter_map(parse_line).collect();
        let text = with_backports(&sources, "bookworm").expect("the release is served");
        assert_eq!(text.matches("bookworm-backports").count(), 1);
        assert_eq!(with_backports(&sources, "trixie"), None);
    }

    #[test]
    fn one_line_entries_keep_their_options() {
        let source =
            parse_line("deb [ arch=amd64,arm64 signed-by=/k.gpg ] http://a.example/d bookworm main contrib");
        let source = source.expect("an entry");
        assert_eq!(
            source.deb822().lines().collect::<Vec<_>>(),
            [
                "Types: deb",
                "URIs: http://a.example/d",
                "Suites: bookworm",
                "Components: main contrib",
                "Architectures: amd64 arm64",
                "signed-by: /k.gpg",
            ]
        );
        for other in
            ["deb-src http://a.example/d bookworm main", "# deb http://a.example/d x main", "", "deb"]
        {
            assert_eq!(parse_line(other), None, "{other}");
        }
        assert_eq!(parse_line("deb cdrom:[Debian 12]/ bookworm main"), None);
    }

    #[test]
    fn a_key_inside_the_entry_is_kept_whole() {
        let text = "Types: deb\nURIs: http://a.example/d\nSuites: bookworm\nComponents: main\nSigned-By:\n \
                    -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n";
        let copy = with_backports(&parse_deb822(text), "bookworm").expect("the release is served");
        assert_eq!(
            copy.matches("Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n").count(),
            2
        );
    }
}
