//! `--prefetch-list`: which paths its file names.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::config::Config;

/// Paths of the longest list; they stay in memory, with some 80 bytes each beside their text.
const PATHS_MAX: usize = 5_000_000;

/// Bytes of the longest list.
const LIST_BYTES_MAX: u64 = 512 << 20;

/// The paths of the list, if there is one.
pub(super) fn read(config: &Config) -> Result<Option<Vec<Box<str>>>> {
    let Some(file) = &config.prefetch_list else {
        return Ok(None);
    };
    let said = || format!("--prefetch-list {}", file.display());
    let mut text = String::new();
    let mut opened = File::open(file)
        .with_context(said)?
        .take(LIST_BYTES_MAX + 1);
    let read = opened.read_to_string(&mut text).with_context(said)?;
    ensure!(
        read as u64 <= LIST_BYTES_MAX,
        "{}: at most {} MiB",
        said(),
        LIST_BYTES_MAX >> 20
    );
    let paths = paths(&text, &config.mountpoint);
    ensure!(
        paths.len() <= PATHS_MAX,
        "{}: at most {PATHS_MAX} paths",
        said()
    );
    Ok(Some(paths))
}

/// One path a line, relative to the mount's root; a path that begins with the mountpoint is taken for one below it. Empty lines
/// and comments are left out.
fn paths(text: &str, mountpoint: &Path) -> Vec<Box<str>> {
    let mountpoint = mountpoint.to_str().unwrap_or_default();
    let relative = |line: &str| {
        let below = line
            .strip_prefix(mountpoint)
            .filter(|rest| rest.starts_with('/'));
        let path = below.unwrap_or(line).trim_start_matches("./");
        path.trim_start_matches('/').to_owned()
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(relative)
        .filter(|path| !path.is_empty())
        .map(String::into_boxed_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_one_path_a_line() {
        let text = "# epoch 1\na b\n\n./d/e\r\n/mnt/data/f\n/mnt/database\n#g\nh#i\n";
        let found = paths(text, Path::new("/mnt/data"));
        let found: Vec<&str> = found.iter().map(|path| &**path).collect();
        assert_eq!(found, ["a b", "d/e", "f", "mnt/database", "h#i"]);
    }
}
