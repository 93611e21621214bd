//! The numbers of workers. A record names its worker by one, so no two workers that live have the same.

use crate::state::MAX_WORKER;
use std::ops::Range;

/// Gives numbers out in turn, from 1 to the largest that a record has room for, and then those again that are free by then.
pub(crate) struct Numbers {
    next: u32,
    end: u32,
}

impl Numbers {
    pub(crate) fn new() -> Numbers {
        Numbers { next: 1, end: MAX_WORKER }
    }

    /// The next run of free numbers: at least one, at most `count`. It is not used up before it is [taken](Self::take).
    ///
    /// Some number must be free, which holds: there are thousands of times as many as workers.
    pub(crate) fn run(&self, count: u32, is_used: impl Fn(u32) -> bool) -> Range<u32> {
        let mut first = self.next;
        while first >= self.end || is_used(first) {
            first = if first >= self.end { 1 } else { first + 1 };
        }
        let last = first.saturating_add(count).min(self.end).max(first + 1);
        first..(first + 1..last).find(|number| is_used(*number)).unwrap_or(last)
    }

    pub(crate) fn take(&mut self, run: &Range<u32>) {
        self.next = run.end;
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;
    use std::collections::BTreeSet;

    #[test]
    fn a_number_is_not_given_twice_while_it_is_used() {
        let mut numbers = Numbers { next: 1, end: 16 };
        // Two that stay, and others that come and go, through many laps.
        let mut used = BTreeSet::from([3, 15]);
        let mut given = BTreeSet::new();
        for round in 0..1000 {
            let run = numbers.run(1 + round % 5, |n| used.contains(&n));
            numbers.take(&run);
            assert!((1..=1 + round as usize % 5).contains(&run.len()), "{run:?}");
            for number in run.clone() {
                assert!((1..16).contains(&number), "{run:?}");
                assert!(used.insert(number), "{number} names two workers");
                given.insert(number);
            }
            run.for_each(|number| assert!(used.remove(&number)));
        }
        assert_eq!(given.len(), 15 - 2, "every other number comes to use");
    }
}
