//! Commands for terminals: `[terminals.commands.NAME]`.

use std::collections::HashMap;

use serde::Deserialize;

use super::{ConfigError, wrong};

/// A command that instances may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The program, by its whole path, and its arguments.
    pub words: Vec<Word>,
    /// Who runs it; `None` for the daemon's own user.
    pub user: Option<String>,
    /// The one group of that user; `None` for its first.
    pub group: Option<String>,
}

/// A word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// As it is.
    Fixed(String),
    /// That argument of the instance, from 0.
    Argument(usize),
}

/// Most arguments that an instance fills in: a placeholder has one digit.
pub const ARGUMENTS_MAX: usize = 9;

impl Word {
    /// `{1}` to `{9}` is an argument; anything else without braces is itself.
    pub fn read(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [b'{', digit @ b'1'..=b'9', b'}'] => Some(Self::Argument(usize::from(digit - b'1'))),
            // Half of an argument that comes from elsewhere is what makes options of names.
            _ if text.contains(['{', '}', '\0']) => None,
            _ => Some(Self::Fixed(text.to_owned())),
        }
    }

    /// How many arguments `words` take.
    pub fn arguments(words: &[Self]) -> usize {
        let ends = words.iter().map(|word| if let Self::Argument(index) = word { index + 1 } else { 0 });
        ends.max().unwrap_or(0)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCommand {
    command: Vec<String>,
    user: Option<String>,
    group: Option<String>,
}

const KEY: &str = "terminals.commands";

/// What the commands of the configuration mean, by their names. `root` is whether the daemon is.
pub(super) fn meant(
    raw: HashMap<String, RawCommand>,
    root: bool,
) -> Result<HashMap<String, Template>, ConfigError> {
    raw.into_iter()
        .map(|(name, raw)| {
            let template = template(&raw, root).map_err(|problem| wrong(KEY, &name, problem))?;
            Ok((name, template))
        })
        .collect()
}

fn template(RawCommand { command, user, group }: &RawCommand, root: bool) -> Result<Template, String> {
    let word = |text: &String| {
        Word::read(text).ok_or_else(|| format!("{text:?}: braces are for whole words, {{1}} to {{9}}"))
    };
    let words = command.iter().map(word).collect::<Result<Vec<_>, _>>()?;
    if !matches!(words.first(), Some(Word::Fixed(program)) if program.starts_with('/')) {
        return Err("command begins with the whole path of a program".to_owned());
    }
    let used = |index| words.contains(&Word::Argument(index));
    if let Some(index) = (0..Word::arguments(&words)).find(|index| !used(*index)) {
        return Err(format!("{{{}}} is missing", index + 1));
    }
    if group.is_some() && user.is_none() {
        return Err("group needs user".to_owned());
    }
    if root && user.is_none() {
        return Err(
            "name the user that it runs as; the gateway is root here, and \"root\" has to be said".to_owned()
        );
    }
    Ok(Template { words, user: user.clone(), group: group.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &[&str], more: &str, root: bool, expected: Result<usize, &str>) {
        let text = format!("command = {command:?}\n{more}");
        let raw: RawCommand = toml::from_str(&text).expect("TOML");
        let read = template(&raw, root).map(|template| Word::arguments(&template.words));
        match (read, expected) {
            (Ok(arguments), Ok(wanted)) => assert_eq!(arguments, wanted, "{text}"),
            (Err(problem), Err(wanted)) => assert!(problem.contains(wanted), "{text}: {problem}"),
            (read, _) => panic!("{text}: {read:?}"),
        }
    }

    #[test]
    fn arguments_stand_alone() {
        check(&["/bin/x"], "", false, Ok(0));
        check(&["/bin/x", "-n", "{1}"], "", false, Ok(1));
        check(&["/bin/x", "{2}", "{1}", "{2}"], "", false, Ok(2));
        check(&["/bin/x", "--name={1}"], "", false, Err("braces are for whole words"));
        check(&["/bin/x", "{0}"], "", false, Err("braces"));
        check(&["/bin/x", "{10}"], "", false, Err("braces"));
        check(&["/bin/x", "{2}"], "", false, Err("{1} is missing"));
        check(&["{1}"], "", false, Err("the whole path of a program"));
        check(&["x"], "", false, Err("the whole path of a program"));
        check(&[], "", false, Err("the whole path of a program"));
    }

    #[test]
    fn whose_it_is_has_to_be_said_by_root() {
        check(&["/bin/x"], "", true, Err("name the user"));
        check(&["/bin/x"], "user = \"root\"", true, Ok(0));
        check(&["/bin/x"], "user = \"a\"\ngroup = \"b\"", true, Ok(0));
        check(&["/bin/x"], "group = \"b\"", false, Err("group needs user"));
    }
}
