//! Things that a core uses over and over, and gives back when fewer will do.

/// Free ones, the last used on top: it is warm.
pub struct Pool<T> {
    free: Vec<T>,
    /// So many were free all the time since the last [`Pool::trim`].
    spare: usize,
}

impl<T> Pool<T> {
    /// An empty pool.
    pub const fn new() -> Self {
        Self { free: Vec::new(), spare: 0 }
    }

    /// Takes one out, if one is free.
    pub fn take(&mut self) -> Option<T> {
        let one = self.free.pop();
        self.spare = self.spare.min(self.free.len());
        one
    }

    /// Puts one in.
    pub fn put(&mut self, one: T) {
        self.free.push(one);
    }

    /// How many are free.
    #[cfg(test)]
    pub const fn len(&self) -> usize {
        self.free.len()
    }

    /// Drops those that nobody needed since the last call, but for `kept`. Returns how many.
    pub fn trim(&mut self, kept: usize) -> usize {
        let dropped = self.spare.saturating_sub(kept);
        // The coldest are in front.
        self.free.drain(..dropped);
        self.spare = self.free.len();
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_needs_is_dropped_at_the_second_look() {
        let mut pool = Pool::new();
        (0..5).for_each(|number| pool.put(number));
        assert_eq!(pool.trim(0), 0, "they were in use a moment ago");
        let two = [pool.take(), pool.take()];
        assert_eq!(two, [Some(4), Some(3)]);
        two.into_iter().flatten().for_each(|number| pool.put(number));
        assert_eq!((pool.trim(1), pool.len()), (2, 3), "two were needed, and one is kept");
        assert_eq!((pool.trim(1), pool.len()), (2, 1));
        assert_eq!((pool.trim(1), pool.len()), (0, 1));
        assert_eq!((pool.trim(0), pool.take()), (1, None));
    }
}
