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
//! **What this mount changes is under its own control** (`local`, `rename`). A file that is being written and a directory that was
//! made or emptied here are *local*: answers of the bucket do not take their names, and what they say is kept to detect that somebody
//! else has stored the object meanwhile ([`LocalFile::seen_elsewhere`]). A commit or a rename keeps the inode number; what was unlinked
//! is an *orphan*, which is not stale. After a change older answers never win, also when the name has been let go since (`own`).
//! A local name is shown in its place among the listed ones ([`Tree::local_names`], [`DirectoryStream::beside`]).
//! Attributes that OSS has no place for are an [`Overlay`]; pipes, sockets and devices are local for good ([`Special`]).
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
mod beside;
mod cookies;
mod crowd;
mod file;
mod globs;
mod invalidate;
mod listing;
mod local;
mod names;
mod node;
mod nodes;
mod overlay;
mod own;
mod packed;
mod pins;
mod rename;
mod special;
mod sweep;
mod table;
#[cfg(test)]
mod tests;

pub use answers::{ListingStart, Settled};
pub use beside::LocalEntries;
pub use cookies::{DirectoryStream, More, Position, Relist};
pub use crowd::{Choice, Cold, Left};
pub use file::{Elsewhere, LocalFile, Symlink};
pub use globs::{GlobError, Globs};
pub use listing::{Assembly, Entry, Hidden, Page, Resume, What, Why};
pub use local::Shown;
pub use names::{NAME_BYTES_MAX, NameError, valid_name};
pub use node::{Ino, Kind, Node};
pub use overlay::{Overlay, OverlayError, XATTR_BYTES_MAX};
pub use packed::Object;
pub use rename::{ChangeError, Over, Renamed};
pub use special::Special;
pub use sweep::{Next, Sweep, Ticket, Want};
pub use table::{IMMUTABLE_TTL, Known, NEGATIVE_TTL_MAX, PathError, Stale, Tree, Ttl};
