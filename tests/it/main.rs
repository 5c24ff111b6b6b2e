//! The integration tests, in one binary.
//!
//! - [`tidy`]: the rules of the source tree itself.
//! - [`mount`]: the main job, by real mounts of a development server.
//! - [`read`]: reading against a development server, without a kernel.
//! - [`file_system`]: names, directories and files against one, without a kernel.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod file_system;
mod harness;
mod mount;
mod read;
mod stack;
mod tidy;
