//! Reads without a pattern: which blocks they come back to.

/// So many reads in one block within the last [`RECENT_BLOCKS`] random ones are locality. Three happen by chance: reads of
/// 4 KiB at random in 1 GiB then fetch 1.36 times what they ask for, with four 1.23 times.
const TOUCHES_FOR_WHOLE_BLOCK: u32 = 4;

/// Random blocks remembered.
const RECENT_BLOCKS: usize = 32;

/// The blocks that were hit last.
#[derive(Debug, Default)]
pub(super) struct Touches {
    /// Block and hits, the oldest first.
    recent: Vec<(u64, u32)>,
}

impl Touches {
    /// Counts a read in `block`; true once the block is worth fetching whole.
    pub(super) fn touch(&mut self, block: u64) -> bool {
        if let Some(entry) = self.recent.iter_mut().find(|entry| entry.0 == block) {
            entry.1 += 1;
            return entry.1 >= TOUCHES_FOR_WHOLE_BLOCK;
        }
        if self.recent.len() == RECENT_BLOCKS {
            self.recent.remove(0);
        }
        self.recent.push((block, 1));
        false
    }
}
