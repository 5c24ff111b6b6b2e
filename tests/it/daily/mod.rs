//! What a long life brings. README's "What happens when …" is quoted; what is tried elsewhere is named here.
//!
//! | what happens | tried by |
//! |---|---|
//! | SIGTERM, SIGINT, SIGHUP | `background`, `run`, `ending` |
//! | a second SIGINT, parent death, unmount by others, a dead mount, one path twice | [`signals`], `preflight`, `run` |
//! | two mounts with one cache directory | `disk_cache` |
//! | bucket gone, role swapped | [`bucket`] |
//! | clock jumps | [`clock`], `preflight` |
//! | network gone, DNS change | [`network`], [`moved`] |
//! | disk full | [`crowd`] for the log, `disk_full` for the cache, `staging_full` for what is written |
//! | memory pressure | `memory` |
//! | 100,000 open files | [`crowd`] |

mod bucket;
mod clock;
mod crowd;
mod moved;
mod network;
mod signals;
