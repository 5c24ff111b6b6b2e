//! The integration tests, in one binary.
//!
//! - [`tidy`]: the rules of the source tree itself.
//! - [`mount`]: the main job, by real mounts of a development server.
//! - [`bytes`]: the bytes of a file are those of its object, however they are read.
//! - [`names`]: what keys can be names, and what becomes of those that cannot.
//! - [`directories`]: listings that are long, and that change while they are read.
//! - [`freshness`]: how soon others' changes are seen, and that an open file is one version.
//! - [`replaced`]: no reader ever sees bytes of two versions.
//! - [`faults`]: what goes wrong on the way to OSS costs time, never bytes.
//! - [`memory`]: the process stays within its budget.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests run where an offset fits into a usize"
)]

mod bytes;
mod directories;
mod faults;
mod freshness;
mod harness;
mod kernel;
mod memory;
mod mount;
mod names;
mod replaced;
mod tidy;
