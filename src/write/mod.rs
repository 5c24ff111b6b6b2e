//! What becomes of writes: a file that is being written, and how it gets into the bucket.
//!
//! A bucket takes whole objects. Programs write pieces: they append, go back to the header, leave holes, cut off, copy
//! ranges, rename. So a file that is being written is no bytes but a map of where its bytes lie ([`ExtentMap`]): in objects of the
//! bucket, in staging, nowhere (zeros), or in parts of an upload that is under way. One mechanism serves them all.
//!
//! New bytes go up behind the writer, as parts of a multipart upload ([`Parts`]). When somebody wants the file stored
//! (fsync, or the close that [`Holders`] recognises as the one that counts), a [`Plan`] says what is left to do: one PutObject
//! for a small file, for a large one parts that are kept, ranges that OSS copies, and ranges that are sent. Other readers see the old object
//! until the upload is completed, and then the new one.
//!
//! All here is plain data: no I/O, no clock, no lock. What sends, and what holds staged bytes, stands around it.
//!
//! A [`Draft`] is all of it of one file:
//!
//! | what | in which order |
//! |---|---|
//! | write | stage the bytes, [`Ledger::named`], [`Draft::write`], then [`Draft::full`] until nothing is ripe |
//! | memory is short | [`Draft::let_go`], then [`Draft::pressed`], then [`Draft::again`] |
//! | a part is sent | [`Draft::arrived`] or [`Draft::failed`] |
//! | commit | clone the map, [`Draft::plan`], [`conflict()`], do it, [`Draft::committed`] with the clone |
//! | the plan says that bytes must be read first | complete the upload to a hidden object, [`Draft::materialised`], plan again |
//! | it failed | [`Draft::attempted`]; nothing else has changed |
//! | after any of them | [`Draft::take_dropped`] to [`Ledger::dropped`]; not while a commit runs |

mod bases;
mod body;
mod commit;
mod conflict;
mod draft;
mod error;
mod extents;
mod file;
mod flush;
mod limits;
mod parts;
mod plan;
mod ranges;
mod staging;
mod temporary;
#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and its files are small"
)]
mod tests;
mod upload;
mod writer;

pub use bases::{Base, BaseId, Bases, Copying};
pub use commit::Committed;
pub use conflict::{Conflict, OnConflict, conflict};
pub use draft::Draft;
pub use error::{Error, NeedsRoom};
pub use extents::{
    ChunkId, ExtentMap, Fallocate, Ledger, OnlyUploaded, Piece, Place, StagedRange, Totals,
};
pub use file::{File, Fragment, MustCommit, Staged};
pub use flush::{Access, Decision, HandleId, Holders, Process};
pub use limits::{FILE_BYTES_MAX, Limits, PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX, PartNumber};
pub use parts::{Part, Parts, Pressure, Progress, Schedule, Seal, Sealing};
pub use plan::{Commit, Make, Plan, Step, fetched};
pub use staging::StagingDirectory;
pub use temporary::is_temporary;
pub use writer::{Config, Exclusive, FETCH_BYTES_MAX, Fetch, Fetched, Writer};
