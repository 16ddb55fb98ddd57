//! What /etc/os-release says about the system, see os-release(5).

use std::fs;

/// A field of it.
pub(crate) fn field(name: &str) -> Option<String> {
    parse(&fs::read_to_string("/etc/os-release").ok()?, name)
}

fn parse(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_read_with_and_without_quotes() {
        let text = "ID=debian\nVERSION=\"12 (bookworm)\"\nVERSION_ID=\"12\"\n";
        assert_eq!(super::parse(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(super::parse(text, "ID").as_deref(), Some("debian"));
        assert_eq!(super::parse(text, "VERSION_CODENAME"), None);
    }
}
