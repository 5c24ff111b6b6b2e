//! `--profile`: defaults that fit a kind of data, set together.
//!
//! A profile changes defaults and nothing else: whatever a file, a variable or a flag says goes before it. README's table says
//! what each is for; a test holds the two together.

/// The names of the profiles.
pub(in crate::cli) const NAMES: [&str; 3] = ["dataset", "checkpoint", "scratch"];

/// Options and their values.
type Defaults = &'static [(&'static str, &'static str)];

/// A data set that nobody changes while the job runs: read only, by many readers, again and again.
///
/// What is not asked for again within ten minutes is what makes `open` and `ls` cheap; a version that is replaced all the same is
/// noticed by the GET (`If-Match`), and at worst ten minutes late by a `stat`.
const DATASET: Defaults = &[
    ("read-only", "true"),
    ("attr-ttl", "10min"),
    ("max-cached-names", "2000000"),
];

/// Checkpoints: few large files that must be stored, and that the next job must see at once.
///
/// A restarted job writes over what the one before it left half way. Credentials that come late, and a network that comes back, are worth more
/// waiting than a checkpoint that is lost.
const CHECKPOINT: Defaults = &[
    ("attr-ttl", "0"),
    ("on-conflict", "overwrite"),
    ("exclusive-create", "remote"),
    ("hold", "10min"),
    ("retry-for", "10min"),
];

/// Files that one job makes for itself: no other mount changes them, so nothing is asked for again.
const SCRATCH: Defaults = &[
    ("attr-ttl", "10min"),
    ("on-conflict", "overwrite"),
    ("exclusive-create", "local"),
    ("max-cached-names", "1000000"),
];

/// The defaults of a profile; none for a name that is no profile, which clap has refused before.
pub(super) fn defaults(name: &str) -> Defaults {
    match name {
        "dataset" => DATASET,
        "checkpoint" => CHECKPOINT,
        "scratch" => SCRATCH,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Args;
    use crate::cli::settings::{file, options};

    #[test]
    fn profiles_set_options_that_exist_to_values_that_are_taken() {
        let command = options::complete(Args::command());
        let known = options::known(&command);
        for name in NAMES {
            assert!(!defaults(name).is_empty());
            for (key, value) in defaults(name) {
                let of_mount = known
                    .iter()
                    .find(|known| known.path == ["mount"] && known.key == *key)
                    .unwrap_or_else(|| panic!("{name}: {key} is no option"));
                file::check(of_mount.argument, value).unwrap();
            }
        }
    }

    #[test]
    fn the_documented_table_is_what_profiles_set() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        for name in NAMES {
            let row = readme
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}` |")))
                .unwrap_or_else(|| panic!("{name} has no row"));
            for (key, value) in defaults(name) {
                let setting = match *value {
                    "true" => format!("`{key}`"),
                    value => format!("`{key} = {value}`"),
                };
                assert!(row.contains(&setting), "{name}: {setting} is not in {row}");
            }
        }
    }
}
