//! Buffers of one core: borrowed while bytes move, given back before a session waits, so that an
//! idle session holds none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::ws::SERVER_HEADER_LEN;

/// Bytes that one read may bring.
pub const READ_LEN: usize = 64 * 1024;
/// Room in front of what is read, for the header of the frame that carries it to the client.
pub const HEADROOM: usize = SERVER_HEADER_LEN;
/// Free buffers that a core keeps; more are given back to the allocator.
const KEPT: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`HEADROOM`] plus [`READ_LEN`] bytes. It goes back to the pool of the thread that
/// drops it.
pub struct Buffer(Box<[u8]>);

impl Buffer {
    /// A buffer from this thread's pool. Its content is of no meaning.
    pub fn borrow() -> Self {
        let kept = POOL.with_borrow_mut(Vec::pop);
        Self(kept.unwrap_or_else(|| vec![0; HEADROOM + READ_LEN].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        POOL.with_borrow_mut(|pool| {
            if pool.len() < KEPT {
                pool.push(buffer);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_back_to_the_pool() {
        let first = Buffer::borrow();
        let place = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::borrow().as_ptr(), place);
    }

    #[test]
    fn the_pool_is_bounded() {
        drop((0..KEPT + 5).map(|_| Buffer::borrow()).collect::<Vec<_>>());
        assert_eq!(POOL.with_borrow(Vec::len), KEPT);
    }
}
