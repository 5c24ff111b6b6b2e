//! What keys can be names, and what becomes of those that cannot.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::harness::{BUCKET, Mount, World, run, shell};

/// Names that some layer between a program and the bucket could take for something else: XML, URLs, signatures, shells.
fn awkward_names() -> Vec<String> {
    let mut names: Vec<String> = "+%?#&'\"*~$;:@,=()[]{}<>|!^`\\"
        .chars()
        .flat_map(|letter| {
            [
                letter.to_string(),
                format!("{letter}{letter}a"),
                format!("mid{letter}dle"),
                format!("end{letter}"),
            ]
        })
        // OSS itself refuses keys that begin so.
        .filter(|name| !name.starts_with('\\'))
        .collect();
    let others = [
        "a b",
        " leading space",
        "trailing space ",
        "  ",
        ".hidden",
        "..double",
        "...",
        "dots.",
        "-dash",
        "--help",
        "%2F",
        "%2f%20",
        "100%",
        "a%zz",
        "a+b c%20d",
        "new\nline",
        "tab\tbed",
        "&amp;",
        "]]>",
        "<Key>x<Key>",
        "?acl",
        "x-oss-process=image",
        "größe",
        "数据集",
        "e\u{301}", // e and a combining accent
        "\u{e9}",   // the same letter as one character: another name
        "🦀 crab",
        "\u{202e}right-to-left",
        "A",
        "a",
        "con.txt",
        "~user",
        "$HOME",
        "uploads",
        "delete",
    ];
    names.extend(others.map(str::to_owned));
    names.push("n".repeat(255));
    names.push("é".repeat(127));
    names
}

fn listed(path: &Path) -> BTreeSet<String> {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn errno(result: io::Result<impl Sized>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn world_of_awkward_names() -> World {
    let world = World::with_default_role();
    for name in awkward_names() {
        world.put(&format!("files/{name}"), format!("content of {name}"));
        // 1023 bytes are the longest key; the names of 255 make it long enough.
        world.put(&format!("directories/{name}/{name}"), "inner");
    }
    world
}

#[track_caller]
fn check_awkward_names(mount: &Mount) {
    for name in awkward_names() {
        let path = mount.at("files").join(&name);
        assert_eq!(
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name:?}: {error}")),
            format!("content of {name}")
        );
        let inner = mount.at("directories").join(&name).join(&name);
        assert_eq!(fs::read(inner).unwrap(), b"inner", "{name:?}");
    }
}

#[test]
fn awkward_names_are_listed_and_read() {
    let world = world_of_awkward_names();
    let mount = world.mount(&[]);
    let expected: BTreeSet<String> = awkward_names().into_iter().collect();
    assert_eq!(listed(&mount.at("files")), expected);
    assert_eq!(listed(&mount.at("directories")), expected);
    check_awkward_names(&mount);
    for name in expected {
        let inner = listed(&mount.at("directories").join(&name));
        assert_eq!(inner, BTreeSet::from([name]));
    }
}

#[test]
fn awkward_names_are_found_without_a_listing() {
    let world = world_of_awkward_names();
    check_awkward_names(&world.mount_at("v4", &["--signature=v4"]));
    check_awkward_names(&world.mount_at("v1", &["--signature=v1"]));
}

#[test]
fn an_awkward_prefix_is_mounted_as_the_root() {
    let world = World::with_default_role();
    world.put("a b+c%20/größe&=/file", "x");
    let mount = world.mount(&[&format!("oss://{BUCKET}/a b+c%20/größe&=")]);
    assert_eq!(shell(&mount.path, "find . -type f"), "./file\n");
    assert_eq!(mount.read("file"), b"x");
}

#[test]
fn tools_handle_awkward_names() {
    let world = world_of_awkward_names();
    let mount = world.mount(&[]);
    shell(&mount.path, "cp -r files ../copied");
    let expected: BTreeSet<String> = awkward_names().into_iter().collect();
    assert_eq!(listed(&world.path("copied")), expected);
    let sums = "find . -type f -print0 | sort -z | xargs -0 sha256sum";
    assert_eq!(
        shell(&mount.at("files"), sums),
        shell(&world.path("copied"), sums)
    );
}

#[test]
fn paths_are_as_deep_as_keys_are_long() {
    let world = World::open();
    let deep = "d/".repeat(511) + "f";
    assert_eq!(deep.len(), 1023);
    world.put(&deep, "at the bottom");
    let long = format!("{0}/{0}/{0}/{0}", "n".repeat(255));
    assert_eq!(long.len(), 1023);
    world.put(&long, "long");
    let mount = world.mount(&[]);
    assert_eq!(mount.read(&deep), b"at the bottom");
    assert_eq!(mount.read(&long), b"long");
    // One byte more than a key can have.
    let too_deep = mount.at(&("d/".repeat(511) + "fg"));
    assert_eq!(errno(fs::metadata(too_deep)), Some(libc::ENAMETOOLONG));
    assert_eq!(
        shell(&mount.path, "find . -type f | wc -l").trim(),
        "2",
        "the whole depth is walked"
    );
}

#[test]
fn names_that_no_key_can_have_are_refused() {
    let world = World::open();
    world.put("d/a", "x");
    let mount = world.mount(&[]);
    for (len, expected) in [
        (255, libc::ENOENT),
        (256, libc::ENAMETOOLONG),
        (1024, libc::ENAMETOOLONG),
        (1025, libc::ENAMETOOLONG),
    ] {
        let name = mount.at("d").join("n".repeat(len));
        assert_eq!(errno(fs::metadata(&name)), Some(expected), "{len} bytes");
        assert_eq!(errno(fs::File::open(&name)), Some(expected), "{len} bytes");
    }
    let not_utf8 = mount.at("d").join(OsStr::from_bytes(b"a\xff"));
    assert_eq!(errno(fs::metadata(not_utf8)), Some(libc::ENOENT));
}

#[test]
fn keys_that_cannot_be_names_are_hidden_counted_and_told_once() {
    let world = World::open();
    let long = "n".repeat(256);
    for key in [
        "a//b".to_owned(),
        "a//c".to_owned(),
        "a/seen".to_owned(),
        "./x".to_owned(),
        "../x".to_owned(),
        "sub/./x".to_owned(),
        "sub/seen".to_owned(),
        format!("{long}.bin"),
        format!("{long}/inner"),
        "both".to_owned(),
        "both!".to_owned(),
        "both/inner".to_owned(),
    ] {
        world.put(&key, key.clone());
    }
    let mount = world.mount(&[]);
    let shown = ".\n./a\n./a/seen\n./both\n./both!\n./both/inner\n./sub\n./sub/seen\n";
    for _ in 0..2 {
        assert_eq!(shell(&mount.path, "find . | LC_ALL=C sort"), shown);
    }
    // The directory wins, also where no listing has shown it.
    assert!(fs::metadata(mount.at("both")).unwrap().is_dir());
    assert_eq!(mount.read("both/inner"), b"both/inner");
    assert_eq!(mount.read("both!"), b"both!");
    // To the kernel `a//b` is `a/b`, of which there is none.
    assert_eq!(errno(fs::metadata(mount.at("a//b"))), Some(libc::ENOENT));
    let log = mount.log_text();
    let told = |words: &str| {
        log.lines()
            .filter(|line| line.contains("WARN") && line.contains("not shown"))
            .filter(|line| line.contains(words))
            .count()
    };
    assert_eq!(told("\"a//\" for example: the name is empty"), 1, "{log}");
    assert_eq!(told("the name is '.' or '..'"), 1, "{log}");
    assert_eq!(told("longer than 255 bytes"), 1, "{log}");
    assert_eq!(
        told("\"both\" for example: a directory has the same name"),
        1,
        "{log}"
    );
    assert_eq!(told(""), 4, "{log}");
    // `a//`, `./`, `../`, `sub/./`, two long ones and `both`, in each of two walks.
    assert_eq!(mount.unmount().value("rolefs_tree_hidden_keys_total"), 14);
}

#[test]
fn a_directory_wins_over_an_object_of_its_name() {
    let world = World::open();
    world.put("both", "hidden");
    world.put("both/inner", "seen");
    let mount = world.mount(&[]);
    // Without a listing first.
    assert_eq!(mount.read("both/inner"), b"seen");
    assert_eq!(errno(fs::read(mount.at("both"))), Some(libc::EISDIR));
    assert_eq!(shell(&mount.path, "ls -p"), "both/\n");
    let listed_first = world.mount_at("second", &[]);
    assert_eq!(shell(&listed_first.path, "ls -p"), "both/\n");
    assert_eq!(listed_first.read("both/inner"), b"seen");
}

#[test]
fn markers_are_directories_whatever_they_contain() {
    let world = World::open();
    world.put("empty/", "");
    world.put("content/", "not shown");
    world.put("deep/er/", "");
    world.put("full/", "");
    world.put("full/a", "x");
    let mount = world.mount(&[]);
    assert_eq!(
        shell(&mount.path, "find . | LC_ALL=C sort"),
        ".\n./content\n./deep\n./deep/er\n./empty\n./full\n./full/a\n"
    );
    let cold = world.mount_at("cold", &[]);
    for name in ["empty", "content", "deep", "deep/er", "full"] {
        assert!(fs::metadata(cold.at(name)).unwrap().is_dir(), "{name}");
        let output = run(&cold.path, &format!("cat {name}"));
        assert!(String::from_utf8_lossy(&output.stderr).contains("Is a directory"));
    }
    assert_eq!(mount.unmount().value("rolefs_tree_hidden_keys_total"), 0);
}
