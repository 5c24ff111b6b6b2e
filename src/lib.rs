//! rolefs shows the object-storage bucket of a job's RAM role as a directory.
//!
//! `src/ARCHITECTURE.md` is the map. The rooms below stand on floors: a room names only rooms on lower floors, and
//! `tests/it/tidy.rs` checks it.

// Floor 0: knows nothing of ours.
pub mod buffer;
pub mod metrics;
pub mod object;
pub mod op;
pub mod openapi;
pub mod transport;
// Floor 1.
pub mod credentials;
// Floor 2.
pub mod oss;
// Floor 3.
pub mod cache;
pub mod disk;
pub mod tree;
// Floor 4.
pub mod read;
pub mod write;
// Floor 5.
pub mod fs;
// Floor 6.
pub mod fuse;
// Floor 7.
pub mod control;
// Floor 8.
pub mod cli;
// Named by no production room.
pub mod dev_server;
