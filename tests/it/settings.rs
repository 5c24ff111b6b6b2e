//! Where the values of options come from, and what the log of a mount is, by the real binary.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::harness::{SOON, World, content, wait_for};
use crate::launch::{output, role};

/// What `rolefs config` prints, with more variables; it must end well.
fn config(world: &World, variables: &[(&str, &str)], words: &[&str]) -> String {
    let mut command = world.rolefs();
    command.arg("config").args(words);
    command.envs(variables.iter().copied());
    let output = output(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.is_empty(),
        "{words:?}: {said}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The line of an option, blanks made one.
fn line(printed: &str, key: &str) -> String {
    let line = printed
        .lines()
        .find(|line| line.starts_with(&format!("{key} =")));
    let words = line.unwrap_or_else(|| panic!("no {key} in\n{printed}"));
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn flags_go_before_variables_and_variables_before_files() {
    let world = World::open();
    let directory = world.path("home/.config/rolefs");
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("config.toml");
    let text = "attr-ttl = \"1s\"\nhold = \"1s\"\nread-only = true\ndirect = [\"a:b\"]\nprofile = \"checkpoint\"\n";
    fs::write(&file, text).unwrap();
    let home = world.path("home");
    let variables = [
        ("HOME", home.to_str().unwrap()),
        ("ROLEFS_ATTR_TTL", "2s"),
        ("ROLEFS_IMMUTABLE", "x/**:y/**"),
        ("ROLEFS_HOLD", ""),
        ("ROLEFS_READ_ONLY", "0"),
        (
            "ROLEFS_CREDENTIALS",
            "uri:http://id:secret@host/path?secret",
        ),
    ];
    let printed = config(&world, &variables, &["print", "--memory=1GiB", "/mnt"]);
    let file = file.display();
    assert!(
        printed.starts_with(&format!("# read: {file}\n")),
        "{printed}"
    );
    for (key, expected) in [
        ("memory", "memory = \"1GiB\" # flag".to_owned()),
        (
            "attr-ttl",
            "attr-ttl = \"2s\" # environment ROLEFS_ATTR_TTL".to_owned(),
        ),
        ("hold", format!("hold = \"1s\" # {file}:2")),
        (
            "read-only",
            "read-only = 0 # environment ROLEFS_READ_ONLY".to_owned(),
        ),
        ("direct", format!("direct = [\"a:b\"] # {file}:4")),
        (
            "immutable",
            "immutable = [\"x/**\", \"y/**\"] # environment ROLEFS_IMMUTABLE".to_owned(),
        ),
        (
            "on-conflict",
            "on-conflict = \"overwrite\" # profile checkpoint".to_owned(),
        ),
        ("signature", "signature = \"v4\" # default".to_owned()),
        (
            "credentials",
            "credentials = \"uri:http://host/path\" # environment ROLEFS_CREDENTIALS".to_owned(),
        ),
    ] {
        assert_eq!(line(&printed, key), expected);
    }
    assert!(printed.contains("# cache-dir is not set\n"), "{printed}");
    assert!(!printed.contains("secret"), "{printed}");
    let flags = ["print", "mount", "--attr-ttl=3s", "--read-only=no"];
    let printed = config(&world, &variables, &flags);
    assert_eq!(line(&printed, "attr-ttl"), "attr-ttl = \"3s\" # flag");
    let printed = config(&world, &[("ROLEFS_JOBS", "7")], &["print", "warm"]);
    assert_eq!(
        line(&printed, "jobs"),
        "jobs = \"7\" # environment ROLEFS_JOBS"
    );
}

#[test]
fn a_bad_value_is_told_with_its_place() {
    let world = World::open();
    let file = world.path("config.toml");
    let named = format!("--config={}", file.display());
    for (text, words) in [
        (
            "\nmemory = \"much\"",
            [":2: memory much: not a size", "512MiB"],
        ),
        (
            "attr_ttl = \"1s\"",
            [":1: 'attr_ttl' is no option", "'attr-ttl'"],
        ),
        ("uid = \"root\"", [":1: uid: ", "invalid"]),
        ("region = \"x", [":1: ", "string"]),
        (
            "cache-size = \"1GiB\"",
            [":1: cache-size 1GiB", "no --cache-dir"],
        ),
        (
            "[mount]\nlog-format = \"xml\"",
            [":2: log-format: ", "neither human nor json"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        let said = world.refused(world.rolefs(), &[&named], &words);
        assert!(said.contains(file.to_str().unwrap()), "{said}");
        let mut check = world.rolefs();
        check.args(["config", "check"]).arg(&file);
        let checked = output(check);
        let said = String::from_utf8(checked.stderr).unwrap();
        assert!(
            !checked.status.success() && said.contains(words[0]),
            "{said}"
        );
    }
    fs::write(
        &file,
        "memory = \"1GiB\"\n[\"/mnt/x\"]\nbucket = \"oss://b\"\n",
    )
    .unwrap();
    let said = config(&world, &[], &["check", file.to_str().unwrap()]);
    assert!(said.ends_with(": ok\n"), "{said}");
    for (variable, value, words) in [
        (
            "ROLEFS_UID",
            "root",
            ["invalid value 'root' for ROLEFS_UID:", "digit"],
        ),
        (
            "ROLEFS_READ_ONLY",
            "perhaps",
            ["for ROLEFS_READ_ONLY", "perhaps"],
        ),
        (
            "ROLEFS_MEMORY",
            "much",
            ["ROLEFS_MEMORY much: not a size", "512MiB"],
        ),
        (
            "ROLEFS_LOG_LEVEL",
            "loud",
            ["ROLEFS_LOG_LEVEL loud: write", "debug"],
        ),
        (
            "ROLEFS_PROFILE",
            "dataset1",
            ["for ROLEFS_PROFILE", "checkpoint"],
        ),
        (
            "ROLEFS_CONFIG",
            "/nowhere.toml",
            ["ROLEFS_CONFIG /nowhere.toml", "No such file"],
        ),
    ] {
        let mut rolefs = world.rolefs();
        rolefs.env(variable, value);
        world.refused(rolefs, &[], &words);
    }
    let mut rolefs = world.rolefs();
    rolefs.env("ROLEFS_GID", "1");
    world.refused(rolefs, &["--uid=root"], &["'--uid <UID>'", "digit"]);
}

/// The lines of a log of JSON.
fn objects(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_mount_is_as_its_file_says_and_its_log_stays_small() {
    let world = World::open();
    for n in 0..64 {
        world.put(&format!("{n}"), content(n, 1000));
    }
    let mountpoint = world.path("mnt");
    fs::create_dir(&mountpoint).unwrap();
    let text = format!(
        "log-file = \"mount.log\"\nlog-format = \"json\"\nlog-size = \"8KiB\"\nlog-keep = 2\nlog-level = \"debug\"\n
        [\"{}\"]\nfile-mode = \"0600\"\nattr-ttl = 0\n",
        mountpoint.display()
    );
    let file = world.path("config.toml");
    fs::write(&file, text).unwrap();
    let mut rolefs = world.rolefs();
    rolefs.env("ROLEFS_CONFIG", &file);
    let prompt = world.background("mnt", rolefs, &[]);
    assert!(prompt.output.status.success(), "{}", prompt.stderr());
    let log = world.path("mount.log");
    assert!(
        prompt.stderr().contains(log.to_str().unwrap()),
        "{}",
        prompt.stderr()
    );
    assert_eq!(
        fs::metadata(mountpoint.join("1")).unwrap().mode() & 0o777,
        0o600
    );
    let logs = ["mount.log.2", "mount.log.1", "mount.log"].map(|name| world.path(name));
    wait_for(SOON, "the log begins anew twice", || {
        for n in 0..64 {
            assert_eq!(
                fs::read(mountpoint.join(format!("{n}"))).unwrap(),
                content(n, 1000)
            );
        }
        logs[0].exists()
    });
    drop(prompt);
    for log in &logs {
        assert!(
            fs::metadata(log).unwrap().len() <= 8 << 10,
            "{}",
            log.display()
        );
        for line in objects(log) {
            assert!(
                line["level"].is_string() && line["message"].is_string(),
                "{line}"
            );
        }
    }
    assert!(!world.path("mount.log.3").exists());
}

#[test]
fn an_operation_that_failed_is_one_line_with_all_that_support_asks_for() {
    let all = r#"{"Effect": "Allow", "Action": "oss:*", "Resource": "*"}"#;
    let but = r#"{"Effect": "Deny", "Action": "oss:GetObject", "Resource": "acs:oss:*:*:workspace-default/data/secret/*"}"#;
    let world = World::with_roles(&role(&[all, but].join(",")));
    world.put("data/secret/c.bin", content(3, 3_000_000));
    let mount = world.launch("mnt", world.rolefs(), &["--log-format=json"]);
    let error = fs::read(mount.at("data/secret/c.bin")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let failures = || -> Vec<Value> {
        let lines = objects(&mount.log).into_iter();
        lines
            .filter(|line| line["code"] == "AccessDenied")
            .collect()
    };
    wait_for(SOON, "the failure is logged", || !failures().is_empty());
    // The kernel reads a page once more by itself after its read-ahead has failed: one line for each READ, of a request of its own.
    let lines = failures();
    let ids: HashSet<&str> = lines
        .iter()
        .filter_map(|line| line["request_id"].as_str())
        .collect();
    assert_eq!(ids.len(), lines.len(), "{lines:?}");
    let line = &lines[0];
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["key"], "data/secret/c.bin");
    assert!(
        line["path"].as_str().unwrap().starts_with("data/secret"),
        "{line}"
    );
    assert!(line["op"].is_string() && line["ino"].is_u64(), "{line}");
    assert!(!line["request_id"].as_str().unwrap().is_empty(), "{line}");
    assert!(
        line["message"].as_str().unwrap().contains("oss:GetObject"),
        "{line}"
    );
}
