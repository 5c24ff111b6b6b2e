//! Memory of blocks between two uses.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::BLOCK_BYTES;
use super::memory::Span;

/// Idle memory that is always kept: what a burst of reads takes without page faults.
const IDLE_BYTES_KEPT: u64 = 32 << 20;

/// Halves of slabs that no block uses, ready for the next one.
///
/// A half is **warm** while the kernel backs it with pages: using it again costs no page fault and no zeroing. A
/// **cold** one was given back to the kernel and lies between addresses in use. Idle memory is warm halves only; it stays
/// below what blocks use, or [`IDLE_BYTES_KEPT`]. A slab whose halves are both idle is unmapped when memory is given
/// back, so that huge pages are split only when there is no other way.
#[derive(Debug, Default)]
pub(super) struct Pool {
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    /// By address; their other half is in use.
    warm: BTreeMap<usize, Span>,
    /// By address; their other half is in use.
    cold: BTreeMap<usize, Span>,
    /// Slabs of which both halves are idle, each half with whether it is warm.
    slabs: Vec<[(Span, bool); 2]>,
    idle_bytes: u64,
    used_bytes: u64,
}

impl Pool {
    /// Memory for one block of [`BLOCK_BYTES`]: warm if there is any, and from a slab in use before an idle one.
    pub(super) fn take(&self) -> Span {
        let mut halves = self.lock();
        halves.used_bytes += BLOCK_BYTES as u64;
        if let Some((_, span)) = halves.warm.pop_first() {
            halves.idle_bytes -= BLOCK_BYTES as u64;
            return span;
        }
        if let Some([(span, warm), (other, other_warm)]) = halves.slabs.pop() {
            if warm {
                halves.idle_bytes -= BLOCK_BYTES as u64;
            }
            let list = match other_warm {
                true => &mut halves.warm,
                false => &mut halves.cold,
            };
            list.insert(other.address(), other);
            return span;
        }
        if let Some((_, span)) = halves.cold.pop_first() {
            return span;
        }
        // The kernel backs a slab with one huge page at the first touch, where it can: the other half counts as warm.
        let [span, other] = Span::slab();
        halves.warm.insert(other.address(), other);
        halves.idle_bytes += BLOCK_BYTES as u64;
        span
    }

    /// Takes the memory of a block back.
    pub(super) fn put(&self, span: Span) {
        let given_back = {
            let mut halves = self.lock();
            halves.used_bytes -= BLOCK_BYTES as u64;
            halves.idle_bytes += BLOCK_BYTES as u64;
            let other = span.address() ^ BLOCK_BYTES;
            if let Some(other) = halves.warm.remove(&other) {
                halves.slabs.push([(span, true), (other, true)]);
            } else if let Some(other) = halves.cold.remove(&other) {
                halves.slabs.push([(span, true), (other, false)]);
            } else {
                halves.warm.insert(span.address(), span);
            }
            let keep = halves.used_bytes.max(IDLE_BYTES_KEPT);
            halves.trim(keep)
        };
        drop(given_back);
    }

    /// Gives idle memory back to the kernel until at most `keep_bytes` are left.
    pub(super) fn trim(&self, keep_bytes: u64) {
        let given_back = self.lock().trim(keep_bytes);
        drop(given_back);
    }

    #[cfg(test)]
    pub(super) fn idle_bytes(&self) -> u64 {
        self.lock().idle_bytes
    }

    #[cfg(test)]
    pub(super) fn used_bytes(&self) -> u64 {
        self.lock().used_bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halves {
    /// The slabs returned are unmapped by their drop, which the caller does without the lock.
    fn trim(&mut self, keep_bytes: u64) -> Vec<[(Span, bool); 2]> {
        let mut given_back = Vec::new();
        while self.idle_bytes > keep_bytes {
            if let Some(slab) = self.slabs.pop() {
                let warm = slab.iter().filter(|(_, warm)| *warm).count();
                self.idle_bytes -= (warm * BLOCK_BYTES) as u64;
                given_back.push(slab);
            } else if let Some((address, mut span)) = self.warm.pop_first() {
                span.give_pages_back();
                self.cold.insert(address, span);
                self.idle_bytes -= BLOCK_BYTES as u64;
            } else {
                break;
            }
        }
        given_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_before_more_is_mapped() {
        let pool = Pool::default();
        let (a, b) = (pool.take(), pool.take());
        assert_eq!(
            a.address() ^ BLOCK_BYTES,
            b.address(),
            "two blocks share a slab"
        );
        let address = a.address();
        pool.put(a);
        assert_eq!(pool.take().address(), address);
        drop(b);
    }

    #[test]
    fn idle_memory_is_bounded_by_what_is_used() {
        let pool = Pool::default();
        let blocks = 2 * IDLE_BYTES_KEPT / BLOCK_BYTES as u64;
        let spans: Vec<_> = (0..2 * blocks).map(|_| pool.take()).collect();
        let mut most = 0;
        for span in spans {
            pool.put(span);
            most = most.max(pool.idle_bytes());
        }
        assert_eq!(pool.idle_bytes(), IDLE_BYTES_KEPT);
        assert_eq!(most, 2 * IDLE_BYTES_KEPT, "half of what was used");
    }

    #[test]
    fn trimming_leaves_blocks_in_use_alone() {
        let pool = Pool::default();
        // Every second half goes back, so that no slab is idle as a whole.
        let spans: Vec<_> = (0..8).map(|_| pool.take()).collect();
        let mut kept = Vec::new();
        for (at, span) in spans.into_iter().enumerate() {
            match at % 2 {
                0 => kept.push(span),
                _ => pool.put(span),
            }
        }
        assert_eq!(pool.idle_bytes(), 4 * BLOCK_BYTES as u64);
        pool.trim(BLOCK_BYTES as u64);
        assert_eq!(pool.idle_bytes(), BLOCK_BYTES as u64);
        let cold = pool.lock().cold.len();
        assert_eq!(cold, 3);
        for span in kept {
            pool.put(span);
        }
        pool.trim(0);
        assert_eq!(pool.idle_bytes(), 0);
        assert!(pool.lock().slabs.is_empty());
        assert!(pool.lock().cold.is_empty());
    }
}
