//! The byte budget: leases, their waiters and the reclaimer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::oneshot;

use super::ledger::{Answer, Class, Ledger, Ticket};
use super::pool::Pool;
use crate::metrics::Metrics;

/// The smallest budget: 16 MiB.
///
/// Its reserve for demand reads is 2 MiB, which is what one READ of the kernel can need, so that GETs go on one at a time
/// even when everything below has filled its share.
pub const MEMORY_BYTES_MIN: u64 = 16 << 20;

/// The least reserve of a class: two blocks, since a READ of at most 1 MiB touches at most two.
const RESERVE_BYTES_MIN: u64 = 2 << 20;

/// The largest reserve of a class. A reserve is kept free of cached blocks while read-ahead is active, so more than
/// what keeps the wire busy for some hundred milliseconds would be memory wasted.
const RESERVE_BYTES_MAX: u64 = 32 << 20;

/// Frees about so many bytes on behalf of a class, and says how many it freed.
type Reclaimer = Box<dyn Fn(Class, u64) -> u64 + Send + Sync>;

/// All memory that bodies, blocks and staged writes may take, shared out by class.
///
/// Each class has a ceiling on **all** leased bytes at the time of a grant: with reserve R = total / 16, at least 2 MiB
/// and at most 32 MiB, the ceilings are total (demand), total − R (commit), total − 2R (write) and total − 3R
/// (read-ahead). So R bytes above its ceiling are out of reach of each lower class. One lease is at most R (read-ahead:
/// total − 3R); why is told in the room's essay.
pub struct Budget {
    total: u64,
    state: Mutex<State>,
    reclaimer: OnceLock<Reclaimer>,
    pool: Pool,
    metrics: Arc<Metrics>,
}

struct State {
    ledger: Ledger,
    /// INVARIANT: has exactly the tickets that wait in the ledger.
    waiters: HashMap<Ticket, oneshot::Sender<Lease>>,
    /// A thread is reclaiming on behalf of the first in line.
    reclaiming: bool,
    /// Something changed while that thread was away; it has to look again.
    again: bool,
}

impl Budget {
    /// A budget of `total_bytes`.
    ///
    /// # Panics
    /// Below [`MEMORY_BYTES_MIN`]; the command line checks it first.
    #[must_use]
    pub fn new(total_bytes: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        assert!(
            total_bytes >= MEMORY_BYTES_MIN,
            "a budget has at least {MEMORY_BYTES_MIN} bytes"
        );
        let shown = i64::try_from(total_bytes).unwrap_or(i64::MAX);
        metrics.buffer.total_bytes.set(shown);
        let reserve = (total_bytes / 16).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        Arc::new(Self {
            total: total_bytes,
            state: Mutex::new(State {
                ledger: Ledger::new(total_bytes, reserve),
                waiters: HashMap::new(),
                reclaiming: false,
                again: false,
            }),
            reclaimer: OnceLock::new(),
            pool: Pool::default(),
            metrics,
        })
    }

    /// Bytes of the budget.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes leased now, all classes; what the cache keeps is among them.
    #[must_use]
    pub fn leased(&self) -> u64 {
        self.lock().ledger.leased()
    }

    /// The largest lease of a class, in bytes; at least 2 MiB.
    #[must_use]
    pub fn max_lease(&self, class: Class) -> u64 {
        self.lock().ledger.lease_max(class)
    }

    /// Names who can free leased bytes that are only kept in case they are useful: the block cache.
    ///
    /// It is called without any lock of this room, and must drop the leases it frees before it returns, holding no
    /// lock of its own that a call of it takes. Who keeps something that becomes free to take later says so with
    /// [`Budget::notice_reclaimable`].
    ///
    /// # Panics
    /// On the second call: a budget has one reclaimer.
    pub fn set_reclaimer(&self, reclaimer: impl Fn(Class, u64) -> u64 + Send + Sync + 'static) {
        let set = self.reclaimer.set(Box::new(reclaimer));
        assert!(set.is_ok(), "a budget has one reclaimer");
    }

    /// Leases `bytes` if they can be had at once, after reclaiming if need be, and never jumps the queue.
    ///
    /// # Panics
    /// Above [`Budget::max_lease`].
    #[must_use]
    pub fn try_lease(self: &Arc<Self>, class: Class, bytes: u64) -> Option<Lease> {
        let lease = self.take(class, bytes);
        if lease.is_none() {
            self.metrics.buffer.refusals.inc();
        }
        lease
    }

    /// Leases `bytes`, all at once, and waits for them as long as it takes.
    ///
    /// First come first served within a class, higher classes first. A dropped future leaves no trace.
    ///
    /// INVARIANT: who holds a lease, or a block of the cache, may wait only for a class that outranks all it holds.
    ///
    /// # Panics
    /// Above [`Budget::max_lease`].
    pub async fn lease(self: &Arc<Self>, class: Class, bytes: u64) -> Lease {
        if let Some(lease) = self.take(class, bytes) {
            return lease;
        }
        self.metrics.buffer.waits.inc();
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            let ticket = state.ledger.enqueue(class, bytes);
            state.waiters.insert(ticket, sender);
            ticket
        };
        let _in_line = InLine {
            budget: self,
            ticket,
        };
        self.serve();
        receiver
            .await
            .expect("a waiter is taken out of the line only with its lease")
    }

    /// Something leased can be reclaimed now that could not before: a block became whole, or was read for the first
    /// time. Cheap when nobody waits.
    pub fn notice_reclaimable(self: &Arc<Self>) {
        self.serve();
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Gives idle pool memory back to the kernel as far as it and the leased bytes would pass the budget.
    pub(super) fn trim_pool(&self) {
        self.pool.trim(self.total.saturating_sub(self.leased()));
    }

    fn take(self: &Arc<Self>, class: Class, bytes: u64) -> Option<Lease> {
        loop {
            let answer = {
                let mut state = self.lock();
                let max = state.ledger.lease_max(class);
                assert!(bytes <= max, "a {class:?} lease has at most {max} bytes");
                state.ledger.ask(class, bytes)
            };
            match answer {
                Answer::Granted => return Some(Lease::new(self, class, bytes)),
                Answer::Short(short) => {
                    // Others may take what was freed; as long as something is freed, somebody advances.
                    if self.reclaim(class, short) == 0 {
                        return None;
                    }
                }
                Answer::Behind => return None,
            }
        }
    }

    /// Grants what fits and reclaims for the first that does not.
    ///
    /// Called after every change that could let a waiter advance. Reclaiming drops leases, which comes back here: the
    /// flag stops that at depth two and has one thread at a time reclaim for the line, so that two do not evict
    /// twice for the same waiter.
    fn serve(self: &Arc<Self>) {
        loop {
            let (granted, shortage) = {
                let mut state = self.lock();
                let granted = self.grant_all(&mut state);
                let shortage = state.ledger.shortage();
                if state.reclaiming {
                    state.again = true;
                }
                let mine = shortage.filter(|_| !state.reclaiming);
                state.reclaiming |= mine.is_some();
                (granted, mine)
            };
            for (sender, lease) in granted {
                // A waiter that left between its grant and now: the lease comes back, and is served on from its drop.
                drop(sender.send(lease));
            }
            let Some((class, short)) = shortage else {
                return;
            };
            let freed = self.reclaim(class, short);
            let again = {
                let mut state = self.lock();
                state.reclaiming = false;
                std::mem::take(&mut state.again)
            };
            if freed == 0 && !again {
                return;
            }
        }
    }

    /// The leases are sent by the caller, without the lock: one that nobody receives takes it to come back.
    fn grant_all(self: &Arc<Self>, state: &mut State) -> Vec<(oneshot::Sender<Lease>, Lease)> {
        let mut granted = Vec::new();
        while let Some((ticket, bytes)) = state.ledger.grant() {
            let sender = state
                .waiters
                .remove(&ticket)
                .expect("a ticket in line has a waiter");
            granted.push((sender, Lease::new(self, ticket.class, bytes)));
        }
        granted
    }

    fn reclaim(&self, class: Class, bytes: u64) -> u64 {
        self.reclaimer
            .get()
            .map_or(0, |reclaimer| reclaimer(class, bytes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Budget")
            .field("total", &self.total)
            .field("leased", &state.ledger.leased())
            .field("waiting", &state.ledger.waiting())
            .finish_non_exhaustive()
    }
}

/// A place in the line; dropping it leaves the line.
struct InLine<'a> {
    budget: &'a Arc<Budget>,
    ticket: Ticket,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let sender = {
            let mut state = self.budget.lock();
            state.ledger.leave(self.ticket);
            state.waiters.remove(&self.ticket)
        };
        if sender.is_some() {
            self.budget.serve();
        }
    }
}

/// A share of the budget. Dropping it gives the bytes back and serves who waits for them.
pub struct Lease {
    budget: Arc<Budget>,
    class: Class,
    bytes: u64,
}

impl Lease {
    /// Of bytes that the ledger has already counted.
    fn new(budget: &Arc<Budget>, class: Class, bytes: u64) -> Self {
        budget.metrics.buffer.leased_bytes.inc_by(gauge(bytes));
        Self {
            budget: Arc::clone(budget),
            class,
            bytes,
        }
    }

    /// Bytes of the lease.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it was leased for.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The budget it came from.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Moves `bytes` of this lease into one of its own.
    ///
    /// # Panics
    /// If the lease has fewer.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .expect("a lease is split within its bytes");
        Self {
            budget: Arc::clone(&self.budget),
            class: self.class,
            bytes,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let leased = &self.budget.metrics.buffer.leased_bytes;
        leased.dec_by(gauge(self.bytes));
        self.budget.lock().ledger.give_back(self.bytes);
        self.budget.serve();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({:?}, {} bytes)", self.class, self.bytes)
    }
}

/// Bytes as a gauge counts them.
fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).expect("memory is less than 8 EiB")
}
