//! Which of many are free, and one of them at random: in the same time however many are taken, and in
//! memory for those alone that have ever been taken.

use std::collections::HashMap;

use rand::{Rng, RngExt};

/// The numbers below a count, in two parts: those that are free come first. Each is at the place that is its
/// own number until it is moved.
#[derive(Debug)]
pub(super) struct Free {
    count: u32,
    /// What is at a place, of those that moved.
    at: HashMap<u32, u32>,
    /// The place of a number, of those that moved.
    place: HashMap<u32, u32>,
}

impl Free {
    /// All numbers below `count` are free.
    pub(super) fn new(count: u32) -> Self {
        Self { count, at: HashMap::new(), place: HashMap::new() }
    }

    /// Takes any of those that are free; each is as likely. `None` if none is.
    pub(super) fn take_any(&mut self, rng: &mut impl Rng) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let place = rng.random_range(..self.count);
        let number = moved(&self.at, place);
        self.take(number);
        Some(number)
    }

    /// Takes a certain one. Returns whether it was free.
    pub(super) fn take(&mut self, number: u32) -> bool {
        let place = moved(&self.place, number);
        let was_free = place < self.count;
        if was_free {
            self.count -= 1;
            self.swap(place, self.count);
        }
        was_free
    }

    /// Gives back one that was taken.
    pub(super) fn give(&mut self, number: u32) {
        let place = moved(&self.place, number);
        if place >= self.count {
            self.swap(place, self.count);
            self.count += 1;
        }
    }

    fn swap(&mut self, one: u32, other: u32) {
        let (number, second) = (moved(&self.at, one), moved(&self.at, other));
        self.put(number, other);
        self.put(second, one);
    }

    fn put(&mut self, number: u32, place: u32) {
        if number == place {
            self.at.remove(&place);
            self.place.remove(&number);
        } else {
            self.at.insert(place, number);
            self.place.insert(number, place);
        }
    }
}

fn moved(from: &HashMap<u32, u32>, key: u32) -> u32 {
    from.get(&key).copied().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const COUNT: u32 = 12;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((0..3, 0..COUNT), 0..200)) {
            let (mut free, mut model) = (Free::new(COUNT), (0..COUNT).collect::<BTreeSet<_>>());
            for (step, number) in steps {
                match step {
                    0 => prop_assert_eq!(free.take(number), model.remove(&number)),
                    1 => {
                        free.give(number);
                        model.insert(number);
                    }
                    _ => match free.take_any(&mut rand::rng()) {
                        Some(taken) => prop_assert!(model.remove(&taken)),
                        None => prop_assert!(model.is_empty()),
                    },
                }
                prop_assert_eq!(free.count as usize, model.len());
                prop_assert_eq!(free.at.len(), free.place.len());
            }
        }
    }

    #[test]
    fn each_is_as_likely() {
        let mut drawn = [0_u32; COUNT as usize];
        let mut rng = rand::rng();
        for _ in 0..12_000 {
            let mut free = Free::new(COUNT);
            free.take(3);
            let number = free.take_any(&mut rng).expect("eleven are free");
            drawn[number as usize] += 1;
        }
        assert_eq!(drawn[3], 0);
        assert!(
            drawn.iter().enumerate().all(|(number, times)| number == 3 || (800..1400).contains(times)),
            "{drawn:?}"
        );
    }
}
