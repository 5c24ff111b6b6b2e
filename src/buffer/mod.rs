//! The byte budget, and the blocks of memory that it pays for.
//!
//! **Budget.** Every buffer of the program is leased: bodies in flight, cached blocks, read-ahead, staged writes. A
//! request leases all it needs at once, before it is sent. Under pressure the program slows down; it never answers
//! "out of memory".
//!
//! **Classes.** Demand reads outrank commits, these outrank admitted writes, these outrank read-ahead. A class is granted
//! bytes only while all that is leased stays below the class's ceiling, and ceilings fall from class to class, so that
//! each class finds a reserve that nothing below it can take. The arithmetic is at [`Budget`].
//!
//! **The rule.** *Who holds a lease may wait only for a class that outranks every class it holds.* Holding nothing,
//! anything may be waited for. Then no set of requests waits for ever: take the highest class c that is waited for.
//! Whoever holds a lease and waits holds classes below c, and when the last of those was granted, no more than the
//! next ceiling below c was leased. Everybody else finishes, after which c's first in line fits, since one lease is at
//! most the difference of the two ceilings. The opposite direction is not safe, nor is waiting for one's own class (two
//! readers, each with half of the memory, each waiting for one more block), nor a larger lease; `rule.rs` explores every
//! interleaving of small systems and finds the deadlock in each of those three. A held `Arc<Block>` counts as its
//! lease: the cache can forget the block, but the memory comes back when the last reader lets go.
//!
//! **Reclaiming.** What is kept only because it may be useful, the block cache, is leased like everything else and
//! reclaimed when somebody needs room ([`Budget::set_reclaimer`]). The budget's lock and the cache's are never held together.
//!
//! **Blocks.** A [`Block`] is filled from the front by one [`BlockWriter`] and read by anyone below its watermark, so that a
//! reader is answered while the rest of the body is still on the wire. Its bytes are copied once, from the socket's
//! buffer, and never move.
//!
//! **Memory.** Blocks above 512 KiB take half of a 2 MiB slab, aligned and advised to be a huge page; slabs are used again
//! without zeroing or page faults. A block takes its memory with its first byte. Smaller blocks come from the allocator, 4 KiB at a time. Idle slabs and leased bytes
//! together stay within the budget (but for the unused half of one slab), and idle ones go back to the kernel when there
//! are more of them than memory in use.

mod block;
mod budget;
mod ledger;
mod memory;
mod pool;
#[cfg(test)]
mod rule;
#[cfg(test)]
mod tests;

pub use block::{Abandoned, Block, BlockWriter, Failure, Publish, State};
pub use budget::{Budget, Lease, MEMORY_BYTES_MIN};
pub use ledger::Class;

/// Bytes of the largest block: 1 MiB.
///
/// The largest READ of the kernel (FUSE_MAX_PAGES, 256 pages of 4 KiB), and half a huge page.
pub const BLOCK_BYTES: usize = 1 << 20;

/// Blocks up to here come from the allocator: above, half a slab wastes less than half of itself.
const SMALL_BYTES_MAX: usize = 512 << 10;

/// Small blocks are accounted in steps of a page.
const SMALL_BYTES_STEP: usize = 4 << 10;

/// Bytes of memory, and of lease, that a block of `len` bytes takes.
///
/// Up to 512 KiB: `len` rounded up to 4 KiB, and at least that much; above: [`BLOCK_BYTES`].
///
/// # Panics
/// If `len` is above [`BLOCK_BYTES`].
#[must_use]
pub fn capacity_for(len: usize) -> u64 {
    assert!(
        len <= BLOCK_BYTES,
        "a block has at most {BLOCK_BYTES} bytes"
    );
    let capacity = match len {
        0 => SMALL_BYTES_STEP,
        1..=SMALL_BYTES_MAX => len.next_multiple_of(SMALL_BYTES_STEP),
        _ => BLOCK_BYTES,
    };
    capacity as u64
}
