//! The lease rule, explored: every interleaving of small systems of requests over the real [`Ledger`].

use std::collections::{BTreeMap, HashSet};

use super::Class::{self, Commit, Demand, ReadAhead, Write};
use super::ledger::{Answer, Ledger, Ticket};

/// Units of the small budget: ceilings 8, 6, 4 and 2, and every lease at most 2.
const TOTAL: u64 = 8;
const RESERVE: u64 = 2;

/// Places on the wire, of which read-ahead must have one: the queue of `read`.
const PLACES: usize = 1;

/// A request: the leases it takes one after the other while it holds the earlier ones, and what becomes of them.
#[derive(Debug, Clone)]
struct Plan {
    leases: Vec<(Class, u64)>,
    place: Place,
    end: End,
}

/// When a request takes one of [`PLACES`], which it holds to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Demand: it is never held back.
    Never,
    /// Read-ahead: with all its memory in hand.
    AfterLeases,
    /// What must not be.
    BeforeLeases,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    GivesBack,
    /// Leaves its bytes in the cache, leased and reclaimable.
    Keeps,
}

impl Plan {
    fn new(leases: &[(Class, u64)]) -> Self {
        Self {
            leases: leases.to_vec(),
            place: Place::Never,
            end: End::GivesBack,
        }
    }

    fn with_place(self, place: Place) -> Self {
        Self { place, ..self }
    }
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Progress {
    leases_held: usize,
    has_place: bool,
    is_waiting: bool,
    is_done: bool,
}

#[derive(Clone)]
struct World<'a> {
    plans: &'a [Plan],
    ledger: Ledger,
    progress: Vec<Progress>,
    line: BTreeMap<Ticket, usize>,
    cached: u64,
}

/// All that decides what can happen next; tickets count only by their order.
type Snapshot = (Vec<Progress>, Vec<usize>, u64);

impl<'a> World<'a> {
    fn new(plans: &'a [Plan]) -> Self {
        let start = Progress {
            leases_held: 0,
            has_place: false,
            is_waiting: false,
            is_done: false,
        };
        Self {
            plans,
            ledger: Ledger::new(TOTAL, RESERVE),
            progress: vec![start; plans.len()],
            line: BTreeMap::new(),
            cached: 0,
        }
    }

    fn snapshot(&self) -> Snapshot {
        let line = self.line.values().copied().collect();
        (self.progress.clone(), line, self.cached)
    }

    /// The world after the next step of request `who`, if it can take one.
    fn step(&self, who: usize) -> Option<Self> {
        let progress = self.progress[who];
        if progress.is_done || progress.is_waiting {
            return None;
        }
        let mut world = self.clone();
        let plan = &self.plans[who];
        let wants_place = match plan.place {
            Place::Never => false,
            Place::AfterLeases => progress.leases_held == plan.leases.len(),
            Place::BeforeLeases => true,
        };
        if wants_place && !progress.has_place {
            let taken = self.progress.iter().filter(|other| other.has_place).count();
            world.progress[who].has_place = true;
            return (taken < PLACES).then_some(world);
        }
        if let Some(&(class, units)) = plan.leases.get(progress.leases_held) {
            if world.ledger.ask(class, units) == Answer::Granted {
                world.progress[who].leases_held += 1;
            } else {
                world.progress[who].is_waiting = true;
                let ticket = world.ledger.enqueue(class, units);
                world.line.insert(ticket, who);
            }
        } else {
            let units = plan.leases.iter().map(|(_, units)| units).sum();
            world.progress[who].is_done = true;
            world.progress[who].has_place = false;
            match plan.end {
                End::GivesBack => world.ledger.give_back(units),
                End::Keeps => world.cached += units,
            }
        }
        world.serve();
        Some(world)
    }

    /// What `Budget::serve` does.
    fn serve(&mut self) {
        loop {
            while let Some((ticket, _)) = self.ledger.grant() {
                let who = self
                    .line
                    .remove(&ticket)
                    .expect("who is in line has a ticket");
                self.progress[who].is_waiting = false;
                self.progress[who].leases_held += 1;
            }
            let Some((_, short)) = self.ledger.shortage() else {
                return;
            };
            let freed = short.min(self.cached);
            if freed == 0 {
                return;
            }
            self.cached -= freed;
            self.ledger.give_back(freed);
        }
    }

    fn is_over(&self) -> bool {
        self.progress.iter().all(|progress| progress.is_done)
    }
}

/// True if some order of steps leaves requests that wait for ever.
fn can_deadlock(plans: &[Plan], states: &mut usize) -> bool {
    let mut seen: HashSet<Snapshot> = HashSet::new();
    let mut open = vec![World::new(plans)];
    while let Some(world) = open.pop() {
        if !seen.insert(world.snapshot()) {
            continue;
        }
        *states += 1;
        let before = open.len();
        open.extend((0..plans.len()).filter_map(|who| world.step(who)));
        if open.len() == before && !world.is_over() {
            return true;
        }
    }
    false
}

/// Every choice of `count` of `plans`, with repetition.
fn choices(plans: &[Plan], count: usize) -> Vec<Vec<Plan>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        for mut rest in choices(&plans[at..], count - 1) {
            rest.push(plan.clone());
            all.push(rest);
        }
    }
    all
}

/// Every plan of leases of the given sizes whose next class may be waited for while the ones before are held.
fn plans(sizes: &[u64], leases_max: usize, may_wait: fn(Class, Class) -> bool) -> Vec<Plan> {
    let mut all: Vec<Plan> = Vec::new();
    let mut last: Vec<Plan> = vec![Plan::new(&[])];
    for _ in 0..leases_max {
        let mut longer = Vec::new();
        for plan in &last {
            for class in Class::ALL {
                if !plan.leases.iter().all(|&(held, _)| may_wait(held, class)) {
                    continue;
                }
                for &size in sizes {
                    let mut plan = plan.clone();
                    plan.leases.push((class, size));
                    longer.push(plan);
                }
            }
        }
        all.extend(longer.iter().cloned());
        last = longer;
    }
    all
}

/// The rule: what is waited for outranks what is held.
fn outranks(held: Class, wanted: Class) -> bool {
    wanted < held
}

fn deadlocks(systems: &[Vec<Plan>]) -> usize {
    let mut states = 0;
    let found = systems
        .iter()
        .filter(|plans| can_deadlock(plans, &mut states))
        .count();
    // Each has at least one state per step of one request: the exploration has not stopped at the start.
    assert!(states > 3 * systems.len());
    found
}

#[test]
fn who_waits_only_for_a_class_that_outranks_what_he_holds_never_deadlocks() {
    // Every size, and every length of plan, three at a time; some leave their bytes in the cache.
    let mut some = plans(&[1, 2], 2, outranks);
    let keeping = plans(&[2], 1, outranks).into_iter().map(|plan| Plan {
        end: End::Keeps,
        ..plan
    });
    some.extend(keeping);
    assert_eq!(deadlocks(&choices(&some, 3)), 0);
    // The largest leases, up to all four classes at once, four at a time: enough to fill every class to its ceiling.
    let large = plans(&[2], 4, outranks);
    assert_eq!(deadlocks(&choices(&large, 4)), 0);
}

#[test]
fn without_the_rule_requests_deadlock() {
    let any = plans(&[2], 2, |_, _| true);
    assert!(deadlocks(&choices(&any, 2)) > 0);
}

#[test]
fn waiting_for_ones_own_class_deadlocks() {
    let two_steps = Plan::new(&[(Demand, 2), (Demand, 2)]);
    let mut states = 0;
    assert!(!can_deadlock(&vec![two_steps.clone(); 3], &mut states));
    assert!(can_deadlock(&vec![two_steps; 4], &mut states));
}

#[test]
fn waiting_for_a_lower_class_deadlocks() {
    let downhill = Plan::new(&[(Demand, 2), (ReadAhead, 1)]);
    assert!(can_deadlock(&[downhill], &mut 0));
    let downhill = Plan::new(&[(Commit, 2), (Write, 1)]);
    assert!(can_deadlock(&[downhill.clone(), downhill], &mut 0));
}

#[test]
fn a_lease_larger_than_its_reserve_deadlocks() {
    let writer = |units| Plan::new(&[(Write, 2), (Commit, units)]);
    assert!(!can_deadlock(&[writer(2), writer(2)], &mut 0));
    assert!(can_deadlock(&[writer(3), writer(3)], &mut 0));
}

#[test]
fn a_queue_for_the_wire_in_which_leases_are_held_never_deadlocks() {
    // Any plans by the rule, and read-ahead that stands in line for the only place, with and without bytes that stay.
    let mut some = plans(&[1, 2], 2, outranks);
    let ahead = |end| Plan {
        end,
        ..Plan::new(&[(ReadAhead, 2)]).with_place(Place::AfterLeases)
    };
    some.extend([ahead(End::GivesBack), ahead(End::Keeps)]);
    assert_eq!(deadlocks(&choices(&some, 3)), 0);
    // Read-ahead has filled all it may, and demand comes on top of it.
    let crowd = [
        ahead(End::GivesBack),
        ahead(End::Keeps),
        Plan::new(&[(Demand, 2)]),
        Plan::new(&[(Write, 2), (Demand, 2)]),
    ];
    assert_eq!(deadlocks(&choices(&crowd, 5)), 0);
}

#[test]
fn a_place_on_the_wire_held_while_waiting_for_memory_deadlocks() {
    let early = Plan::new(&[(ReadAhead, 2)]).with_place(Place::BeforeLeases);
    let late = Plan::new(&[(ReadAhead, 2)]).with_place(Place::AfterLeases);
    assert!(can_deadlock(&[late.clone(), late, early], &mut 0));
}
