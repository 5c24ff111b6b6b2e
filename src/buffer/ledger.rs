//! Who may lease how much: the arithmetic and the queue of the budget, as plain data.

use std::collections::BTreeMap;

/// What a lease is for, in order of service: an earlier class outranks a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A reader waits in the kernel for these bytes.
    Demand,
    /// Bytes on their way up, whose upload lets go of memory that writers hold.
    Commit,
    /// Bytes of writers that were let in.
    Write,
    /// Bytes that nobody has asked for yet.
    ReadAhead,
}

impl Class {
    /// Every class, in order of service.
    pub const ALL: [Self; 4] = [Self::Demand, Self::Commit, Self::Write, Self::ReadAhead];

    /// How many classes outrank this one.
    fn rank(self) -> usize {
        self as usize
    }
}

/// The place of a waiter: by class, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket {
    pub(super) class: Class,
    number: u64,
}

/// What the ledger says to a request that does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The bytes are leased.
    Granted,
    /// So many bytes must be given back first.
    Short(u64),
    /// Somebody of this class or a higher one was here before.
    Behind,
}

/// The bytes that are leased and the requests that wait, without a lock, a clock or a waker.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    /// By rank; falls from class to class.
    ceilings: [u64; 4],
    /// INVARIANT: a grant leaves it at or below the ceiling of the class granted.
    leased: u64,
    queue: BTreeMap<Ticket, u64>,
    next_number: u64,
}

impl Ledger {
    /// A ledger of `total` bytes in which each class but the last has `reserve` bytes that no lower class can take.
    pub(super) fn new(total: u64, reserve: u64) -> Self {
        let ceiling = |class: Class| total - reserve * class.rank() as u64;
        Self {
            ceilings: Class::ALL.map(ceiling),
            leased: 0,
            queue: BTreeMap::new(),
            next_number: 0,
        }
    }

    pub(super) fn leased(&self) -> u64 {
        self.leased
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn ceiling(&self, class: Class) -> u64 {
        self.ceilings[class.rank()]
    }

    /// The largest single lease of a class: its ceiling less that of the class below.
    ///
    /// INVARIANT: liveness needs this bound, not only the ceiling; `rule.rs` holds both the proof's test and the
    /// deadlock that a larger lease can make.
    pub(super) fn lease_max(&self, class: Class) -> u64 {
        let below = self.ceilings.get(class.rank() + 1).copied().unwrap_or(0);
        self.ceiling(class) - below
    }

    /// Leases at once, or says why not.
    pub(super) fn ask(&mut self, class: Class, bytes: u64) -> Answer {
        let first = self.queue.first_key_value();
        if first.is_some_and(|(ticket, _)| ticket.class <= class) {
            return Answer::Behind;
        }
        match self.short_by(class, bytes) {
            0 => {
                self.leased += bytes;
                Answer::Granted
            }
            short => Answer::Short(short),
        }
    }

    /// Stands in line, behind everyone of the same class.
    pub(super) fn enqueue(&mut self, class: Class, bytes: u64) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        let ticket = Ticket { class, number };
        self.queue.insert(ticket, bytes);
        ticket
    }

    /// Leases to the first in line, if it fits, and says to whom and how much.
    ///
    /// Only the first is looked at, and nobody is held up by that: a request of class c is at most c's ceiling less
    /// the next, so when it does not fit, more than the next ceiling is leased and no lower class fits either.
    pub(super) fn grant(&mut self) -> Option<(Ticket, u64)> {
        let (&ticket, &bytes) = self.queue.first_key_value()?;
        if self.short_by(ticket.class, bytes) > 0 {
            return None;
        }
        self.queue.pop_first();
        self.leased += bytes;
        Some((ticket, bytes))
    }

    /// What the first in line lacks, if it does not fit.
    pub(super) fn shortage(&self) -> Option<(Class, u64)> {
        let (ticket, &bytes) = self.queue.first_key_value()?;
        let short = self.short_by(ticket.class, bytes);
        (short > 0).then_some((ticket.class, short))
    }

    /// Leaves the line; true if the ticket was still in it.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        self.queue.remove(&ticket).is_some()
    }

    /// Takes leased bytes back.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.leased = self
            .leased
            .checked_sub(bytes)
            .expect("only leased bytes come back");
    }

    fn short_by(&self, class: Class, bytes: u64) -> u64 {
        (self.leased + bytes).saturating_sub(self.ceiling(class))
    }
}
