//! The terminal that we run in: raw while a console is shown in it, and as it was afterwards.

use std::io::{Write, stdin, stdout};

use rustix::io;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::broker::session::Size;

/// What a program on the other side may have left behind (xterm's `ctlseqs`): another screen, no cursor, colours,
/// keys in their application mode, reports of the mouse, marks around what is pasted.
const AS_BEFORE: &str =
    "\x1b[?1047l\x1b[?25h\x1b[0m\x1b[?1l\x1b>\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l";

/// Raw mode. Dropped, also by a panic, it gives the terminal back as it was.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Puts the terminal that is typed in into raw mode.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Flush, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to be put right.
        let _ = stdout().write_all(AS_BEFORE.as_bytes()).and_then(|()| stdout().flush());
        // What was typed and not read is not for the shell that comes now.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.before);
    }
}

/// The size of the terminal that is shown in, if it has one.
pub fn size() -> Option<Size> {
    let size = tcgetwinsize(stdout()).ok()?;
    Size::new(size.ws_col, size.ws_row)
}
