//! The budget.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Budget, Class, Lease, MEMORY_BYTES_MIN};
use super::small_budget;

const MIB: u64 = 1 << 20;

type Waiting = Pin<Box<dyn Future<Output = Lease>>>;

fn start(budget: &Arc<Budget>, class: Class, bytes: u64) -> Waiting {
    let budget = Arc::clone(budget);
    Box::pin(async move { budget.lease(class, bytes).await })
}

fn poll(waiting: &mut Waiting) -> Option<Lease> {
    match waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(lease) => Some(lease),
        Poll::Pending => None,
    }
}

#[test]
fn each_class_has_a_reserve_that_lower_ones_cannot_take() {
    let (budget, metrics) = small_budget();
    let _ahead = budget.try_lease(Class::ReadAhead, 10 * MIB).unwrap();
    assert!(budget.try_lease(Class::ReadAhead, 1).is_none());
    let _write = budget.try_lease(Class::Write, 2 * MIB).unwrap();
    assert!(budget.try_lease(Class::Write, 1).is_none());
    let _commit = budget.try_lease(Class::Commit, 2 * MIB).unwrap();
    assert!(budget.try_lease(Class::Commit, 1).is_none());
    let _demand = budget.try_lease(Class::Demand, 2 * MIB).unwrap();
    assert!(budget.try_lease(Class::Demand, 1).is_none());
    assert_eq!(budget.leased(), budget.total());
    assert_eq!(metrics.buffer.refusals.get(), 4);
}

#[test]
fn reserves_are_between_2_and_32_mib() {
    let reserves = [(16, 2), (32, 2), (48, 3), (512, 32), (65536, 32)];
    for (total, reserve) in reserves {
        let budget = Budget::new(total * MIB, Arc::default());
        assert_eq!(budget.max_lease(Class::Demand), reserve * MIB);
        assert_eq!(budget.max_lease(Class::Write), reserve * MIB);
        let ahead = (total - 3 * reserve) * MIB;
        assert_eq!(budget.max_lease(Class::ReadAhead), ahead);
    }
}

#[test]
#[should_panic(expected = "a budget has at least")]
fn a_smaller_budget_is_a_mistake() {
    let _ = Budget::new(MEMORY_BYTES_MIN - 1, Arc::default());
}

#[test]
#[should_panic(expected = "lease has at most")]
fn a_larger_lease_is_a_mistake() {
    let (budget, _) = small_budget();
    let _ = budget.try_lease(Class::Demand, 2 * MIB + 1);
}

#[test]
fn higher_classes_are_served_first_and_nobody_jumps_the_queue() {
    let (budget, metrics) = small_budget();
    let mut held: Vec<_> = (0..8)
        .map(|_| budget.try_lease(Class::Demand, 2 * MIB).unwrap())
        .collect();
    let mut ahead = start(&budget, Class::ReadAhead, MIB);
    let mut first = start(&budget, Class::Commit, 2 * MIB);
    let mut second = start(&budget, Class::Commit, 1);
    let mut demand = start(&budget, Class::Demand, MIB);
    for waiting in [&mut ahead, &mut first, &mut second, &mut demand] {
        assert!(poll(waiting).is_none());
    }
    assert_eq!(metrics.buffer.waits.get(), 4);
    held.pop();
    let _demand = poll(&mut demand).unwrap();
    // 15 MiB are leased: nothing below demand fits.
    assert!(budget.try_lease(Class::Commit, 1).is_none());
    assert!(poll(&mut first).is_none() && poll(&mut second).is_none());
    held.truncate(5);
    let _first = poll(&mut first).unwrap();
    let _second = poll(&mut second).unwrap();
    assert!(poll(&mut ahead).is_none());
    held.clear();
    assert!(poll(&mut ahead).is_some());
}

#[test]
fn a_waiter_that_leaves_lets_the_next_one_in() {
    let (budget, _) = small_budget();
    let _ahead = budget.try_lease(Class::ReadAhead, 10 * MIB).unwrap();
    let write = budget.try_lease(Class::Write, MIB).unwrap();
    let mut large = start(&budget, Class::Write, 2 * MIB);
    let mut small = start(&budget, Class::Write, MIB);
    assert!(poll(&mut large).is_none() && poll(&mut small).is_none());
    drop(large);
    let small = poll(&mut small).unwrap();
    // Granted, but dropped before it was polled: the bytes come back.
    let mut unpolled = start(&budget, Class::Write, MIB);
    assert!(poll(&mut unpolled).is_none());
    drop(small);
    assert_eq!(budget.leased(), 12 * MIB);
    drop(unpolled);
    drop(write);
    assert_eq!(budget.leased(), 10 * MIB);
}

#[test]
fn a_split_lease_is_given_back_in_parts() {
    let (budget, metrics) = small_budget();
    let mut lease = budget.try_lease(Class::Demand, MIB).unwrap();
    let part = lease.split(1000);
    assert_eq!((lease.bytes(), part.bytes()), (MIB - 1000, 1000));
    drop(lease);
    assert_eq!(budget.leased(), 1000);
    assert_eq!(metrics.buffer.leased_bytes.get(), 1000);
    drop(part);
    assert_eq!(budget.leased(), 0);
}

#[derive(Debug, Clone)]
enum Act {
    Try(Class, u64),
    Wait(Class, u64),
    /// A held lease goes back, as a whole or in part.
    Drop(usize),
    Split(usize, u64),
    /// A waiter leaves.
    Leave(usize),
    /// A held lease becomes reclaimable.
    Keep(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let class = prop::sample::select(&Class::ALL[..]);
    // In quarters of the largest lease that all classes may have, so that sums meet the ceilings exactly.
    let bytes = (0..=4_u64).prop_map(|quarters| quarters * MIB / 2);
    prop_oneof![
        3 => (class.clone(), bytes.clone()).prop_map(|(class, bytes)| Act::Try(class, bytes)),
        4 => (class, bytes.clone()).prop_map(|(class, bytes)| Act::Wait(class, bytes)),
        3 => any::<usize>().prop_map(Act::Drop),
        1 => (any::<usize>(), bytes).prop_map(|(at, bytes)| Act::Split(at, bytes)),
        1 => any::<usize>().prop_map(Act::Leave),
        2 => any::<usize>().prop_map(Act::Keep),
    ]
}

/// The budget, said plainly.
#[derive(Debug, Default)]
struct Twin {
    leased: u64,
    kept: VecDeque<u64>,
    /// In order of arrival.
    line: Vec<(Class, u64, usize)>,
}

impl Twin {
    fn ceiling(class: Class) -> u64 {
        match class {
            Class::Demand => 16 * MIB,
            Class::Commit => 14 * MIB,
            Class::Write => 12 * MIB,
            Class::ReadAhead => 10 * MIB,
        }
    }

    fn fits(&mut self, class: Class, bytes: u64) -> bool {
        while self.leased + bytes > Self::ceiling(class) {
            let Some(kept) = self.kept.pop_front() else {
                return false;
            };
            self.leased -= kept;
        }
        self.leased += bytes;
        true
    }

    fn try_lease(&mut self, class: Class, bytes: u64) -> bool {
        !self.line.iter().any(|&(other, ..)| other <= class) && self.fits(class, bytes)
    }

    /// Names in the order in which they get their leases.
    fn serve(&mut self) -> Vec<usize> {
        let mut served = Vec::new();
        loop {
            let first = (0..self.line.len()).min_by_key(|&at| (self.line[at].0, at));
            let Some(at) = first else {
                return served;
            };
            let (class, bytes, name) = self.line[at];
            if !self.fits(class, bytes) {
                return served;
            }
            self.line.remove(at);
            served.push(name);
        }
    }
}

/// A budget whose reclaimer drops kept leases, oldest first.
fn budget_that_keeps() -> (Arc<Budget>, Arc<Mutex<VecDeque<Lease>>>) {
    let (budget, _) = small_budget();
    let kept: Arc<Mutex<VecDeque<Lease>>> = Arc::default();
    let shelf = Arc::clone(&kept);
    budget.set_reclaimer(move |_, bytes| {
        let mut victims = Vec::new();
        let mut freed = 0;
        while freed < bytes
            && let Some(lease) = shelf.lock().unwrap().pop_front()
        {
            freed += lease.bytes();
            victims.push(lease);
        }
        freed
    });
    (budget, kept)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_budget_does_what_its_twin_does(acts in prop::collection::vec(act(), 1..80)) {
        let (budget, kept) = budget_that_keeps();
        let mut twin = Twin::default();
        let mut held: Vec<Lease> = Vec::new();
        let mut line: Vec<(usize, Waiting)> = Vec::new();
        for (name, act) in acts.into_iter().enumerate() {
            match act {
                Act::Try(class, bytes) => {
                    let lease = budget.try_lease(class, bytes);
                    prop_assert_eq!(lease.is_some(), twin.try_lease(class, bytes));
                    held.extend(lease);
                }
                Act::Wait(class, bytes) => {
                    let mut waiting = start(&budget, class, bytes);
                    let lease = poll(&mut waiting);
                    prop_assert_eq!(lease.is_some(), twin.try_lease(class, bytes));
                    if lease.is_none() {
                        twin.line.push((class, bytes, name));
                        line.push((name, waiting));
                    }
                    held.extend(lease);
                }
                Act::Drop(at) if !held.is_empty() => {
                    let lease = held.remove(at % held.len());
                    twin.leased -= lease.bytes();
                    drop(lease);
                }
                Act::Split(at, bytes) if !held.is_empty() => {
                    let at = at % held.len();
                    let part = bytes.min(held[at].bytes());
                    let part = held[at].split(part);
                    held.push(part);
                }
                Act::Leave(at) if !line.is_empty() => {
                    let (name, waiting) = line.remove(at % line.len());
                    twin.line.retain(|&(_, _, other)| other != name);
                    drop(waiting);
                }
                Act::Keep(at) if !held.is_empty() => {
                    let lease = held.remove(at % held.len());
                    twin.kept.push_back(lease.bytes());
                    kept.lock().unwrap().push_back(lease);
                    budget.notice_reclaimable();
                }
                Act::Drop(_) | Act::Split(..) | Act::Leave(_) | Act::Keep(_) => {}
            }
            let served = twin.serve();
            let mut got = Vec::new();
            line.retain_mut(|(name, waiting)| match poll(waiting) {
                Some(lease) => {
                    held.push(lease);
                    got.push(*name);
                    false
                }
                None => true,
            });
            got.sort_unstable();
            let mut expected = served;
            expected.sort_unstable();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(budget.leased(), twin.leased);
        }
        drop((held, line));
        kept.lock().unwrap().clear();
        prop_assert_eq!(budget.leased(), 0);
    }
}

/// Tasks on several threads lease, wait, leave and keep at random, under the rule; all come to an end.
#[test]
fn every_lease_under_load_is_granted_in_the_end() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let (budget, kept) = budget_that_keeps();
    let granted = Arc::new(AtomicU64::new(0));
    let work = async {
        let mut tasks = tokio::task::JoinSet::new();
        for seed in 0..32 {
            let (budget, kept) = (Arc::clone(&budget), Arc::clone(&kept));
            let granted = Arc::clone(&granted);
            tasks.spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..500 {
                    let class = Class::ALL[random.usize(..4)];
                    let bytes = random.u64(0..=2 * MIB);
                    if random.u8(..8) == 0 {
                        // Leaves after one look.
                        let waiting = std::pin::pin!(budget.lease(class, bytes));
                        let _ = futures_poll_once(waiting).await;
                        continue;
                    }
                    let lease = budget.lease(class, bytes).await;
                    assert!(budget.leased() <= budget.total());
                    if class != Class::Demand && random.bool() {
                        let above = budget.lease(Class::Demand, 2 * MIB).await;
                        tokio::task::yield_now().await;
                        drop(above);
                    }
                    if random.bool() {
                        kept.lock().unwrap().push_back(lease);
                        budget.notice_reclaimable();
                    }
                    granted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    };
    let ended =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), work).await });
    assert!(
        ended.is_ok(),
        "{budget:?} is stuck after {granted:?} leases"
    );
    kept.lock().unwrap().clear();
    assert_eq!(budget.leased(), 0);
}

async fn futures_poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
