//! The rules that the compiler does not check: floors, and files that stay readable.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this has become two.
const FILE_LINES_MAX: usize = 500;

/// Every room, and the rooms that it may name. See `src/ARCHITECTURE.md`.
const FLOORS: &[(&str, &[&str])] = &[
    ("object", &[]),
    ("op", &[]),
    ("metrics", &[]),
    ("transport", &["metrics"]),
    ("buffer", &["metrics"]),
    ("openapi", &["transport"]),
    ("credentials", &["transport", "openapi", "metrics", "op"]),
    (
        "oss",
        &[
            "credentials",
            "transport",
            "object",
            "buffer",
            "metrics",
            "op",
        ],
    ),
    ("tree", &["object"]),
    ("cache", &["object", "buffer", "metrics"]),
    ("disk", &["object", "buffer", "metrics"]),
    (
        "read",
        &["cache", "disk", "oss", "object", "buffer", "metrics", "op"],
    ),
    (
        "write",
        &["cache", "oss", "object", "buffer", "metrics", "op"],
    ),
    (
        "fs",
        &[
            "tree", "read", "write", "oss", "object", "buffer", "metrics", "op",
        ],
    ),
    ("fuse", &["fs", "tree", "metrics", "op"]),
    ("control", &["fuse", "fs", "credentials", "metrics"]),
    (
        "cli",
        &[
            "control",
            "fuse",
            "fs",
            "read",
            "write",
            "cache",
            "disk",
            "tree",
            "oss",
            "credentials",
            "openapi",
            "transport",
            "object",
            "buffer",
            "metrics",
            "op",
        ],
    ),
    // Its tests speak to it by our own client. Of `credentials` it shares the form of a document, which the official
    // clients pin.
    ("dev_server", &["object", "credentials", "transport"]),
];

/// The only rooms and binaries that may name fuser.
const FUSER: &[&str] = &["src/fuse/", "src/bin/rolefs-bench/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `directory`, as paths from the project's root.
fn sources(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root().join(directory)];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    assert!(!found.is_empty(), "{directory} has no sources");
    found.sort();
    found
}

/// The rooms that a line of code names by `crate::room`. Comments may name any.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut rooms = BTreeSet::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let room: String = rest
                .chars()
                .take_while(|letter| letter.is_ascii_lowercase() || *letter == '_')
                .collect();
            if !room.is_empty() {
                rooms.insert(room);
            }
        }
        assert!(
            !line.contains("crate::{"),
            "name each room on a line of its own: {line}"
        );
    }
    rooms
}

#[test]
fn a_room_names_only_rooms_on_lower_floors() {
    for path in sources("src") {
        let Some(room) = path
            .components()
            .nth(1)
            .filter(|_| path.components().count() > 2)
        else {
            continue;
        };
        let room = room.as_os_str().to_str().unwrap();
        if room == "bin" {
            continue;
        }
        let (_, may) = FLOORS
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("the room {room} stands on no floor: add it to FLOORS"));
        for named in rooms_named(&fs::read_to_string(root().join(&path)).unwrap()) {
            assert!(
                named == room || may.contains(&named.as_str()),
                "{} names crate::{named}, which is not below the room {room}",
                path.display()
            );
        }
    }
}

#[test]
fn a_floor_names_only_floors_before_it() {
    for (at, (room, may)) in FLOORS.iter().enumerate() {
        for below in *may {
            assert!(
                FLOORS[..at].iter().any(|(name, _)| name == below),
                "{room} may name {below}, which does not come before it"
            );
        }
    }
}

#[test]
fn files_stay_readable() {
    for path in sources("src").into_iter().chain(sources("tests")) {
        let lines = fs::read_to_string(root().join(&path))
            .unwrap()
            .lines()
            .count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{} has {lines} lines; redraw the room",
            path.display()
        );
    }
}

#[test]
fn only_the_kernels_door_names_fuser() {
    for path in sources("src") {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let names = text
            .lines()
            .any(|line| !line.trim_start().starts_with("//") && line.contains("fuser::"));
        let may = FUSER
            .iter()
            .any(|room| path.starts_with(room.trim_end_matches('/')));
        assert!(!names || may, "{} names fuser", path.display());
    }
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    for path in sources("src").into_iter().chain(sources("tests")) {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let allow = concat!("#[", "allow(");
        let allow_all = concat!("#![", "allow(");
        assert!(
            !text.contains(allow) && !text.contains(allow_all),
            "{} allows a lint; expect it with a reason",
            path.display()
        );
    }
}
