//! Raw memory: where it comes from, and one writer's bytes that many read while they arrive.
//!
//! The only unsafe code of the room. What the rest relies on is made true by ownership: a [`Span`] is the one owner of
//! its bytes and cannot be cloned, a [`Region`] takes a span for good, and its one [`Appender`] is the only way to write.

#![expect(
    unsafe_code,
    reason = "bytes are read below a watermark while one writer writes above it; slabs are mapped for huge pages"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::{BLOCK_BYTES, Lease, capacity_for};

/// Bytes of one mapping: a huge page of x86-64 and of arm64 with 4 KiB pages.
const SLAB_BYTES: usize = 2 << 20;

/// Alignment of memory from the allocator: a cache line, so that copies use full vectors.
const HEAP_ALIGN: usize = 64;

const _: () = assert!(
    SLAB_BYTES == 2 * BLOCK_BYTES,
    "a slab has two halves of one block each"
);

/// Exclusive ownership of a range of memory, whose bytes may be uninitialised.
#[derive(Debug)]
pub(super) struct Span {
    base: NonNull<u8>,
    bytes: usize,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Heap(Layout),
    /// Keeps the mapping alive.
    Slab(#[expect(dead_code, reason = "held for its drop")] Arc<Slab>),
}

// SAFETY: a span owns its bytes alone, like a `Box<[u8]>`; nothing in it is bound to a thread.
unsafe impl Send for Span {}
// SAFETY: a shared span gives no access to its bytes; `Region` says who may read and write them.
unsafe impl Sync for Span {}

impl Span {
    /// Memory from the allocator; at least one byte.
    pub(super) fn heap(bytes: usize) -> Self {
        let bytes = bytes.max(1);
        let layout = Layout::from_size_align(bytes, HEAP_ALIGN).expect("a block is small");
        // SAFETY: the layout has at least one byte.
        let Some(base) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        Self {
            base,
            bytes,
            origin: Origin::Heap(layout),
        }
    }

    /// The halves of a new slab, [`BLOCK_BYTES`] each. Their addresses differ in the bit [`BLOCK_BYTES`] only.
    pub(super) fn slab() -> [Self; 2] {
        let slab = Arc::new(Slab::map());
        let base = slab.base;
        // SAFETY: the slab has two halves, so the second begins within it.
        let middle = unsafe { base.add(BLOCK_BYTES) };
        [base, middle].map(|base| Self {
            base,
            bytes: BLOCK_BYTES,
            origin: Origin::Slab(Arc::clone(&slab)),
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> usize {
        self.base.as_ptr() as usize
    }

    /// Gives the pages of half a slab back to the kernel; the addresses stay ours.
    pub(super) fn give_pages_back(&mut self) {
        assert!(matches!(self.origin, Origin::Slab(_)));
        // SAFETY: the span is page-aligned memory of our own anonymous mapping, and `&mut` says that nobody reads it.
        // A failure means that the pages stay, which is only a loss of memory.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes, libc::MADV_DONTNEED) };
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Origin::Heap(layout) = self.origin {
            // SAFETY: `base` came from `alloc` with this layout and is freed once, here.
            unsafe { dealloc(self.base.as_ptr(), layout) };
        }
    }
}

/// One anonymous mapping of [`SLAB_BYTES`], aligned to its size and advised to be a huge page.
///
/// Mapped directly: the allocator would keep freed slabs on its own lists once its mmap threshold has adapted.
#[derive(Debug)]
struct Slab {
    base: NonNull<u8>,
}

// SAFETY: the slab only owns the mapping; the bytes belong to the spans made from it.
unsafe impl Send for Slab {}
// SAFETY: as above, and it has no method that touches the bytes.
unsafe impl Sync for Slab {}

impl Slab {
    fn map() -> Self {
        let layout = Layout::from_size_align(SLAB_BYTES, SLAB_BYTES).expect("a power of two");
        // Twice the size holds an aligned slab wherever the kernel puts it; what sticks out goes back.
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches no memory in use.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                2 * SLAB_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            handle_alloc_error(layout);
        }
        let mapped = mapped.cast::<u8>();
        let before = mapped.align_offset(SLAB_BYTES);
        assert!(before <= SLAB_BYTES, "an address can be aligned");
        let after = SLAB_BYTES - before;
        // SAFETY: `before + SLAB_BYTES + after` is the length of the mapping just made, so both ends and the slab lie
        // within it, the ends are whole pages, and nobody has their addresses. Failures of munmap and madvise leave
        // more address space or smaller pages, both harmless.
        let base = unsafe {
            let base = mapped.add(before);
            if before > 0 {
                libc::munmap(mapped.cast(), before);
            }
            if after > 0 {
                libc::munmap(base.add(SLAB_BYTES).cast(), after);
            }
            libc::madvise(base.cast(), SLAB_BYTES, libc::MADV_HUGEPAGE);
            base
        };
        let base = NonNull::new(base).expect("a mapping is not at address 0");
        Self { base }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and both halves are gone, since each holds an `Arc` of this.
        unsafe { libc::munmap(self.base.as_ptr().cast(), SLAB_BYTES) };
    }
}

/// Memory with a watermark: bytes below are published and never change again, those above belong to the [`Appender`].
///
/// It takes its memory with the first byte: what waits for its turn, or for the blocks before it, holds a lease and no pages.
#[derive(Debug)]
pub(super) struct Region {
    /// Set by the first append, taken by the drop.
    span: OnceLock<Span>,
    /// INVARIANT: at most the span's.
    len: usize,
    /// INVARIANT: grows only, at most `len`; the bytes below are initialised.
    published: AtomicUsize,
    lease: Lease,
}

impl Region {
    /// An empty region of `len` bytes, paid for by `lease`, and its writer.
    pub(super) fn new(len: usize, lease: Lease) -> (Arc<Self>, Appender) {
        assert!(
            capacity_for(len) <= lease.bytes(),
            "a region is paid for by its lease"
        );
        let region = Arc::new(Self {
            span: OnceLock::new(),
            len,
            published: AtomicUsize::new(0),
            lease,
        });
        let appender = Appender {
            region: Arc::clone(&region),
            at: 0,
        };
        (region, appender)
    }

    /// Its memory, taken now if it has none.
    fn span(&self) -> &Span {
        self.span.get_or_init(|| {
            let budget = self.lease.budget();
            if capacity_for(self.len) == BLOCK_BYTES as u64 {
                budget.pool().take()
            } else {
                // The lease may stand for bytes that were a large block's until now: their pages are still ours.
                budget.trim_pool();
                Span::heap(self.len)
            }
        })
    }

    /// The watermark.
    ///
    /// Sequentially consistent, like the store: a waiter says what it wants and then looks here, the writer does the
    /// opposite, and at least one of them must see the other.
    pub(super) fn published(&self) -> usize {
        self.published.load(Ordering::SeqCst)
    }

    /// Published bytes; `None` if the range is not wholly below the watermark.
    pub(super) fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        let published = self.published.load(Ordering::Acquire);
        if range.start > range.end || range.end > published {
            return None;
        }
        let Some(span) = self.span.get() else {
            // Nothing was appended, so the range is empty.
            return Some(&[]);
        };
        // SAFETY: the range is below the watermark: those bytes lie within the span, were written before the store
        // that the load above has seen, and are never written again. The span lives as long as `self`.
        Some(unsafe {
            std::slice::from_raw_parts(span.base.as_ptr().add(range.start), range.len())
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // The memory goes back before the lease, which is dropped after this body: who gets the bytes finds the memory.
        if let Some(span) = self.span.take()
            && matches!(span.origin, Origin::Slab(_))
        {
            self.lease.budget().pool().put(span);
        }
    }
}

/// The one writer of a [`Region`].
#[derive(Debug)]
pub(super) struct Appender {
    region: Arc<Region>,
    /// INVARIANT: at least the watermark, at most the region's length; the bytes below are initialised.
    at: usize,
}

impl Appender {
    /// Copies bytes behind the last ones; nobody sees them before [`Appender::publish`].
    pub(super) fn append(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.remaining(),
            "a block has room for {} more bytes, not for {}",
            self.remaining(),
            bytes.len()
        );
        if bytes.is_empty() {
            return;
        }
        let span = self.region.span();
        // SAFETY: `at..at + bytes.len()` lies within the region, which lies within its span, and above the watermark, where nobody reads, and `&mut`
        // of the only appender says that nobody else writes. `bytes` cannot overlap: slices are handed out only
        // below the watermark.
        unsafe {
            let to = span.base.as_ptr().add(self.at);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        self.at += bytes.len();
    }

    /// Forgets what was appended since the last publish.
    pub(super) fn rewind(&mut self) {
        self.at = self.region.published();
    }

    /// Raises the watermark to what was appended, and says where it is.
    pub(super) fn publish(&mut self) -> usize {
        self.region.published.store(self.at, Ordering::SeqCst);
        self.at
    }

    /// Bytes that still fit.
    pub(super) fn remaining(&self) -> usize {
        self.region.len - self.at
    }
}
