//! The integration tests, in one binary.
//!
//! - [`tidy`]: the rules of the source tree itself.
//! - [`mount`]: the main job, by real mounts of a development server.
//! - [`bytes`]: the bytes of a file are those of its object, however they are read.
//! - [`changes`]: names that a mount makes, moves and removes.
//! - [`names`]: what keys can be names, and what becomes of those that cannot.
//! - [`directories`]: listings that are long, and that change while they are read.
//! - [`freshness`]: how soon others' changes are seen, and that an open file is one version.
//! - [`replaced`]: no reader ever sees bytes of two versions.
//! - [`faults`]: what goes wrong on the way to OSS costs time, never bytes.
//! - [`mixed`]: every way of reading at once, at random, with faults.
//! - [`disk_cache`]: objects on a local disk, and the kernel reading them by itself. [`disk_full`]: without room for them.
//! - [`memory`]: the process stays within its budget.
//! - [`read`]: reading against a development server, without a kernel.
//! - [`streams`]: the same under speed: many readers, any pattern, little memory, a link that breaks and stalls.
//! - [`small`]: small files, one request each, and ahead of their readers. [`warm`]: `--prefetch-list` and `rolefs warm`.
//! - [`file_system`]: names, directories and files against one, without a kernel.
//! - [`moving`]: names that change while files are written.
//! - [`fs_model`]: any changes in any order, against a naive file system.
//! - [`credentials`]: sets that rotate, run out, come late or torn, and stay secret.
//! - [`sources`]: where credentials come from beside what is injected, what is shown of them, and other programs that get them.
//! - [`roles`]: what a role may not do is named, at start and later.
//! - [`preflight`]: what can be wrong before mounting is one sentence. [`background`]: the way from the prompt and back.
//! - [`bench`]: `rolefs bench` measures, and leaves nothing behind.
//! - [`settings`]: flags, variables, files and profiles; the form and the size of the log.
//! - [`status`]: a living mount is looked at and told things. [`invalidated`]: what is out of date is asked for again.
//! - [`monitoring`]: what is documented of the metrics is what there is.
//! - [`doctor`]: what a mount needs is checked, and what is wrong told with its remedy.
//! - [`run`]: a mount for the life of one command, also without root. [`deploy`]: fstab, units and pods, completions and manual pages.
//! - [`costs`]: what writing to a mount costs in requests.
//! - [`written`]: what programs write to a mount is stored when they are told so, and read at once.
//! - [`kept`]: what was said of an object stays with it. [`staging_full`]: writers without room, and whom the bucket denies.
//! - [`wire`]: every write of the wire against a development server, with lost answers, faults and roles.
//! - [`writes`]: files that are written, without a kernel.
//! - [`daily`]: what a long life brings: signals, networks and buckets that go, clocks that jump.
//! - [`interrupts`]: whoever is killed while waiting for us is gone at once.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests run where an offset fits into a usize"
)]

mod background;
mod bench;
mod bytes;
mod changes;
mod costs;
mod credentials;
mod daily;
mod deploy;
mod directories;
mod disk_cache;
mod disk_full;
mod disk_slow;
mod doctor;
mod ending;
mod faults;
mod file_system;
mod freshness;
mod fs_model;
mod harness;
mod interrupts;
mod invalidated;
mod kept;
mod kernel;
mod kills;
mod launch;
mod memory;
mod metadata;
mod mixed;
mod monitoring;
mod mount;
mod moving;
mod names;
mod preflight;
mod read;
mod replaced;
mod rights;
mod roles;
mod run;
mod settings;
mod small;
mod sources;
mod special;
mod stack;
mod staging_full;
mod status;
mod streams;
mod tidy;
mod truncated;
mod warm;
mod wire;
mod writes;
mod written;
