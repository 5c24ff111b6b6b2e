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
//! # The doing part
//!
//! A [`Writer`] serves a mount, a [`File`] is one file. Eight rules:
//! - **A write is inline.** [`File::try_write`] copies the payload into leased memory, or into a file of the staging directory, and is done.
//!   Only where there is no room it is [`File::write`] that waits, and only while something is on its way that makes some (`room`).
//! - **Staged bytes never change** (`staging`). A body is sent from where its bytes lie, holding them and their lease; a commit reads a clone of the
//!   map; writing goes on meanwhile. What is overwritten again and again is copied together when half of memory is waste.
//! - **Leases.** Staging has the class `Write`. What a part needs beside staged bytes (ranges of objects, staging files, very short runs) is
//!   leased at once with the class `Commit` before the part takes its place on the wire, and reading it may wait for readers' memory: every step
//!   outranks what is held. A part that goes up waits for no writer.
//! - **Nothing is lost by a failure** (`commit`). The file changes only when the object is there. What has gone up is kept for the next attempt. A commit
//!   that nobody saw the end of is looked for before it is repeated.
//! - **An upload is completed only to the whole file.** Parts of an upload cannot be read, and it becomes an object only under the name that it was begun
//!   with. So when bytes are needed again that memory has let go of ([`OnlyUploaded`]), the file is stored as it is at that moment, as by an fsync
//!   ([`File::materialise`]); what was let go lies in an object then. With `--staging-dir` this is rare.
//! - **What a crash would lose is on disk** (`staging::journal`), with `--staging-dir`: a file's changes are logged until they are stored.
//! - **A file whose name changes is frozen** ([`Frozen`]): neither is it stored to make room, nor do parts of it go up. An upload is of one name.
//! - **Uploads are ours, provably** (`mark`), and are given up when nothing needs them.
//!
//! # The pure part
//!
//! All below is plain data: no I/O, no clock, no lock. A [`Draft`] is all of it of one file:
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
mod mark;
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
pub use file::{File, Fragment, Frozen, MustCommit, Staged};
pub use flush::{Access, Decision, HandleId, Holders, Process};
pub use limits::{FILE_BYTES_MAX, Limits, PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX, PartNumber};
pub use mark::{is_ours, mark, sent};
pub use parts::{Part, Parts, Pressure, Progress, Schedule, Seal, Sealing};
pub use plan::{Commit, Make, Plan, Step, fetched};
pub use staging::{CrashedMount, Recovered, StagingDirectory, Standing, UnfinishedFile};
pub use temporary::is_temporary;
pub use writer::{Config, Exclusive, FETCH_BYTES_MAX, Fetch, Fetched, Writer};
