//! The terminal that we run in: raw while a console is shown in it, and as it was afterwards.

use std::io::{Stdin, Stdout, Write, stdin, stdout};
use std::os::fd::AsFd;

use rustix::io;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::broker::session::Size;

/// What a program on the other side may have left behind (xterm's `ctlseqs`): another screen, no cursor, colours,
/// keys in their application mode, reports of the mouse, marks around what is pasted.
const AS_BEFORE: &str =
    "\x1b[?1047l\x1b[?25h\x1b[0m\x1b[?1l\x1b>\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l";

/// Raw mode. Dropped, also by a panic, it gives the terminal back as it was.
pub struct Raw<T: AsFd = Stdin, W: Write = Stdout> {
    keyboard: T,
    screen: W,
    before: Termios,
}

impl Raw {
    /// Puts the terminal that is typed in into raw mode.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn enter() -> io::Result<Self> {
        Self::enter_at(stdin(), stdout())
    }
}

impl<T: AsFd, W: Write> Raw<T, W> {
    fn enter_at(keyboard: T, screen: W) -> io::Result<Self> {
        let before = tcgetattr(&keyboard)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&keyboard, OptionalActions::Flush, &raw)?;
        Ok(Self { keyboard, screen, before })
    }
}

impl<T: AsFd, W: Write> Drop for Raw<T, W> {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to be put right.
        let _ = self.screen.write_all(AS_BEFORE.as_bytes()).and_then(|()| self.screen.flush());
        // What was typed and not read is not for the shell that comes now.
        let _ = tcsetattr(&self.keyboard, OptionalActions::Flush, &self.before);
    }
}

/// The size of the terminal that is shown in, if it has one.
pub fn size() -> Option<Size> {
    let size = tcgetwinsize(stdout()).ok()?;
    Size::new(size.ws_col, size.ws_row)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rustix::termios::LocalModes;

    use super::*;

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let (terminal, _other_side) = pty_process::blocking::open().expect("a terminal");
        let modes = || tcgetattr(&terminal).expect("a terminal").local_modes;
        let before = modes();
        assert!(before.contains(LocalModes::ICANON | LocalModes::ECHO));
        let mut screen = Vec::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _raw = Raw::enter_at(&terminal, &mut screen).expect("a terminal");
            assert!(!modes().intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
            std::panic::resume_unwind(Box::new("of what went wrong"));
        }));
        assert!(panicked.is_err());
        assert_eq!(modes(), before);
        assert_eq!(screen, AS_BEFORE.as_bytes());
    }
}
