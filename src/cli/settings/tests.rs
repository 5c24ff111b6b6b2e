#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use super::file::{Entry, Problem, Scope};
use super::origin::{Origin, Setting};
use super::*;

/// A directory with the files of a system and of a user.
struct Files(tempfile::TempDir);

impl Files {
    fn new(system: &str, user: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("system.toml"), system).unwrap();
        fs::write(directory.path().join("user.toml"), user).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The setting `key` of a command line.
    fn setting(&self, words: &[&str], key: &str) -> Setting {
        let resolved = self.resolve(words).unwrap();
        let found = resolved.settings.iter().find(|setting| setting.key == key);
        found.unwrap().clone()
    }

    fn resolve(&self, words: &[&str]) -> Result<Resolved> {
        let places = ["system.toml", "user.toml", "absent.toml"].map(|name| self.path(name));
        let words: Vec<OsString> = std::iter::once(&"rolefs")
            .chain(words)
            .map(OsString::from)
            .collect();
        let command = options::complete(Args::command());
        resolve(&command, &words, &Places(places.to_vec()))
    }

    fn refused(&self, words: &[&str]) -> String {
        match self.resolve(words) {
            Ok(_) => panic!("{words:?} is taken"),
            Err(error) => format!("{error:#}"),
        }
    }
}

fn parsed(text: &str) -> (Vec<Entry>, Vec<Problem>) {
    let command = options::complete(Args::command());
    file::parse(Path::new("/etc/c.toml"), text, &options::known(&command))
}

fn entry(scope: Scope, key: &str, values: &[&str], line: usize) -> Entry {
    Entry {
        scope,
        key: key.to_owned(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
        file: PathBuf::from("/etc/c.toml"),
        line,
    }
}

#[test]
fn a_file_is_values_with_their_lines() {
    let text = r#"
# a comment
attr-ttl = "5s"
uid = 1_000
read-only = true
direct = ["**/*.tar", "a:b"]
immutable = "once/**"
region = ""
cache-dir = "cache"
credentials = "file:set"
log-file = "/var/log/x"

[mount]
memory = "1GiB"
["oss://b/train"]
bucket = "b"
["/mnt/data"]
max-qps = 7
"#;
    let (mut entries, problems) = parsed(text);
    assert_eq!(problems, []);
    entries.sort_by_key(|entry| entry.line);
    let all = || Scope::Command(Vec::new());
    let target = |name: &str| Scope::Target(name.to_owned());
    let expected = [
        entry(all(), "attr-ttl", &["5s"], 3),
        entry(all(), "uid", &["1000"], 4),
        entry(all(), "read-only", &["true"], 5),
        entry(all(), "direct", &["**/*.tar", "a:b"], 6),
        entry(all(), "immutable", &["once/**"], 7),
        // An empty text is none. Paths start from the file.
        entry(all(), "cache-dir", &["/etc/cache"], 9),
        entry(all(), "credentials", &["file:/etc/set"], 10),
        entry(all(), "log-file", &["/var/log/x"], 11),
        entry(
            Scope::Command(vec!["mount".into()]),
            "memory",
            &["1GiB"],
            14,
        ),
        entry(target("oss://b/train"), "bucket", &["b"], 16),
        entry(target("/mnt/data"), "max-qps", &["7"], 18),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    for (text, said) in [
        (
            "\nattr_ttl = \"1s\"",
            ":2: 'attr_ttl' is no option; did you mean 'attr-ttl'?",
        ),
        (
            "colour = 1",
            ":1: 'colour' is no option; see 'rolefs mount --help'",
        ),
        ("[mount]\njobs = 1", ":2: 'jobs' is no option of mount"),
        (
            "[moutn]",
            ":1: 'moutn' is no command; did you mean 'mount'?",
        ),
        (
            "[umount]\nlazy = true",
            ":1: 'umount' is no command; did you mean 'mount'?",
        ),
        ("[memory]", ":1: 'memory' is no command"),
        ("[\"/mnt\".deep]", "'deep' stands too deep"),
        ("config = \"other.toml\"", ":1: 'config' is no option"),
        (
            "read-only = \"yes\"",
            ":1: read-only: a switch: write true or false",
        ),
        (
            "memory = true",
            ":1: memory: takes a value, not true or false",
        ),
        (
            "memory = [\"1GiB\"]",
            ":1: memory: takes one value, not a list",
        ),
        ("direct = [true]", ":1: direct: takes a value"),
        (
            "file-mode = 0o644",
            ":1: file-mode: write the number in decimal",
        ),
        ("hold = 2026-01-01", ":1: hold: takes no date"),
        (
            "uid = \"root\"",
            ":1: uid: invalid value 'root': invalid digit",
        ),
        (
            "profile = \"datasets\"",
            ":1: profile: invalid value 'datasets'",
        ),
        (
            "[warm]\njobs = 1000",
            ":2: jobs: invalid value '1000': 1000 is not in 1..=256",
        ),
    ] {
        let (_, problems) = parsed(text);
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(all.len(), 1, "{text}: {all:?}");
        assert!(all[0].starts_with("/etc/c.toml:"), "{all:?}");
        assert!(all[0].contains(said), "{text}: {all:?} is not {said}");
        assert!(!all[0].contains('\n'), "{all:?}");
    }
}

#[test]
fn all_mistakes_are_found_and_none_shows_a_broken_line() {
    let (_, problems) = parsed("colour = 1\nmemory = true\n");
    assert_eq!(problems.len(), 2);
    let (entries, problems) = parsed("uid = 1\n\ncredentials = \"uri:http://id:secret@h\n");
    assert!(entries.is_empty() && !problems.is_empty());
    for problem in &problems {
        let said = problem.to_string();
        assert!(!said.contains("secret") && !said.contains('\n'), "{said}");
        assert!(said.starts_with("/etc/c.toml:3: "), "{said}");
    }
}

#[test]
fn flags_go_before_files_and_the_users_file_before_the_systems() {
    let files = Files::new(
        "attr-ttl = \"1s\"\nhold = \"1s\"\nmemory = \"1GiB\"\n[mount]\nhold = \"2s\"",
        "attr-ttl = \"3s\"\nmemory = \"2GiB\"",
    );
    let of = |words: &[&str], key: &str| {
        let setting = files.setting(words, key);
        (setting.values.join(","), setting.origin)
    };
    let mount = ["mount", "/mnt", "--memory=3GiB"];
    assert_eq!(of(&mount, "memory"), ("3GiB".into(), Origin::Flag));
    let user = Origin::File(files.path("user.toml"), 1);
    assert_eq!(of(&mount, "attr-ttl"), ("3s".into(), user));
    let system = Origin::File(files.path("system.toml"), 5);
    assert_eq!(of(&mount, "hold"), ("2s".into(), system));
    assert_eq!(of(&mount, "signature"), ("v4".into(), Origin::Default));
    assert_eq!(of(&mount, "region"), (String::new(), Origin::Default));
    // A named file is the only one.
    let user = files.path("user.toml");
    let named = ["mount", "/mnt", "--config", user.to_str().unwrap()];
    assert_eq!(of(&named, "hold"), ("2min".into(), Origin::Default));
    assert_eq!(of(&named, "memory").0, "2GiB");
}

#[test]
fn a_profile_goes_before_defaults_alone() {
    let files = Files::new("profile = \"dataset\"", "[mount]\nattr-ttl = \"3s\"");
    let of = |words: &[&str], key: &str| {
        let setting = files.setting(words, key);
        (setting.values.join(","), setting.origin.to_string())
    };
    let mount = ["mount", "/mnt"];
    assert_eq!(
        of(&mount, "read-only"),
        ("true".into(), "profile dataset".into())
    );
    assert_eq!(of(&mount, "attr-ttl").0, "3s");
    let off = ["mount", "/mnt", "--read-only=no"];
    assert_eq!(of(&off, "read-only"), ("no".into(), "flag".into()));
    let other = ["mount", "/mnt", "--profile=checkpoint"];
    assert_eq!(of(&other, "read-only").0, "false");
    assert_eq!(of(&other, "on-conflict").0, "overwrite");
}

#[test]
fn a_table_of_a_mountpoint_or_a_bucket_is_for_it_alone() {
    let files = Files::new(
        "memory = \"1GiB\"
        [\"/mnt/a\"]
        bucket = \"oss://first/x\"
        memory = \"2GiB\"
        [\"oss://first/x\"]
        memory = \"3GiB\"
        max-qps = 7",
        "",
    );
    let of = |words: &[&str], key: &str| files.setting(words, key).values.join(",");
    assert_eq!(of(&["mount", "/mnt/a"], "bucket"), "oss://first/x");
    assert_eq!(of(&["mount", "/mnt/a/"], "memory"), "2GiB");
    assert_eq!(of(&["mount", "/mnt/a"], "max-qps"), "7");
    assert_eq!(of(&["mount", "/mnt/b", "oss://first/x/"], "memory"), "3GiB");
    assert_eq!(of(&["mount", "/mnt/b", "oss://first"], "memory"), "1GiB");
    assert_eq!(of(&["mount", "/mnt/a", "oss://other"], "max-qps"), "");
}

#[test]
fn a_pattern_may_hold_colons() {
    let files = Files::new("direct = [\"run:2/**\"]", "");
    let words = ["mount", "--immutable", "run:1/**", "--immutable=b", "/mnt"];
    assert_eq!(files.setting(&words, "immutable").values, ["run:1/**", "b"]);
    assert_eq!(files.setting(&words, "direct").values, ["run:2/**"]);
    let words = ["mount", "--direct=c", "/mnt"];
    assert_eq!(files.setting(&words, "direct").values, ["c"], "not both");
}

#[test]
fn a_broken_file_stops_what_reads_it_and_nothing_else() {
    let files = Files::new("colour = 1\nmemroy = 2", "");
    let said = files.refused(&["mount", "/mnt"]);
    let system = files.path("system.toml");
    assert!(
        said.starts_with(&format!("{}:1: 'colour'", system.display())),
        "{said}"
    );
    assert!(
        said.contains("and 1 more, see 'rolefs config check"),
        "{said}"
    );
    assert!(files.resolve(&["umount", "/mnt"]).is_ok());
    let absent = files.path("absent.toml");
    let said = files.refused(&["mount", "/mnt", "--config", absent.to_str().unwrap()]);
    assert!(
        said.starts_with("--config ") && said.contains("No such file"),
        "{said}"
    );
    let directory = files.path("");
    let said = files.refused(&["mount", "/mnt", "--config", directory.to_str().unwrap()]);
    assert!(said.contains("not a file"), "{said}");
}

#[test]
fn a_file_alone_gives_a_mount_its_meaning() {
    let files = Files::new("attr-ttl = \"1s\"\n[\"/mnt/x\"]\nbucket = \"oss://b\"", "");
    let typed = mount_of(&files.path("system.toml"), Some("/mnt/x")).unwrap();
    let super::super::args::Command::Mount(mount) = typed.args.command else {
        panic!("mount was typed");
    };
    assert_eq!(mount.mount.bucket.as_deref(), Some("oss://b"));
    let said = typed.settings.named("bucket: oss://b: wrong");
    assert!(
        said.ends_with("system.toml:3: bucket: oss://b: wrong"),
        "{said}"
    );
}
