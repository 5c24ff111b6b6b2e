//! The integration tests, in one binary.
//!
//! - [`tidy`]: the rules of the source tree itself.
//! - [`mount`]: the main job, by real mounts of a development server.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;
mod mount;
mod tidy;
