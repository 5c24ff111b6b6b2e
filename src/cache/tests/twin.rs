//! The order of eviction against a naive twin.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::Origin;
use super::super::order::{Found, Order};
use super::{BLOCK, fill, filling, version};
use crate::buffer::{Block, Budget, Class, MEMORY_BYTES_MIN};

#[derive(Debug, Clone)]
enum Act {
    Insert {
        version: usize,
        index: u64,
        origin: Origin,
    },
    Get {
        version: usize,
        index: u64,
    },
    /// Holds what a get finds.
    Hold {
        version: usize,
        index: u64,
    },
    LetGo(usize),
    Purge(usize),
    Reclaim(Class, u64),
}

fn act() -> impl Strategy<Value = Act> {
    let place = || (0..3_usize, 0..6_u64);
    let origin = prop::sample::select(&[Origin::Demand, Origin::Ahead][..]);
    let class = prop::sample::select(&Class::ALL[..]);
    prop_oneof![
        6 => (place(), origin)
            .prop_map(|((version, index), origin)| Act::Insert { version, index, origin }),
        4 => place().prop_map(|(version, index)| Act::Get { version, index }),
        2 => place().prop_map(|(version, index)| Act::Hold { version, index }),
        2 => any::<usize>().prop_map(Act::LetGo),
        1 => (0..3_usize).prop_map(Act::Purge),
        4 => (class, 1..24_u64).prop_map(|(class, pages)| Act::Reclaim(class, pages << 12)),
    ]
}

/// One block of the twin.
#[derive(Debug, Clone, PartialEq)]
struct Card {
    version: usize,
    index: u64,
    bytes: u64,
    unread: bool,
    /// Bytes that had come when it came, its own included.
    arrived: u64,
}

/// The cache, said plainly: one list from the least to the most recently used, gone through from the start each time.
#[derive(Debug, Default)]
struct Twin {
    cards: Vec<Card>,
    arrived: u64,
    total: u64,
    /// Bytes of blocks that were forgotten and are still held.
    leaving: u64,
}

impl Twin {
    fn find(&self, version: usize, index: u64) -> Option<usize> {
        self.cards
            .iter()
            .position(|card| card.version == version && card.index == index)
    }

    fn get(&mut self, version: usize, index: u64) -> bool {
        let Some(at) = self.find(version, index) else {
            return false;
        };
        let mut card = self.cards.remove(at);
        card.unread = false;
        self.cards.push(card);
        true
    }

    fn insert(&mut self, version: usize, index: u64, bytes: u64, unread: bool) -> bool {
        if self.find(version, index).is_some() {
            return false;
        }
        self.arrived += bytes;
        let arrived = self.arrived;
        self.cards.push(Card {
            version,
            index,
            bytes,
            unread,
            arrived,
        });
        true
    }

    fn is_forsaken(&self, card: &Card) -> bool {
        card.unread && self.arrived - card.arrived > self.total
    }

    fn reclaim(&mut self, class: Class, bytes: u64, is_held: impl Fn(&Card) -> bool) {
        // In the order in which they would go: forsaken ones, then the least recently used.
        let (forsaken, rest): (Vec<_>, Vec<_>) = self
            .cards
            .iter()
            .cloned()
            .partition(|card| self.is_forsaken(card));
        let read: u64 = self
            .cards
            .iter()
            .filter(|card| !card.unread)
            .map(|card| card.bytes)
            .sum();
        let ahead = class == Class::ReadAhead;
        let spared = if ahead { self.total / 8 } else { 0 };
        if ahead && read.saturating_sub(spared) < bytes && forsaken.is_empty() {
            return;
        }
        let candidates: Vec<Card> = forsaken
            .into_iter()
            .chain(rest.into_iter().filter(|card| !(ahead && card.unread)))
            .collect();
        let mut freed = 0;
        let mut read_left = read;
        let mut passed_over = Vec::new();
        for card in candidates {
            if freed >= bytes || (!card.unread && read_left <= spared) {
                break;
            }
            if !card.unread {
                read_left -= card.bytes;
            }
            self.cards.retain(|other| *other != card);
            if is_held(&card) {
                passed_over.push(card);
            } else {
                freed += card.bytes;
            }
        }
        for card in passed_over {
            if freed + self.leaving < bytes {
                self.leaving += card.bytes;
            } else {
                self.cards.push(card);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_cache_does_what_its_twin_does(acts in prop::collection::vec(act(), 1..100)) {
        // The order alone, which does not care that whole blocks are larger than these.
        let budget = Budget::new(MEMORY_BYTES_MIN, Arc::default());
        let total = 40 << 12;
        let mut order = Order::new(total);
        let mut twin = Twin {
            total, ..Twin::default() };
        let versions: Vec<_> = (0..3).map(|at| version(&at.to_string(), 6 * BLOCK)).collect();
        let mut held: Vec<(usize, u64, Arc<Block>)> = Vec::new();
        let mut leaving = Vec::new();
        for act in acts {
            match act {
                Act::Insert { version, index, origin } => {
                    let pages = 1 + (version as u64 + index) % 3;
                    let bytes = pages << 12;
                    let len = usize::try_from(bytes).unwrap();
                    let (block, writer) = filling(&budget, Class::Demand, len);
                    fill(writer);
                    let inserted = order.insert(&versions[version], index, block, origin).is_ok();
                    let unread = origin == Origin::Ahead;
                    prop_assert_eq!(inserted, twin.insert(version, index, bytes, unread));
                }
                Act::Get { version, index } | Act::Hold { version, index } => {
                    let found = order.get(&versions[version], index);
                    let block = match found {
                        Found::Block { block, .. } => Some(block),
                        _ => None,
                    };
                    prop_assert_eq!(block.is_some(), twin.get(version, index));
                    if matches!(act, Act::Hold { .. }) {
                        held.extend(block.map(|block| (version, index, block)));
                    }
                }
                Act::LetGo(at) => {
                    if !held.is_empty() {
                        held.remove(at % held.len());
                    }
                    leaving.clear();
                    twin.leaving = 0;
                }
                Act::Purge(version) => {
                    drop(order.purge(&versions[version]));
                    twin.cards.retain(|card| card.version != version);
                    // A held block of a purged version must not be taken for its successor.
                    held.retain(|(other, ..)| *other != version);
                }
                Act::Reclaim(class, bytes) => {
                    drop(order.evict(class, bytes));
                    twin.reclaim(class, bytes, |card| {
                        held.iter().any(|(version, index, _)| {
                            *version == card.version && *index == card.index
                        })
                    });
                    let gone = |version, index| twin.find(version, index).is_none();
                    leaving.extend(held.extract_if(.., |(version, index, _)| gone(*version, *index)));
                }
            }
            for (at, version) in versions.iter().enumerate() {
                let missing: Vec<u64> = order.missing(version, 0..6).into_iter().flatten().collect();
                let expected: Vec<u64> =
                    (0..6).filter(|&index| twin.find(at, index).is_none()).collect();
                prop_assert_eq!(missing, expected);
            }
            let bytes: u64 = twin.cards.iter().map(|card| card.bytes).sum();
            prop_assert_eq!(order.bytes(), bytes);
        }
        drop((order, held, leaving));
        prop_assert_eq!(budget.leased(), 0);
    }
}
