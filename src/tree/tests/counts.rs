//! The bookkeeping of a tree, counted anew.

use std::collections::HashMap;

use crate::tree::node::What;
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
        let held = *ino == Ino::ROOT || node.lookups > 0 || node.opens > 0 || node.children > 0;
        assert_eq!(node.idle, !held);
        assert!(held || !node.stale, "a stale node that nothing holds");
        assert!(tree.nodes.get(node.parent).is_some());
        idle += usize::from(!held);
        named += usize::from(!node.stale && *ino != Ino::ROOT);
        let queued = tree.queue.iter().filter(|queued| *queued == ino).count();
        assert_eq!(queued, usize::from(node.queued));
        assert!(held || node.queued);
        assert!(!matches!(node.what, What::Nothing | What::Unknown) || node.idle);
    }
    assert_eq!((tree.idle, tree.index.len()), (idle, named));
    assert!(idle <= tree.idle_max());
    let asked_back = tree.nodes.iter().filter(|node| node.asked_back);
    assert_eq!(asked_back.count(), tree.asked_back);
}
