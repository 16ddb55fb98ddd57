//! Consoles on the gateway's own machine: a Unix socket, or a command in a terminal. Values only; what they lead
//! to is in `relay::target`.

use std::path::{Component, Path};

use super::Protocol;

/// Where a console is, if not at a host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// A Unix socket, by its path under `targets.unix_root`.
    Socket(String),
    /// A command of `terminals.commands`.
    Command(CommandLine),
}

/// A command that an instance names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommandLine {
    /// Its name.
    pub name: String,
    /// What it fills in, each a whole argument.
    pub arguments: Vec<String>,
}

/// Longest argument and name of a command, in bytes.
pub const ARGUMENT_MAX: usize = 128;
/// Longest path under `targets.unix_root`: what the kernel takes of a path as a whole (unix(7)).
pub const PATH_MAX: usize = 107;

/// Letters, digits, and `.`, `_`, `-`; the first is a letter or a digit, so that none is an option or a path.
fn is_argument(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= ARGUMENT_MAX
        && text.bytes().all(sound)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A path that stays below where it begins, written in one way only.
fn is_below(text: &str) -> bool {
    let path = Path::new(text);
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    let written = path.components().map(|part| part.as_os_str().len() + 1).sum::<usize>() == text.len() + 1;
    !text.is_empty() && text.len() <= PATH_MAX && normal && written && !text.contains('\0')
}

/// The same as API and store write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// A Unix socket.
    pub path: Option<String>,
    /// A command.
    pub command: Option<String>,
    /// Its arguments, as a JSON array.
    pub arguments: Option<String>,
}

impl Columns {
    /// Of a command with `arguments`, if there are any.
    pub fn new(path: Option<String>, command: Option<String>, arguments: &[String]) -> Self {
        let arguments = (!arguments.is_empty()).then(|| serde_json::json!(arguments).to_string());
        Self { path, command, arguments }
    }

    /// The arguments, one by one.
    ///
    /// # Errors
    /// What was written by another program, and is none.
    pub fn arguments(&self) -> Result<Vec<String>, String> {
        let parse = |text: &String| {
            serde_json::from_str(text).map_err(|_| "graphics_arguments is no list".to_owned())
        };
        self.arguments.as_ref().map_or_else(|| Ok(Vec::new()), parse)
    }

    /// Whether the console is at a host and port.
    pub const fn is_elsewhere(&self) -> bool {
        self.path.is_none() && self.command.is_none() && self.arguments.is_none()
    }

    /// What they mean for a console that speaks `protocol`; `None` is a host and port.
    ///
    /// # Errors
    /// What cannot be meant.
    pub fn meant(&self, protocol: Protocol) -> Result<Option<Local>, String> {
        let arguments = self.arguments()?;
        match (&self.path, &self.command) {
            (None, None) if self.arguments.is_none() => Ok(None),
            (None, None) => Err("graphics_arguments needs graphics_command".to_owned()),
            (Some(_), Some(_)) => Err("graphics_path or graphics_command, not both".to_owned()),
            (Some(_), None) if !arguments.is_empty() => {
                Err("graphics_arguments needs graphics_command".to_owned())
            }
            (Some(path), None) if is_below(path) => Ok(Some(Local::Socket(path.clone()))),
            (Some(path), None) => Err(format!("graphics_path {path:?} is no path below targets.unix_root")),
            (None, Some(_)) if !protocol.is_terminal() => {
                Err(format!("graphics_command is for serial and container, not for {protocol}"))
            }
            (None, Some(name)) => {
                if let Some(wrong) = arguments.iter().chain([name]).find(|text| !is_argument(text)) {
                    let sound = "letters, digits, and after the first also . _ -";
                    return Err(format!("{wrong:?} is no argument: {sound}, at most {ARGUMENT_MAX}"));
                }
                Ok(Some(Local::Command(CommandLine { name: name.clone(), arguments })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, command: &str, arguments: &[&str], expected: Result<Option<Local>, &str>) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let columns = Columns::new(some(path), some(command), &arguments);
        match (columns.meant(Protocol::Container), expected) {
            (Ok(meant), Ok(expected)) => assert_eq!(meant, expected),
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
            (meant, _) => panic!("{path} {command} {arguments:?}: {meant:?}"),
        }
    }

    #[test]
    fn paths_stay_below_their_root() {
        for path in ["console.sock", "i-1/serial0", "a..b/.hidden"] {
            check(path, "", &[], Ok(Some(Local::Socket(path.into()))));
        }
        for path in
            ["/etc/x", "..", "../x", "a/../../x", "a/./b", "a//b", "a/", "./a", "a\0b", &"x".repeat(108)]
        {
            check(path, "", &[], Err("is no path below"));
        }
    }

    #[test]
    fn arguments_are_names_and_nothing_else() {
        let line = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
            Ok(Some(Local::Command(CommandLine { name: "lxc".into(), arguments })))
        };
        for argument in ["c1", "i-8snyruit", "web_1.example", "7"] {
            check("", "lxc", &[argument], line(&[argument]));
        }
        check("", "lxc", &[], line(&[]));
        for argument in
            ["", "-n", "--rm", ".", "/bin/sh", "a b", "a;b", "$x", "a\n", "\u{e4}", "{1}", "a/b", "a=b"]
        {
            check("", "lxc", &[argument], Err("is no argument"));
        }
        check("", "-x", &[], Err("is no argument"));
        check("", "lxc", &[&"x".repeat(ARGUMENT_MAX + 1)], Err("is no argument"));
    }

    #[test]
    fn one_place_is_meant() {
        check("", "", &[], Ok(None));
        check("a", "b", &[], Err("not both"));
        check("", "", &["a"], Err("needs graphics_command"));
        check("a", "", &["a"], Err("needs graphics_command"));
        let command = Columns::new(None, Some("lxc".into()), &[]);
        assert!(command.meant(Protocol::Serial).is_ok() && command.meant(Protocol::Vnc).is_err());
    }
}
