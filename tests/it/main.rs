//! The integration tests, in one binary.
//!
//! - [`tidy`]: the rules of the source tree itself.
//! - [`mount`]: the main job, by real mounts of a development server.
//! - [`read`]: reading against a development server, without a kernel.
//! - [`file_system`]: names, directories and files against one, without a kernel.
//! - [`credentials`]: sets that rotate, run out, come late or torn, and stay secret.
//! - [`roles`]: what a role may not do is named, at start and later.
//! - [`preflight`]: what can be wrong before mounting is one sentence. [`background`]: the way from the prompt and back.
//! - [`interrupts`]: whoever is killed while waiting for us is gone at once.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod background;
mod credentials;
mod file_system;
mod harness;
mod interrupts;
mod launch;
mod mount;
mod preflight;
mod read;
mod roles;
mod stack;
mod tidy;
