//! A living mount is looked at and told things: `rolefs status`, `invalidate`, `log-level`, `--metrics`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use rolefs::dev_server::{Fault, Operation};
use serde_json::Value;

use crate::harness::{Mount, SOON, World, content, wait_for};
use crate::launch::{ended, http_get, job, output, signal};

/// A command about a mount, in the environment that it was made in.
fn rolefs(world: &World, arguments: &[&str], mount: &Mount) -> Command {
    let mut command = world.rolefs();
    command.args(arguments).arg(&mount.path);
    command
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

pub(crate) fn status(world: &World, mount: &Mount) -> Value {
    let output = output(rolefs(world, &["status", "--json"], mount));
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The line of a text that begins with `title`.
fn row<'a>(text: &'a str, title: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(title));
    found.unwrap_or_else(|| panic!("{title} is no line of:\n{text}"))
}

fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
}

#[test]
fn status_tells_how_a_mount_stands() {
    let world = World::with_default_role();
    world.put("data/a.bin", content(1, 3 << 20));
    let mount = world.mount(&["--memory=64MiB"]);
    assert_eq!(mount.read("data/a.bin"), content(1, 3 << 20));
    let staged = fs::File::create(mount.at("new.bin")).unwrap();
    (&staged).write_all(&content(2, 1 << 20)).unwrap();

    let shown = output(rolefs(&world, &["status"], &mount));
    assert!(shown.status.success(), "{}", said(&shown));
    let text = said(&shown);
    let path = mount.path.to_str().unwrap();
    assert_has(
        row(&text, "mount "),
        &["oss://workspace-default/ on", path, ", ready, for"],
    );
    assert_has(
        row(&text, "endpoint "),
        &[&world.server.endpoint(), "region cn-hangzhou"],
    );
    assert_has(
        row(&text, "credentials "),
        &[
            "uri:http://127.0.0.1",
            "key STS.…",
            "refreshed in",
            "expires in ",
        ],
    );
    assert_has(row(&text, "read "), &["3.0 MiB in", "3.0 MiB from OSS"]);
    assert_has(row(&text, "memory "), &["of 64.0 MiB leased"]);
    assert_has(row(&text, "staged "), &["1 files are not stored, 1.0 MiB"]);
    assert_has(row(&text, "not stored "), &["1.0 MiB  new.bin"]);
    assert_has(row(&text, "requests "), &["GET ", "0 retries, 0 throttled"]);

    let before = status(&world, &mount);
    assert_eq!(before["staged"]["files"], 1);
    assert_eq!(before["metrics"]["rolefs_read_bytes_served_total"], 3 << 20);
    assert_eq!(before["pid"], mount.child.id());
    drop(staged);
    wait_for(SOON, "the file is stored", || {
        status(&world, &mount)["staged"]["files"] == 0
    });
    let secret = said(&shown) + &before.to_string();
    assert!(!secret.contains("SecurityToken"), "{secret}");
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_the_mount() {
    let world = World::open();
    let mut mount = world.mount(&[]);
    let directory = world.path("run/rolefs");
    let sockets = || {
        let entries = fs::read_dir(&directory).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let found = sockets();
    assert_eq!(found.len(), 1, "{found:?}");
    let socket = fs::metadata(&found[0]).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    signal(mount.child.id(), Signal::SIGTERM);
    assert!(ended(&mut mount.child, SOON).success());
    assert!(sockets().is_empty());
}

#[test]
fn two_mounts_are_told_apart_and_a_dead_one_is_named() {
    let world = World::open();
    let first = world.mount_at("first", &[]);
    let mut second = world.mount_at("second", &[]);
    assert_eq!(status(&world, &first)["pid"], first.child.id());
    assert_eq!(status(&world, &second)["pid"], second.child.id());
    second.child.kill().unwrap();
    second.child.wait().unwrap();
    let dead = output(rolefs(&world, &["status", "--ready"], &second));
    assert_eq!(dead.status.code(), Some(1));
    let said = said(&dead);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_has(
        &said,
        &[
            "second is a mount whose process has died",
            "rolefs umount --lazy",
        ],
    );
    assert_eq!(status(&world, &first)["pid"], first.child.id());
}

#[test]
fn a_place_without_a_mount_is_named() {
    let world = World::open();
    let mut command = world.rolefs();
    command.arg("status").arg(world.path(""));
    let output = output(command);
    assert_eq!(output.status.code(), Some(1));
    assert_has(&said(&output), &["rolefs: ", "no rolefs mount is there"]);
}

#[test]
fn ready_waits_for_the_mount_within_its_bound() {
    let world = World::open();
    fs::create_dir(world.path("mnt")).unwrap();
    let probe = |wait: &str| {
        let mut command = world.rolefs();
        command.args(["status", "--ready", "--wait", wait]);
        command.arg(world.path("mnt"));
        command
    };
    let refused = output(probe("0"));
    assert_eq!(refused.status.code(), Some(1));
    let mut waiting = probe("60s").stdout(Stdio::null()).spawn().unwrap();
    let _mount = world.mount(&[]);
    assert!(ended(&mut waiting, SOON).success());
    let ready = output(probe("0"));
    assert!(ready.status.success());
    assert!(said(&ready).is_empty(), "{}", said(&ready));
}

#[test]
fn a_mount_that_does_not_answer_is_not_ready() {
    let world = World::open();
    let mount = world.mount(&[]);
    signal(mount.child.id(), Signal::SIGSTOP);
    let probe = output(rolefs(
        &world,
        &["status", "--ready", "--timeout=300ms"],
        &mount,
    ));
    signal(mount.child.id(), Signal::SIGCONT);
    assert_eq!(probe.status.code(), Some(1));
    assert_has(&said(&probe), &["no answer within 300ms"]);
}

#[test]
fn a_mount_without_live_credentials_is_not_ready() {
    let lines = "token_life = \"3s\"\nrotate_every = \"1h\"";
    let world = World::with_roles(&job(lines));
    let mount = world.mount(&[]);
    let probe = || output(rolefs(&world, &["status", "--ready"], &mount));
    let mut last = String::new();
    wait_for(SOON, "the set is dead", || {
        let probe = probe();
        last = said(&probe);
        !probe.status.success()
    });
    assert_has(&last, &["is not ready: no live credentials"]);
    let status = status(&world, &mount);
    assert_eq!(status["credentials"]["alive"], false);
}

#[test]
fn watching_prints_a_line_for_each_look_and_ends_with_the_mount() {
    let world = World::open();
    world.put("a", content(1, 2 << 20));
    let mut mount = world.mount(&[]);
    let mut watch = rolefs(&world, &["status", "--watch", "--interval=100ms"], &mount)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert_has(
        &first,
        &[
            "read 0 B/s",
            "in flight 0 requests",
            "staged 0 B in 0 files",
        ],
    );
    mount.read("a");
    let busy = lines.by_ref().map(Result::unwrap).take(100);
    let busy = busy.into_iter().find(|line| !line.contains("read 0 B/s"));
    assert!(busy.is_some_and(|line| line.contains("iB/s")));
    signal(mount.child.id(), Signal::SIGTERM);
    assert!(ended(&mut mount.child, SOON).success());
    assert_eq!(ended(&mut watch, SOON).code(), Some(1));
}

#[test]
fn watching_on_a_terminal_shows_the_view() {
    let world = World::open();
    world.put("a", content(1, 2 << 20));
    let mount = world.mount(&[]);
    mount.read("a");
    let command = format!(
        "exec {} status --watch --interval=100ms {}",
        env!("CARGO_BIN_EXE_rolefs"),
        mount.path.display()
    );
    // script(1) gives it a terminal.
    let log = world.path("typescript");
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--flush", "--command", &command])
        .arg(&log);
    script
        .env("TERM", "xterm")
        .env("XDG_RUNTIME_DIR", world.path("run"));
    script.stdin(Stdio::null()).stdout(Stdio::null());
    let mut script = script.spawn().unwrap();
    let shown = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    wait_for(SOON, "a frame is shown", || {
        shown().contains("everything is stored")
    });
    let id = script.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    signal(children.trim().parse().unwrap(), Signal::SIGINT);
    ended(&mut script, SOON);
    let text = shown();
    assert_has(
        &text,
        &[
            "\u{1b}[?1049h",
            "oss://workspace-default/ on",
            "budget",
            "requests",
        ],
    );
    let after = text.rsplit_once("everything is stored").unwrap().1;
    assert_has(after, &["\u{1b}[?25h", "\u{1b}[?1049l"]);
}

#[test]
fn what_is_slow_or_fails_is_shown_with_path_and_request_id() {
    let world = World::open();
    world.put("slow.bin", content(1, 100));
    world.put("broken/b.bin", content(2, 2 << 20));
    let mount = world.mount(&["--slow-after=300ms"]);
    let faults = world.server.faults();
    faults.script(
        1,
        Some(Operation::GetObject),
        "slow.bin",
        Fault::Delay(Duration::from_millis(700)),
    );
    mount.read("slow.bin");
    let slow = status(&world, &mount)["slowest"].clone();
    let slow: Vec<&Value> = slow
        .as_array()
        .unwrap()
        .iter()
        .filter(|at| at["subject"] == "slow.bin")
        .collect();
    let request = slow.iter().find(|at| at["op"] == "get object").unwrap();
    assert!(request["took_ms"].as_u64().unwrap() >= 600, "{request}");
    assert!(request["request_id"].is_string(), "{request}");
    // Whichever of the kernel's requests it was that waited for it.
    assert!(slow.iter().any(|at| at["is_request"] == false), "{slow:?}");
    let log = mount.log_text();
    let line = log
        .lines()
        .find(|line| line.contains(" slow ") && line.contains("get object"))
        .unwrap_or_else(|| panic!("it was not logged:\n{log}"));
    assert_has(
        line,
        &["INFO", "subject=\"slow.bin\"", "took_ms=", "request_id="],
    );

    world.server.faults().script(
        u64::MAX,
        Some(Operation::GetObject),
        "broken/b.bin",
        Fault::forbidden("AccessDenied"),
    );
    let refused = fs::read(mount.at("broken/b.bin")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let failure = status(&world, &mount)["failures"][0].clone();
    assert_eq!(failure["subject"], "broken/b.bin");
    let error = failure["error"].as_str().unwrap();
    assert_has(error, &["AccessDenied (403)", "broken/b.bin", "request id"]);
    let log = mount.log_text();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("path=\"broken/b.bin\""))
        .collect();
    assert!(!told.is_empty(), "{log}");
    assert_has(told[0], &["AccessDenied", "request id"]);
}

#[test]
fn the_log_level_changes_while_the_mount_lives() {
    let world = World::open();
    world.put("a", "a");
    let mount = world.mount(&[]);
    let set = |level: &str| {
        let mut command = world.rolefs();
        command.arg("log-level").arg(&mount.path).arg(level);
        output(command)
    };
    let silent = set("warn");
    assert!(silent.status.success(), "{}", said(&silent));
    let quiet = mount.log_text().len();
    mount.read("a");
    assert_eq!(
        mount.log_text().len(),
        quiet,
        "{}",
        &mount.log_text()[quiet..]
    );
    assert!(set("rolefs::oss=debug").status.success());
    world.put("b", "b");
    mount.read("b");
    assert_has(&mount.log_text()[quiet..], &["DEBUG", "request answered"]);
    let wrong = set("loud");
    assert_eq!(wrong.status.code(), Some(1));
    assert_has(&said(&wrong), &["loud: write error, warn, info"]);
}

#[test]
fn metrics_are_served_and_nothing_else_is() {
    let world = World::open();
    world.put("a", content(1, 1000));
    let mount = world.mount(&["--metrics=127.0.0.1:0"]);
    mount.read("a");
    let address = status(&world, &mount)["metrics_address"].clone();
    let address = address.as_str().unwrap();
    let metrics = http_get(address, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert_has(
        &metrics,
        &[
            "application/openmetrics-text",
            "rolefs_read_bytes_served_total 1000\n",
            "rolefs_write_unstored_files 0\n",
            "# EOF",
        ],
    );
    let health = http_get(address, "/healthz");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"),
        "{health}"
    );
    for page in ["/status", "/", "/invalidate"] {
        assert!(
            http_get(address, page).starts_with("HTTP/1.1 404"),
            "{page}"
        );
    }
    let taken = format!("--metrics={address}");
    let line = world.refused(world.rolefs(), &[&taken], &["cannot listen there"]);
    assert!(line.contains(address), "{line}");
    for wrong in ["--metrics=here", "--metrics=localhost:9090"] {
        world.refused(
            world.rolefs(),
            &[wrong],
            &["not an address", "0.0.0.0:9090"],
        );
    }
}

#[test]
fn a_mount_without_a_place_for_its_socket_goes_on() {
    let world = World::open();
    world.put("a", "a");
    fs::write(world.path("file"), "").unwrap();
    let option = format!("--control-dir={}", world.path("file").display());
    let mount = world.mount(&[&option]);
    assert_eq!(mount.read("a"), b"a");
    assert_has(&mount.log_text(), &["WARN", "no control socket"]);
    let blind = output(rolefs(&world, &["status"], &mount));
    assert_eq!(blind.status.code(), Some(1));
    assert_has(&said(&blind), &["its socket", "--control-dir"]);
}

#[test]
fn many_ask_at_once() {
    let world = World::open();
    let mount = world.mount(&[]);
    let asked: Vec<_> = (0..40)
        .map(|_| {
            let command = rolefs(&world, &["status", "--ready"], &mount);
            thread::spawn(move || output(command))
        })
        .collect();
    for asked in asked {
        let output = asked.join().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}
