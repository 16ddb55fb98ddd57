//! Control sequences that a terminal answers (ECMA-48, and xterm's `ctlseqs`), or that reach beyond its screen.
//! Shown a second time they would be answered a second time, and the answer is input for the machine.

const ENQ: u8 = 0x05;
const BEL: u8 = 0x07;
const ESC: u8 = 0x1b;

/// `output` without them. What is not complete at its end stays.
pub fn remove(output: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(output.len());
    let mut rest = output;
    while let Some(&byte) = rest.first() {
        let (sequence, asks) = match byte {
            ENQ => (1, true),
            ESC => escape(rest),
            _ => (1, false),
        };
        if !asks {
            kept.extend(&rest[..sequence]);
        }
        rest = &rest[sequence..];
    }
    kept
}

/// Length of the sequence that `text` begins with, and whether it goes.
fn escape(text: &[u8]) -> (usize, bool) {
    match text.get(1) {
        Some(b'[') => control_sequence(text),
        Some(b']') => {
            let (len, content) = string(text);
            // 52 is the clipboard; all others ask by a question mark.
            (len, content.starts_with(b"52;") || content.windows(2).any(|pair| pair == b";?"))
        }
        // Device control: questions about settings, and pictures.
        Some(b'P') => match string(text) {
            (len, _) if len < text.len() || ends(text) => (len, true),
            (len, _) => (len, false),
        },
        // Identify yourself (DECID).
        Some(b'Z') => (2, true),
        _ => (1, false),
    }
}

/// ECMA-48 section 5.4: parameters, intermediates, and a final byte.
fn control_sequence(text: &[u8]) -> (usize, bool) {
    let body = &text[2..];
    let len = body.iter().position(|byte| !matches!(byte, 0x20..=0x3f)).unwrap_or(body.len());
    let Some(last) = body.get(len) else { return (text.len(), false) };
    let (first, before) = (body[..len].first(), body[..len].last());
    let asks = match last {
        // Attributes, status, parameters, window.
        b'c' | b'n' | b'x' | b't' => true,
        // Whether a mode is set; which program this is; how keys are told.
        b'p' => before == Some(&b'$'),
        b'q' => first == Some(&b'>'),
        b'u' => first == Some(&b'?'),
        _ => false,
    };
    (2 + len + 1, asks)
}

/// Length and content of a control string: up to BEL, or ESC and whatever follows (ECMA-48 section 5.6).
fn string(text: &[u8]) -> (usize, &[u8]) {
    let body = &text[2..];
    let end = body.iter().position(|byte| matches!(*byte, BEL | ESC)).unwrap_or(body.len());
    let mark = match body.get(end..) {
        Some([ESC, b'\\', ..]) => 2,
        Some([BEL, ..]) => 1,
        _ => 0,
    };
    (2 + end + mark, &body[..end])
}

fn ends(text: &[u8]) -> bool {
    text.ends_with(b"\x1b\\") || text.ends_with(&[BEL])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &[u8], kept: &[u8]) {
        assert_eq!(remove(output), kept, "{:?}", String::from_utf8_lossy(output));
    }

    #[test]
    fn what_a_terminal_would_answer_is_taken_out() {
        for question in [
            "\x1b[c",
            "\x1b[0c",
            "\x1b[>c",
            "\x1b[=c",
            "\x1b[5n",
            "\x1b[6n",
            "\x1b[?6n",
            "\x1b[x",
            "\x1b[18t",
            "\x1b[?2004$p",
            "\x1b[>q",
            "\x1b[?u",
            "\x1bZ",
            "\x05",
            "\x1b]11;?\x07",
            "\x1b]4;1;?\x1b\\",
            "\x1b]52;c;cm0gLXJm\x07",
            "\x1bP$qm\x1b\\",
            "\x1bP+q544e\x1b\\",
        ] {
            check(format!("a{question}b").as_bytes(), b"ab");
            check(question.as_bytes(), b"");
        }
    }

    #[test]
    fn what_a_terminal_shows_stays() {
        for shown in [
            "plain \u{e4}\u{4e2d}\r\n",
            "\x1b[1;31mred\x1b[0m",
            "\x1b[2J\x1b[H",
            "\x1b[?1049h",
            "\x1b[!p",
            "\x1b[1 q",
            "\x1b[s\x1b[u",
            "\x1b]0;a title\x07",
            "\x1b]0;a title\x1b\\x",
            "\x1b(B",
            "\x1b=",
            "\x1b",
            "\x1b[",
            "\x1b[12;",
            "\x1b]0;half",
            "\x1bP$q",
            "\x1b\x1b[1m",
        ] {
            check(shown.as_bytes(), shown.as_bytes());
        }
    }
}
