//! What the mount knows of names and inodes.
//!
//! A bucket has keys; a kernel wants names, directories and inode numbers. This room turns one into the other and
//! remembers, with its age, what the bucket has answered. It is plain data: it asks nothing, waits for nothing and has
//! no clock; `now` is an argument, and every answer comes with the moment at which its question was `asked`.
//!
//! **An inode is one incarnation of one key.** The kernel caches pages by inode, so an object that is replaced gets a new
//! inode number under the same name, and the old inode is *stale* for good: it keeps its version, and whoever opens it
//! is told ESTALE, which makes the kernel look the name up again. The same holds for an object that becomes a directory,
//! and for a name that vanishes and comes back. Numbers are never used twice.
//!
//! **Knowledge has an age, counted from the question.** [`Tree::known`] says what a name is and whether that is young
//! enough to be used ([`Ttl`]). Answers may overtake each other: one that was asked before what the tree knows already
//! never overwrites it ([`Settled`] then says what holds instead), so a slow old HEAD can't bring back a replaced version.
//! An object that is found proves that the directories above it exist, so it refreshes them too.
//!
//! **A listing that was read from beginning to end also says what isn't there** ([`Tree::begin_listing`],
//! [`Tree::complete_listing`]), for as long as a negative answer is good.
//!
//! **What the kernel holds is kept, the rest is bounded.** An inode lives while the kernel counts lookups of it, while it is
//! open, or while something below it lives. All other names are kept as cached knowledge up to a bound on all names; the longest
//! unconfirmed go first (by second chance, so about). When the kernel alone holds that many, the coldest are asked back
//! ([`Tree::coldest`]). A name of 24 bytes costs less than 200 bytes, its text and its place in all tables included (the full key is built
//! when it is needed: a [`Version`](crate::object::Version) held per name would double that).
//!
//! A [`Sweep`] says which pages of a listing to ask for, many at once, and puts them in order; [`Assembly`] makes settled entries of the pages of a listing, and [`DirectoryStream`] gives them the cookies of one open
//! directory. `.` and `..` are not entries here; who answers the kernel adds them.

mod answers;
mod cookies;
mod crowd;
mod globs;
mod listing;
mod names;
mod node;
mod nodes;
mod pins;
mod sweep;
mod table;
#[cfg(test)]
mod tests;

pub use answers::{ListingStart, Settled};
pub use cookies::{DirectoryStream, More, Position, Relist};
pub use crowd::{Choice, Cold, Left};
pub use globs::{GlobError, Globs};
pub use listing::{Assembly, Entry, Hidden, Page, Resume, What, Why};
pub use names::{NAME_BYTES_MAX, NameError, valid_name};
pub use node::{Ino, Kind, Node, Object};
pub use sweep::{Next, Sweep, Ticket, Want};
pub use table::{IMMUTABLE_TTL, Known, NEGATIVE_TTL_MAX, PathError, Stale, Tree, Ttl};
