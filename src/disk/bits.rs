//! One bit a block, changed by many threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A set of block numbers below a bound. One beyond it is never in.
#[derive(Debug)]
pub(super) struct Bits {
    words: Vec<AtomicU64>,
    len: u64,
}

impl Bits {
    /// The empty set.
    pub(super) fn new(len: u64) -> Self {
        let words = usize::try_from(len.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            len,
        }
    }

    fn word(&self, index: u64) -> Option<&AtomicU64> {
        let at = usize::try_from(index / 64).ok()?;
        self.words.get(at)
    }

    pub(super) fn has(&self, index: u64) -> bool {
        let bit = 1 << (index % 64);
        self.word(index)
            .is_some_and(|word| word.load(Ordering::Acquire) & bit != 0)
    }

    pub(super) fn insert(&self, index: u64) {
        if let Some(word) = self.word(index).filter(|_| index < self.len) {
            word.fetch_or(1 << (index % 64), Ordering::AcqRel);
        }
    }

    pub(super) fn remove(&self, index: u64) {
        if let Some(word) = self.word(index) {
            word.fetch_and(!(1 << (index % 64)), Ordering::AcqRel);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.words
            .iter()
            .map(|word| u64::from(word.load(Ordering::Acquire).count_ones()))
            .sum()
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() == self.len
    }

    /// What is not in it, adjacent numbers together.
    pub(super) fn missing(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for index in (0..self.len).filter(|&index| !self.has(index)) {
            match runs.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                _ => runs.push(index..index + 1),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(len in 0..200_u64, changes in proptest::collection::vec((0..220_u64, any::<bool>()), 0..100)) {
            let (bits, mut twin) = (Bits::new(len), BTreeSet::new());
            for (index, is_in) in changes {
                if is_in {
                    bits.insert(index);
                    if index < len {
                        twin.insert(index);
                    }
                } else {
                    bits.remove(index);
                    twin.remove(&index);
                }
            }
            prop_assert!((0..220).all(|index| bits.has(index) == twin.contains(&index)));
            prop_assert_eq!(bits.count(), twin.len() as u64);
            prop_assert_eq!(bits.is_full(), twin.len() as u64 == len);
            let missing = bits.missing();
            prop_assert!(missing.windows(2).all(|runs| runs[0].end < runs[1].start));
            let missing: Vec<u64> = missing.into_iter().flatten().collect();
            let expected: Vec<u64> = (0..len).filter(|index| !twin.contains(index)).collect();
            prop_assert_eq!(missing, expected);
        }
    }
}
