//! Buffers of one core: borrowed while bytes move, given back before a session waits, so that an
//! idle session holds none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::pool::Pool;
use super::ws::SERVER_HEADER_LEN;

/// Bytes that one read may bring at most.
pub const READ_MAX: usize = 256 * 1024;
/// Bytes that a read of a session brings at most that has moved little so far.
pub const READ_MIN: usize = 16 * 1024;
/// Room in front of what is read, for the header of the frame that carries it to the client.
pub const HEADROOM: usize = SERVER_HEADER_LEN;
/// Free buffers that a core keeps at any rate.
const KEPT: usize = 1;

thread_local! {
    static POOL: RefCell<Pool<Box<[u8]>>> = const { RefCell::new(Pool::new()) };
}

/// A buffer of [`HEADROOM`] plus [`READ_MAX`] bytes. It goes back to the pool of the thread that drops it. What was
/// never written to takes no memory.
pub struct Buffer(Box<[u8]>);

impl Buffer {
    /// A buffer from this thread's pool. Its content is of no meaning.
    pub fn borrow() -> Self {
        let pooled = POOL.with_borrow_mut(Pool::take);
        Self(pooled.unwrap_or_else(|| vec![0; HEADROOM + READ_MAX].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        POOL.with_borrow_mut(|pool| pool.put(buffer));
    }
}

/// Gives free buffers of this core back to the allocator that were not needed since the last call.
pub fn trim() {
    POOL.with_borrow_mut(|pool| pool.trim(KEPT));
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
    fn what_is_not_needed_any_more_is_given_back() {
        drop((0..KEPT + 5).map(|_| Buffer::borrow()).collect::<Vec<_>>());
        trim();
        assert_eq!(POOL.with_borrow(Pool::len), KEPT + 5);
        trim();
        assert_eq!(POOL.with_borrow(Pool::len), KEPT);
    }
}
