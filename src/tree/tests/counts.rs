//! The bookkeeping of a tree, counted anew.

use std::collections::{BTreeSet, HashMap};

use crate::tree::node::{Place, What};
use crate::tree::{Ino, Tree};

/// Compares every count of the tree with what it stands for.
pub(super) fn check_counts(tree: &Tree) {
    let mut children: HashMap<Ino, u32> = HashMap::new();
    for node in tree.nodes.iter() {
        if node.ino != Ino::ROOT {
            *children.entry(node.parent).or_default() += 1;
        }
    }
    let mut idle = 0;
    let mut named = 0;
    for node in tree.nodes.iter() {
        let ino = &node.ino;
        assert_eq!(node.children, children.get(ino).copied().unwrap_or(0));
        let held = *ino == Ino::ROOT
            || node.lookups > 0
            || node.opens > 0
            || node.children > 0
            || node.is_pinned();
        assert_eq!(node.idle, !held);
        assert!(held || node.is_named(), "no name, and nothing holds it");
        assert!(tree.nodes.get(node.parent).is_some());
        idle += usize::from(!held);
        named += usize::from(node.is_named() && *ino != Ino::ROOT);
        let queued = tree.queue.iter().filter(|queued| *queued == ino).count();
        assert_eq!(queued, usize::from(node.queued));
        assert!(held || node.queued);
        assert!(node.is_inode() || node.idle || node.own);
    }
    assert_eq!((tree.idle, tree.index.len()), (idle, named));
    assert!(idle <= tree.idle_max());
    let asked_back = tree.nodes.iter().filter(|node| node.asked_back);
    assert_eq!(asked_back.count(), tree.asked_back);
    check_side_tables(tree);
}

fn check_side_tables(tree: &Tree) {
    let own: Vec<_> = tree.nodes.iter().filter(|node| node.own).collect();
    assert_eq!(own.len(), tree.own.len());
    assert!(own.len() <= tree.own.max);
    assert!(own.iter().all(|node| node.is_named()));
    let overlaid: Vec<_> = tree.nodes.iter().filter(|node| node.overlaid).collect();
    assert_eq!(overlaid.len(), tree.overlays());
    assert!(overlaid.iter().all(|node| node.place != Place::Stale));
    tree.overlays.check();
    let mut locals = BTreeSet::new();
    for node in tree.nodes.iter().filter(|node| node.ino != Ino::ROOT) {
        if node.is_local() {
            locals.insert((node.parent, &*node.name, node.ino));
        }
        assert!(node.is_named() || !matches!(&node.what, What::Directory(at) if at.locals > 0));
    }
    assert_eq!(locals, tree.locals.iter().collect());
    let specials = tree.nodes.iter().filter(|node| node.special().is_some());
    assert_eq!(specials.count(), tree.specials);
    for node in tree.nodes.iter() {
        if let What::Directory(directory) = &node.what {
            let below = locals.iter().filter(|local| local.0 == node.ino).count();
            assert_eq!(directory.locals as usize, below);
        }
    }
}
