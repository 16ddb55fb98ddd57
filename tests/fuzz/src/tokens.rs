//! Token files of websockify: what is around a line says nothing, and a token stands in its line as it is.

use portcullis::websockify::token::{Line, parse_line};

/// Any file.
pub fn run(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        let said = parse_line(line);
        assert_eq!(said, parse_line(line.trim()));
        if let Line::Token(token, _) = said {
            assert!(line.trim().strip_prefix(&token).is_some_and(|rest| rest.starts_with(':')));
        }
    }
}
