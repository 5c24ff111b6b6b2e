//! What time it is for the ends of sets.

use std::sync::OnceLock;
use std::time::Instant;

use jiff::Timestamp;

/// When this was first asked.
static BEGIN: OnceLock<(Timestamp, Instant)> = OnceLock::new();

/// The wall clock's time when it was first asked, and the time that has passed since.
///
/// A wall clock that is set while a mount lives changes nothing: else a jump ahead would make all sets dead, those that are offered
/// included, and one back would have none renewed before it is refused. Where the wall clock was wrong at first, or this process was suspended, OSS
/// has the last word: a set that it calls expired is replaced.
pub(super) fn now() -> Timestamp {
    let (wall, since) = BEGIN.get_or_init(|| (Timestamp::now(), Instant::now()));
    wall.checked_add(since.elapsed()).unwrap_or(Timestamp::MAX)
}
