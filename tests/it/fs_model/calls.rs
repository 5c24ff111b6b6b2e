//! What the kernel asks of a file system, by paths.

use std::collections::BTreeSet;
use std::sync::Arc;

use rolefs::fs::{Error, FileSystem, Found};
use rolefs::op::Op;
use rolefs::tree::Ino;

pub(super) fn word(error: &Error) -> &'static str {
    match error {
        Error::NotFound => "not found",
        Error::NotADirectory => "not a directory",
        Error::IsADirectory => "is a directory",
        Error::Exists => "exists",
        Error::NotEmpty => "not empty",
        Error::Invalid(_) => "invalid",
        Error::Stale(_) => "stale",
        Error::Conflict(_) => "conflict",
        other => panic!("{other}: {other:?}"),
    }
}

pub(super) async fn walk(fs: &Arc<FileSystem>, path: &str) -> Result<Ino, &'static str> {
    let mut at = Ino::ROOT;
    let mut is_directory = true;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        if !is_directory {
            return Err("not a directory");
        }
        let found = match fs.lookup_known(at, name) {
            Some(known) => known,
            None => fs.lookup(&Op::background("test"), at, name).await,
        };
        match found.map_err(|error| word(&error))? {
            Found::Entry(entry) => {
                is_directory = entry.attributes().is_directory();
                at = entry.attributes().ino;
                entry.give();
            }
            Found::Nothing(_) => return Err("not found"),
        }
    }
    Ok(at)
}

/// The directory of a path, and its name in it, as the kernel would have them.
pub(super) async fn place<'a>(
    fs: &Arc<FileSystem>,
    path: &'a str,
) -> Result<(Ino, &'a str), &'static str> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let directory = walk(fs, above).await?;
    match fs.attributes_known(directory) {
        Some(Ok(attributes)) if !attributes.is_directory() => Err("not a directory"),
        _ => Ok((directory, name)),
    }
}

pub(super) async fn read_all(fs: &Arc<FileSystem>, handle: u64) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    loop {
        let read = match fs.try_read(handle, all.len() as u64, 1 << 20)? {
            Ok(bytes) => bytes,
            Err(pending) => fs.read(&Op::background("test"), pending).await?,
        };
        if read.with(<[u8]>::is_empty) {
            return Ok(all);
        }
        read.with(|bytes| all.extend_from_slice(bytes));
    }
}

pub(super) async fn read_file(fs: &Arc<FileSystem>, path: &str) -> Result<Vec<u8>, &'static str> {
    let ino = walk(fs, path).await?;
    let opened = match fs.open_known(ino) {
        Some(known) => known,
        None => fs.open(&Op::background("test"), ino).await,
    };
    let handle = opened.map_err(|error| word(&error))?.handle;
    let bytes = read_all(fs, handle).await;
    fs.release(handle);
    bytes.map_err(|error| word(&error))
}

pub(super) async fn list(
    fs: &Arc<FileSystem>,
    path: &str,
) -> Result<BTreeSet<String>, &'static str> {
    let ino = walk(fs, path).await?;
    let handle = fs.opendir(ino).map_err(|error| word(&error))?;
    let mut names = BTreeSet::new();
    let mut after = 0;
    loop {
        let view = fs
            .readdir(&Op::background("test"), handle, after)
            .await
            .unwrap();
        let before = after;
        view.fill(|entry| {
            after = entry.cookie;
            if !matches!(entry.name, "." | "..") {
                assert!(names.insert(entry.name.to_owned()), "{} twice", entry.name);
            }
            rolefs::fs::Room::More
        });
        if after == before {
            fs.releasedir(handle);
            return Ok(names);
        }
    }
}
