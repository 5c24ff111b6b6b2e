//! Which mount of ours a path is in, from the mount table alone: nothing inside a mount is looked at, for it may not answer.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::mount::FILE_SYSTEM_TYPE;

/// A path inside a mount of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InMount {
    /// Where the mount is, without links.
    pub mountpoint: PathBuf,
    /// Its device number, `0:45`.
    pub device: String,
    /// The user that mounted it.
    pub owner: u32,
    /// The path from the root of the file system, without a slash at its ends; empty for the root.
    pub inner: PathBuf,
}

/// The mount of ours that `path` is in; `None` if it is in none. Links on the way to the mount are followed, links in it are not.
///
/// # Errors
/// If the mount table or the current directory cannot be read.
pub fn in_mount(path: &Path) -> io::Result<Option<InMount>> {
    Ok(find(&table()?, &std::path::absolute(path)?, |at| {
        let is_link = fs::symlink_metadata(at).is_ok_and(|found| found.is_symlink());
        if is_link {
            at.canonicalize().ok()
        } else {
            None
        }
    }))
}

/// The device number of the topmost mount at exactly `mountpoint` if it is one of ours.
#[must_use]
pub fn mounted_at(mountpoint: &Path) -> Option<String> {
    let table = table().ok()?;
    let line = topmost(&table, mountpoint).filter(|line| line.is_ours)?;
    Some(line.device.clone())
}

fn table() -> io::Result<Vec<Line>> {
    let text = fs::read("/proc/self/mountinfo")?;
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(Line::parse).collect())
}

/// As [`in_mount`]; `resolve` says where a link leads.
fn find(
    table: &[Line],
    path: &Path,
    resolve: impl Fn(&Path) -> Option<PathBuf>,
) -> Option<InMount> {
    let mut at = PathBuf::from("/");
    let mut mount: Option<&Line> = topmost(table, &at);
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir => drop(at.pop()),
            Component::Normal(name) => at.push(name),
        }
        mount = topmost(table, &at).or(mount.filter(|mount| at.starts_with(&mount.mountpoint)));
        if !mount.is_some_and(|mount| mount.is_ours)
            && let Some(resolved) = resolve(&at)
        {
            at = resolved;
            mount = at.ancestors().find_map(|above| topmost(table, above));
        }
    }
    let mount = mount.or_else(|| at.ancestors().find_map(|above| topmost(table, above)));
    let mount = mount.filter(|mount| mount.is_ours)?;
    let rest = at.strip_prefix(&mount.mountpoint).ok()?;
    Some(InMount {
        mountpoint: mount.mountpoint.clone(),
        device: mount.device.clone(),
        owner: mount.owner,
        inner: mount.root.join(rest),
    })
}

/// The mount that is seen at exactly `at`.
fn topmost<'a>(table: &'a [Line], at: &Path) -> Option<&'a Line> {
    table.iter().rev().find(|line| line.mountpoint == at)
}

/// A line of mountinfo (proc(5)).
#[derive(Debug)]
struct Line {
    device: String,
    /// What of the file system is mounted, without a slash before it.
    root: PathBuf,
    mountpoint: PathBuf,
    is_ours: bool,
    owner: u32,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let device = String::from_utf8(fields.nth(2)?.to_owned()).ok()?;
        let root = unescaped(fields.next()?);
        let mountpoint = unescaped(fields.next()?);
        let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
        let is_ours = behind.next()? == FILE_SYSTEM_TYPE.as_bytes();
        let options = String::from_utf8_lossy(behind.nth(1).unwrap_or_default()).into_owned();
        let owner = options
            .split(',')
            .find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
        Some(Self {
            device,
            root: root.strip_prefix("/").unwrap_or(&root).to_owned(),
            mountpoint,
            is_ours,
            owner: owner.unwrap_or(0),
        })
    }
}

/// A path as mountinfo writes it: space, tab, newline and backslash in octal.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &behind[3..] } else { behind };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:45 / /mnt/data ro,nosuid shared:7 - fuse.rolefs oss://b/ ro,user_id=7,group_id=7
31 22 0:46 / /mnt/my\\040data ro,nosuid - fuse.rolefs oss://b/ ro,user_id=0,group_id=0
32 22 0:45 /train /srv/train ro - fuse.rolefs oss://b/ ro,user_id=7,group_id=7
33 22 0:47 / /mnt/over ro - fuse.rolefs oss://b/ ro,user_id=0,group_id=0
34 22 0:48 / /mnt/over rw - tmpfs tmpfs rw
";

    fn found(path: &str) -> Option<(String, String, u32)> {
        let table: Vec<Line> = TABLE
            .lines()
            .filter_map(|line| Line::parse(line.as_bytes()))
            .collect();
        let links = |at: &Path| (at == Path::new("/data")).then(|| PathBuf::from("/mnt/data"));
        let found = find(&table, Path::new(path), links)?;
        Some((found.device, found.inner.display().to_string(), found.owner))
    }

    #[test]
    fn what_is_on_top_at_a_mountpoint_counts() {
        let table: Vec<Line> = TABLE
            .lines()
            .filter_map(|line| Line::parse(line.as_bytes()))
            .collect();
        let ours = |at: &str| topmost(&table, Path::new(at)).is_some_and(|line| line.is_ours);
        assert!(ours("/mnt/data") && ours("/mnt/my data"));
        assert!(!ours("/mnt/over") && !ours("/mnt") && !ours("/"));
    }

    #[test]
    fn a_path_is_found_in_its_mount() {
        let of =
            |device: &str, inner: &str, owner| Some((device.to_owned(), inner.to_owned(), owner));
        assert_eq!(found("/mnt/data"), of("0:45", "", 7));
        assert_eq!(found("/mnt/data/a/b"), of("0:45", "a/b", 7));
        assert_eq!(found("/mnt/data/a/../b"), of("0:45", "b", 7));
        assert_eq!(found("/mnt/my data/x"), of("0:46", "x", 0));
        assert_eq!(found("/srv/train/x"), of("0:45", "train/x", 7));
        assert_eq!(found("/data/x"), of("0:45", "x", 7), "through a link");
        assert_eq!(found("/mnt/data/../data/x"), of("0:45", "x", 7));
        for elsewhere in ["/mnt", "/", "/mnt/over/x", "/mnt/data/..", "/mnt/database"] {
            assert_eq!(found(elsewhere), None, "{elsewhere}");
        }
    }
}
