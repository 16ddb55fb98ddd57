//! Telnet (RFC 854) as serial servers speak it, without I/O: what they ask is answered within limits, and taken
//! out of what they say. Whether a target speaks it is told by its first bytes; one that does not is left as it is.

use crate::broker::session::Size;

/// "Interpret as command", and the commands (RFC 854, "Telnet command structure").
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

/// Options: RFC 856, 857, 858, 1091 and 1073.
const BINARY: u8 = 0;
const ECHO: u8 = 1;
const SUPPRESS_GO_AHEAD: u8 = 3;
const TERMINAL_TYPE: u8 = 24;
const WINDOW_SIZE: u8 = 31;

/// What the target may do, and what we do, if it is asked for.
const THEIRS: [u8; 3] = [BINARY, ECHO, SUPPRESS_GO_AHEAD];
const OURS: [u8; 4] = [BINARY, SUPPRESS_GO_AHEAD, TERMINAL_TYPE, WINDOW_SIZE];

/// Subcommands of [`TERMINAL_TYPE`], and our answer.
const IS: u8 = 0;
const SEND: u8 = 1;
const TERMINAL: &[u8] = b"XTERM-256COLOR";

/// Longest subnegotiation, in bytes; all that has a meaning here is much shorter.
const SUBNEGOTIATION_MAX: usize = 1024;
/// So many questions are answered, and no more: peers that answer each other's answers come to an end.
const ANSWERS_MAX: usize = 128;

/// A subnegotiation without an end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subnegotiation of telnet is longer than {SUBNEGOTIATION_MAX} bytes")]
pub struct Endless;

/// One connection to a target that may speak telnet.
#[derive(Debug, Default)]
pub struct Telnet {
    step: Step,
    /// Options that are in force on either side, by their numbers.
    theirs: u32,
    ours: u32,
    answers: Vec<u8>,
    answered: usize,
    size: Option<Size>,
}

/// What the last byte was.
#[derive(Debug, Default)]
enum Step {
    /// There was none.
    #[default]
    First,
    /// The target speaks no telnet.
    Raw,
    /// Data.
    Data,
    /// A carriage return, behind which the network virtual terminal has a NUL.
    Return,
    /// IAC; the very first byte if so it says.
    Command { first: bool },
    /// WILL, WONT, DO or DONT.
    Option(u8),
    /// Inside of a subnegotiation: its bytes, and whether the last was IAC.
    Subnegotiation(Vec<u8>, bool),
}

impl Telnet {
    /// Takes in `bytes` of the target; what is for the client stands at their beginning then. Returns how much.
    ///
    /// # Errors
    /// See [`Endless`].
    pub fn hear(&mut self, bytes: &mut [u8]) -> Result<usize, Endless> {
        let mut kept = 0;
        for at in 0..bytes.len() {
            if matches!(self.step, Step::Raw) {
                bytes.copy_within(at.., kept);
                return Ok(kept + bytes.len() - at);
            }
            let byte = bytes[at];
            if self.hear_byte(byte)? {
                bytes[kept] = byte;
                kept += 1;
            }
        }
        Ok(kept)
    }

    /// Returns whether the byte is for the client.
    fn hear_byte(&mut self, byte: u8) -> Result<bool, Endless> {
        let (step, is_data) = match (std::mem::take(&mut self.step), byte) {
            (Step::First, IAC) => (Step::Command { first: true }, false),
            (Step::First | Step::Raw, _) => (Step::Raw, true),
            (Step::Return, 0) => (Step::Data, false),
            (Step::Data | Step::Return, IAC) => (Step::Command { first: false }, false),
            (Step::Data | Step::Return, b'\r') if !is_on(self.theirs, BINARY) => (Step::Return, true),
            (Step::Data | Step::Return, _) => (Step::Data, true),
            (Step::Command { .. }, WILL..=DONT) => (Step::Option(byte), false),
            (Step::Command { .. }, SB) => (Step::Subnegotiation(Vec::new(), false), false),
            // A line that is switched on says this, and no server begins so.
            (Step::Command { first: true }, _) => (Step::Raw, true),
            (Step::Command { first: false }, _) => (Step::Data, byte == IAC),
            (Step::Option(command), option) => {
                self.negotiate(command, option);
                (Step::Data, false)
            }
            (Step::Subnegotiation(told, true), SE) => {
                self.subnegotiate(&told);
                (Step::Data, false)
            }
            (Step::Subnegotiation(told, false), IAC) => (Step::Subnegotiation(told, true), false),
            (Step::Subnegotiation(mut told, _), _) => {
                if told.len() == SUBNEGOTIATION_MAX {
                    return Err(Endless);
                }
                told.push(byte);
                (Step::Subnegotiation(told, false), false)
            }
        };
        self.step = step;
        Ok(is_data)
    }

    /// Agrees to what is known, refuses all else, and says nothing where nothing changes (RFC 854, "General
    /// considerations").
    fn negotiate(&mut self, command: u8, option: u8) {
        let (side, known, yes, no) = match command {
            WILL | WONT => (&mut self.theirs, THEIRS.contains(&option), DO, DONT),
            _ => (&mut self.ours, OURS.contains(&option), WILL, WONT),
        };
        let was_on = is_on(*side, option);
        match command {
            WILL | DO if known && !was_on => {
                *side |= 1 << option;
                self.answer(&[IAC, yes, option]);
                if command == DO && option == WINDOW_SIZE {
                    self.tell_size();
                }
            }
            WILL | DO if !known => self.answer(&[IAC, no, option]),
            WONT | DONT if was_on => {
                *side &= !(1 << option);
                self.answer(&[IAC, no, option]);
            }
            _ => {}
        }
    }

    fn subnegotiate(&mut self, told: &[u8]) {
        if told == [TERMINAL_TYPE, SEND] && is_on(self.ours, TERMINAL_TYPE) {
            self.answer(&[&[IAC, SB, TERMINAL_TYPE, IS], TERMINAL, &[IAC, SE]].concat());
        }
    }

    fn answer(&mut self, answer: &[u8]) {
        if self.answered < ANSWERS_MAX {
            self.answered += 1;
            self.answers.extend(answer);
        }
    }

    /// The client's window has this size.
    pub fn resize(&mut self, size: Size) {
        self.size = Some(size);
        if is_on(self.ours, WINDOW_SIZE) {
            self.tell_size();
        }
    }

    /// RFC 1073. Not counted as an answer: it is the client who asks for it.
    fn tell_size(&mut self) {
        let Some(Size { columns, rows }) = self.size else { return };
        self.answers.extend([IAC, SB, WINDOW_SIZE]);
        for byte in [columns.to_be_bytes(), rows.to_be_bytes()].concat() {
            self.answers.extend(std::iter::repeat_n(byte, if byte == IAC { 2 } else { 1 }));
        }
        self.answers.extend([IAC, SE]);
    }

    /// What has to be written to the target before anything else. Whoever writes takes it away.
    pub const fn answers(&mut self) -> &mut Vec<u8> {
        &mut self.answers
    }

    /// How many bytes at the beginning of `bytes`, which the client sends, go to the target as they are.
    pub fn plain(&self, bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| self.stuffed(*byte).is_some()).unwrap_or(bytes.len())
    }

    /// What goes to the target instead of `byte`, if not itself: two for each IAC, and a NUL behind a return,
    /// which is what the return key is on the network virtual terminal.
    pub fn stuffed(&self, byte: u8) -> Option<[u8; 2]> {
        match (byte, &self.step) {
            (_, Step::First | Step::Raw | Step::Command { first: true }) => None,
            (IAC, _) => Some([IAC, IAC]),
            (b'\r', _) if !is_on(self.ours, BINARY) => Some([b'\r', 0]),
            _ => None,
        }
    }
}

/// Whether `option` is in `options`. Those that are known are below 32.
const fn is_on(options: u32, option: u8) -> bool {
    option < 32 && options & (1 << option) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is left of `wire` for the client, and what is answered, whatever pieces it comes in.
    fn hear(wire: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>) {
        let mut telnet = Telnet::default();
        telnet.resize(Size { columns: 80, rows: 255 });
        let mut data = Vec::new();
        for piece in wire.chunks(piece) {
            let mut piece = piece.to_vec();
            let kept = telnet.hear(&mut piece).expect("an end");
            data.extend(&piece[..kept]);
        }
        (data, telnet.answers)
    }

    fn check(wire: &[u8], data: &[u8], answers: &[u8]) {
        for piece in [1, 2, 3, wire.len()] {
            assert_eq!(hear(wire, piece), (data.to_vec(), answers.to_vec()), "{wire:x?} by {piece}");
        }
    }

    #[test]
    fn what_qemu_asks_is_answered() {
        // What QEMU's serial port says first with `telnet` (`chardev/char-socket.c`).
        let asked = [IAC, WILL, ECHO, IAC, WILL, 3, IAC, WILL, BINARY, IAC, DO, BINARY];
        let answers = [IAC, DO, ECHO, IAC, DO, 3, IAC, DO, BINARY, IAC, WILL, BINARY];
        check(&[&asked[..], b"login: \r\n\xff\xff"].concat(), b"login: \r\n\xff", &answers);
    }

    #[test]
    fn what_is_not_known_is_refused_and_nothing_is_said_twice() {
        check(&[IAC, DO, 99, IAC, WILL, 99], b"", &[IAC, WONT, 99, IAC, DONT, 99]);
        check(&[IAC, WILL, ECHO, IAC, WILL, ECHO], b"", &[IAC, DO, ECHO]);
        check(&[IAC, WONT, ECHO, IAC, DONT, 3, IAC, DO, 3], b"", &[IAC, WILL, 3]);
        check(&[IAC, WILL, ECHO, IAC, WONT, ECHO], b"", &[IAC, DO, ECHO, IAC, DONT, ECHO]);
    }

    #[test]
    fn size_and_kind_of_the_terminal_are_told() {
        let size = [IAC, SB, WINDOW_SIZE, 0, 80, 0, 255, 255, IAC, SE];
        check(&[IAC, DO, WINDOW_SIZE], b"", &[&[IAC, WILL, WINDOW_SIZE][..], &size].concat());
        let kind = [&[IAC, SB, TERMINAL_TYPE, IS][..], TERMINAL, &[IAC, SE]].concat();
        let asked = [IAC, DO, TERMINAL_TYPE, IAC, SB, TERMINAL_TYPE, SEND, IAC, SE, b'x'];
        check(&asked, b"x", &[&[IAC, WILL, TERMINAL_TYPE][..], &kind].concat());
        // Without the option in force it is not asked.
        check(&[IAC, SB, TERMINAL_TYPE, SEND, IAC, SE], b"", b"");
    }

    #[test]
    fn lines_end_as_on_the_network_virtual_terminal() {
        check(&[IAC, WONT, 1, b'a', b'\r', 0, b'b', b'\r', b'\n', 0], b"a\rb\r\n\0", b"");
        check(&[IAC, WILL, BINARY, b'\r', 0], b"\r\0", &[IAC, DO, BINARY]);
    }

    #[test]
    fn a_target_without_telnet_is_left_as_it_is() {
        for wire in [&b"login: \xff\xfd\x01 \r\0"[..], b"\0\xff\xfb\x01"] {
            check(wire, wire, b"");
            assert!(Telnet::default().stuffed(IAC).is_none());
        }
        // The noise of a line that is switched on.
        check(b"\xff\0U-Boot", b"\0U-Boot", b"");
    }

    #[test]
    fn keys_are_written_as_telnet_has_them() {
        let mut telnet = Telnet::default();
        telnet.hear(&mut [IAC, WILL, ECHO]).expect("an end");
        assert_eq!((telnet.plain(b"ls\r"), telnet.plain(b"\xffx"), telnet.plain(b"ls\n")), (2, 0, 3));
        assert_eq!((telnet.stuffed(b'\r'), telnet.stuffed(IAC)), (Some([b'\r', 0]), Some([IAC, IAC])));
        telnet.hear(&mut [IAC, DO, BINARY]).expect("an end");
        assert_eq!((telnet.stuffed(b'\r'), telnet.stuffed(IAC)), (None, Some([IAC, IAC])));
    }

    #[test]
    fn a_target_cannot_make_us_talk_or_remember_without_end() {
        let mut telnet = Telnet::default();
        for _ in 0..10_000 {
            telnet.hear(&mut [IAC, WILL, 99, IAC, WILL, ECHO, IAC, WONT, ECHO]).expect("an end");
        }
        assert_eq!(telnet.answers.len(), 3 * ANSWERS_MAX);
        let mut telnet = Telnet::default();
        telnet.hear(&mut [IAC, SB]).expect("an end");
        telnet.hear(&mut [7; SUBNEGOTIATION_MAX]).expect("as long as it may be");
        assert_eq!(telnet.hear(&mut [7]), Err(Endless));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it_and_pieces_do_not_matter(wire in proptest::collection::vec(
            prop_oneof![Just(IAC), 240..=255_u8, 0..=32_u8, any::<u8>()], 0..400), piece in 1..50_usize) {
            prop_assert_eq!(hear(&wire, piece), hear(&wire, 1));
        }
    }
}
