//! The size of a client's terminal. It comes beside the stream, because the stream is the machine's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// Columns and rows of characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// 1 to [`Size::MAX`].
    pub columns: u16,
    /// 1 to [`Size::MAX`].
    pub rows: u16,
}

impl Size {
    /// Most columns and rows: programs keep a screen of it.
    pub const MAX: u16 = 1000;

    /// `None` where there is no such window.
    pub fn new(columns: u16, rows: u16) -> Option<Self> {
        let sound = |count| (1..=Self::MAX).contains(&count);
        (sound(columns) && sound(rows)).then_some(Self { columns, rows })
    }
}

/// The window of a session's client.
#[derive(Debug, Default)]
pub struct Window {
    /// Columns above, rows below; 0 as long as nobody has said.
    size: AtomicU32,
    watcher: AtomicWaker,
}

impl Window {
    /// It has this size now.
    pub fn set(&self, Size { columns, rows }: Size) {
        self.size.store(u32::from(columns) << 16 | u32::from(rows), Ordering::Release);
        self.watcher.wake();
    }

    /// Its size, if that is known. The task of `cx` is woken when it changes.
    pub fn watch(&self, cx: &Context<'_>) -> Option<Size> {
        self.watcher.register(cx.waker());
        self.size()
    }

    /// Its size, if that is known.
    pub fn size(&self) -> Option<Size> {
        let size = self.size.load(Ordering::Acquire);
        Size::new((size >> 16) as u16, size as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_the_size_that_was_said_last() {
        let window = Window::default();
        assert_eq!(window.size(), None);
        for (columns, rows) in [(80, 25), (Size::MAX, 1), (132, 43)] {
            let size = Size::new(columns, rows).expect("a size");
            window.set(size);
            assert_eq!(window.size(), Some(size));
        }
        for (columns, rows) in [(0, 25), (80, 0), (Size::MAX + 1, 25), (80, u16::MAX)] {
            assert_eq!(Size::new(columns, rows), None);
        }
    }
}
