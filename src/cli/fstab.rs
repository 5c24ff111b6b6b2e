//! `mount.rolefs`: the command line that mount(8) has for the helper of a file system's type, so that a bucket can stand in fstab(5).
//!
//! The same executable under another name (a link in `/sbin`). `oss://bucket/ /mnt/data -o ro,attr-ttl=10s` becomes `mount /mnt/data oss://bucket/
//! --read-only --attr-ttl=10s`: each option is the flag of its name.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// What mount(8), systemd.mount(5) and the kernel mean by themselves, and what is so anyhow.
const OF_OTHERS: &[&str] = &[
    "_netdev",
    "async",
    "atime",
    "auto",
    "defaults",
    "diratime",
    "exec",
    "nodev",
    "nofail",
    "noauto",
    "noatime",
    "nodiratime",
    "nosuid",
    "relatime",
    "rw",
    "nouser",
];

/// The arguments of this process, as `rolefs` has them.
pub(super) fn typed() -> Vec<OsString> {
    let words: Vec<OsString> = env::args_os().collect();
    let name = words.first().map(Path::new).and_then(Path::file_name);
    if name == Some(OsStr::new("mount.rolefs")) {
        translate(&words[1..])
    } else {
        words
    }
}

/// From `SOURCE MOUNTPOINT [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]` (mount(8), "External helpers"). What is not of this form is left to the
/// parser, which says what is wrong.
fn translate(words: &[OsString]) -> Vec<OsString> {
    let (mut places, mut flags) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-o") => {
                let options = words.next();
                match options.map(|options| options.to_str().ok_or(options)) {
                    Some(Ok(options)) => flags.extend(options.split(',').filter_map(flag)),
                    Some(Err(unreadable)) => flags.push(unreadable.clone()),
                    None => {}
                }
            }
            Some("-t" | "-N") => {
                words.next();
            }
            // Quiet about unknown options, without /etc/mtab, talkative: nothing here is.
            Some("-s" | "-n" | "-v") => {}
            Some("-f") => return ["rolefs", "--version"].map(OsString::from).to_vec(),
            _ => places.push(word.clone()),
        }
    }
    // The bucket comes first in fstab, and second in rolefs.
    if places.len() > 1 {
        places.swap(0, 1);
    }
    let command = ["rolefs", "mount"].map(OsString::from);
    command.into_iter().chain(places).chain(flags).collect()
}

fn flag(option: &str) -> Option<OsString> {
    let is_of_others = OF_OTHERS.contains(&option)
        || option.is_empty()
        || ["x-", "X-", "comment="]
            .iter()
            .any(|begin| option.starts_with(begin));
    if is_of_others {
        return None;
    }
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    let name = match name {
        "ro" => "read-only".to_owned(),
        name => name.replace('_', "-"),
    };
    Some(match value {
        Some(value) => format!("--{name}={value}").into(),
        None => format!("--{name}").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let words = translate(&words);
        words.join(OsStr::new(" ")).to_string_lossy().into_owned()
    }

    #[test]
    fn the_options_of_fstab_are_flags() {
        assert_eq!(
            translated(
                "oss://b/ /mnt/data -o ro,_netdev,nofail,attr_ttl=10s,x-systemd.automount,allow-other"
            ),
            "rolefs mount /mnt/data oss://b/ --read-only --attr-ttl=10s --allow-other"
        );
        assert_eq!(translated("oss://b /m -o rw"), "rolefs mount /m oss://b");
        assert_eq!(
            translated("oss://b /m -n -v -t fuse.rolefs -o defaults"),
            "rolefs mount /m oss://b"
        );
    }

    #[test]
    fn an_option_that_is_none_of_ours_is_refused_by_the_parser() {
        assert_eq!(
            translated("oss://b /m -o noexec"),
            "rolefs mount /m oss://b --noexec"
        );
        // It implies noexec, which could not be kept.
        assert_eq!(
            translated("oss://b /m -o user"),
            "rolefs mount /m oss://b --user"
        );
    }
}
