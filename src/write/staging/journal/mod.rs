//! What of the staging directory survives a process that dies: the changes of each file that is not stored, in the order in which they were made.
//!
//! With a staging directory, each change of a file is appended to the file's log before the writer is answered, its bytes included. Memory
//! stays where bodies are sent from; where memory has no room, bytes are read from the log, so they are on disk once. When a file is stored, its
//! log is gone. So what a crash leaves behind is what nobody was told to be stored.
//!
//! # On disk
//!
//! ```text
//! STAGING/mount-PID-TIME/     one for each mount, locked (flock) by the process that lives; unlocked it is a crashed mount's
//!   N.head                    which key, which version of it the changes begin from, and their first generation; replaced as a whole
//!   N.K.log                   a segment: records one after the other, only ever appended to
//! ```
//!
//! A [`record`] carries the generation of the change, and a CRC-64 over itself and its bytes; the bytes are written before it. Changes are replayed
//! ([`replay`]) while generations follow one another, so a torn end, a lost segment and damage each leave a file as it was after one of its
//! writes, never a mixture.
//!
//! A commit begins a new segment. When the object is there, the head names the new version and the generation that it has, and the
//! segments before go. If the process dies between the two, the head knows what the commit was to make ([`head::Unsure`]), and whoever recovers
//! finds it in the bucket. A recovery notes the same before it stores ([`restoring`]), so that it may die, too.
//!
//! **The bound** is that of the directory. What has no room in it is not logged; the log of a file that was changed without it is given up
//! then, for a file that is as large as that would take all the room there is, and its name stays for the list. A log that is mostly of bytes
//! that were overwritten is written anew ([`crate::write`]'s `file::logged`).
//!
//! Nothing is synced: all this is of a process that dies. After the machine has died, what its kernel had written back is there.

mod head;
mod log;
mod record;
mod replay;
mod restoring;
mod wreck;

pub(in crate::write) use head::{Identity, Unsure};
pub(in crate::write) use log::Log;
pub(super) use log::Segment;
pub(in crate::write) use record::{Change, From};
pub use replay::{Recovered, Standing};
pub(in crate::write) use restoring::Restoring;
pub use wreck::{CrashedMount, UnfinishedFile};
