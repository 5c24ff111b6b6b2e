//! `rolefs doctor`: every precondition in order, each with ok or the remedy, against a development server with roles.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use jiff::SignedDuration;
use rolefs::dev_server::{Fault, Operation};
use serde_json::Value;

use crate::harness::{BUCKET, World};
use crate::launch::{job, output, role};

fn doctor(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.rolefs();
    command.arg("doctor").args(arguments);
    if !arguments.iter().any(|word| word.starts_with("oss://")) {
        command.arg(format!("oss://{BUCKET}/data"));
    }
    command
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

/// Runs it, and expects success or not.
fn run(command: Command, is_well: bool) -> String {
    let output = output(command);
    let text = said(&output);
    assert_eq!(output.status.success(), is_well, "{text}");
    text
}

/// The line of a check, which must have come to `state` and say all of `words`.
fn assert_check(text: &str, state: &str, name: &str, words: &[&str]) {
    let begin = format!("{state:<8} {name:<12} ");
    let line = text
        .lines()
        .find(|line| line.starts_with(&begin))
        .unwrap_or_else(|| panic!("no line begins with '{begin}':\n{text}"));
    for word in words {
        assert!(line.contains(word), "'{word}' is not in: {line}");
    }
}

#[test]
fn a_job_that_lacks_nothing_is_told_so_and_nothing_is_written() {
    let world = World::with_default_role();
    world.put("data/a", "a");
    fs::create_dir(world.path("mnt")).unwrap();
    let at = |name: &str, path: &str| format!("--{name}={}", world.path(path).display());
    let options = [
        at("mountpoint", "mnt"),
        at("cache-dir", "cache"),
        at("staging-dir", "staging"),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let text = run(doctor(&world, &options), true);
    let names: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.get(9..21).map(str::trim))
        .collect();
    assert_eq!(
        names[..20],
        [
            "/dev/fuse",
            "right",
            "kernel",
            "open files",
            "mountpoint",
            "memory",
            "cache",
            "staging",
            "settings",
            "credentials",
            "names",
            "connection",
            "clock",
            "endpoint",
            "bucket",
            "region",
            "list",
            "get",
            "put",
            "multipart",
        ],
        "{text}"
    );
    assert_check(&text, "ok", "right", &["a mount was made, and ended again"]);
    assert_check(&text, "ok", "kernel", &["Linux "]);
    assert_check(
        &text,
        "ok",
        "credentials",
        &["uri:http://127.0.0.1", "key STS.…", "ends in "],
    );
    assert_check(&text, "ok", "clock", &["within ", "s of that of OSS"]);
    assert_check(
        &text,
        "ok",
        "bucket",
        &["workspace-default in cn-hangzhou, without versions"],
    );
    assert_check(&text, "ok", "region", &["cn-hangzhou"]);
    assert_check(&text, "ok", "list", &["oss:ListObjects"]);
    assert_check(
        &text,
        "ok",
        "put",
        &["as far as can be told without writing"],
    );
    assert_check(&text, "skipped", "delete", &["--probe-writes"]);
    assert_check(&text, "ok", "throttling", &["none in "]);
    assert!(text.contains(", 0 failed, 2 skipped"), "{text}");
    assert_eq!(world.server.stats().count(Operation::PutObject), 0);
}

#[test]
fn what_is_written_to_try_it_is_deleted_again() {
    let world = World::with_default_role();
    let text = run(doctor(&world, &["--probe-writes"]), true);
    assert_check(&text, "ok", "put", &["data/.rolefs-doctor-", "was written"]);
    assert_check(&text, "ok", "multipart", &["given up again"]);
    assert_check(&text, "ok", "delete", &["was deleted again"]);
    assert_check(&text, "warning", "prefix", &["nothing is below data/ yet"]);
    let stats = world.server.stats();
    let count = |operation| stats.count(operation);
    assert_eq!(count(Operation::PutObject), 1);
    assert_eq!(count(Operation::DeleteObject), 1);
    assert_eq!(count(Operation::AbortMultipartUpload), 1);
    let again = run(doctor(&world, &[]), true);
    assert_check(&again, "warning", "prefix", &["nothing is below data/ yet"]);
}

#[test]
fn a_role_that_may_write_and_not_delete_is_found_out() {
    let world = World::with_roles(&role(
        r#"{"Effect": "Allow", "Action": "oss:*", "Resource": "*"},
           {"Effect": "Deny", "Action": ["oss:DeleteObject"], "Resource": "*"}"#,
    ));
    let text = run(doctor(&world, &["--probe-writes"]), false);
    assert_check(&text, "ok", "put", &["was written"]);
    assert_check(
        &text,
        "failed",
        "delete",
        &[
            "is left; delete it by hand",
            "oss:DeleteObject",
            "request id",
        ],
    );
    assert!(text.contains("\"acs:oss:*:*:${Bucket}/*\""), "{text}");
    assert!(text.ends_with("rolefs: 1 check failed\n"), "{text}");
}

#[test]
fn what_may_have_been_written_is_deleted_too() {
    let world = World::with_default_role();
    let faults = world.server.faults();
    faults.script(1, Some(Operation::PutObject), "", Fault::AnswerLost);
    let denied = Fault::Refuse {
        status: 403,
        code: "AccessDenied",
    };
    faults.script(u64::MAX, Some(Operation::PutObject), "", denied);
    let text = run(doctor(&world, &["--probe-writes"]), false);
    assert_check(&text, "failed", "put", &["lacks oss:PutObject"]);
    let words = ["may have been written, and was deleted"];
    assert_check(&text, "ok", "delete", &words);
    assert_eq!(world.server.stats().count(Operation::DeleteObject), 1);
}

#[test]
fn a_role_that_may_only_read_is_a_warning_with_its_policy() {
    let world = World::with_roles(&role(
        r#"{"Effect": "Allow", "Action": ["oss:GetObject", "oss:ListObjects"], "Resource": "*"}"#,
    ));
    let text = run(doctor(&world, &[]), true);
    assert_check(
        &text,
        "warning",
        "put",
        &["lacks oss:PutObject", "--read-only"],
    );
    assert_check(&text, "ok", "bucket", &["lacks oss:GetBucketInfo"]);
    assert!(
        text.contains("\"Action\": [\"oss:GetObject\", \"oss:PutObject\""),
        "{text}"
    );
}

#[test]
fn without_credentials_the_way_is_checked_and_the_role_is_explained() {
    let world = World::with_default_role();
    let mut command = doctor(&world, &[]);
    command.env_remove("ALIBABA_CLOUD_CREDENTIALS_URI");
    let text = run(command, false);
    assert_check(
        &text,
        "failed",
        "credentials",
        &[
            "no credentials",
            "/mnt/.alibabacloud/credentials: not there",
        ],
    );
    assert!(
        text.contains("Roles and Permissions, Instance RAM Role"),
        "{text}"
    );
    assert_check(&text, "ok", "connection", &["answers over HTTP"]);
    assert_check(&text, "skipped", "bucket", &["without credentials"]);
}

#[test]
fn errors_of_the_platform_are_explained_with_their_policies() {
    let world = World::open();
    let explain = |text: &str| {
        let mut command = world.rolefs();
        command.args(["doctor", "--explain", text]);
        command
    };
    let pass = run(explain("check permission for ram role failed"), true);
    assert!(
        pass.contains("\"ram:PassRole\"") && pass.contains("acs:ram::*:role/${RoleName}"),
        "{pass}"
    );
    let trust = run(explain("Failed to assume role for user"), true);
    assert!(
        trust.contains("\"pai.aliyuncs.com\"") && trust.contains("\"sts:AssumeRole\""),
        "{trust}"
    );
    let unknown = run(explain("all is well"), false);
    assert_eq!(unknown.lines().count(), 1, "{unknown}");
    let mut command = explain("-");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reading = command.spawn().unwrap();
    let mut input = reading.stdin.take().unwrap();
    input
        .write_all(b"job: PublicEndpointForbidden (400)\n")
        .unwrap();
    drop(input);
    let read = reading.wait_with_output().unwrap();
    assert!(
        said(&read).contains("oss-REGION-internal.aliyuncs.com"),
        "{}",
        said(&read)
    );
}

#[test]
fn a_public_endpoint_that_is_refused_is_explained() {
    let world = World::with_default_role();
    let fault = Fault::Refuse {
        status: 400,
        code: "PublicEndpointForbidden",
    };
    let faults = world.server.faults();
    faults.script(u64::MAX, Some(Operation::ListObjectsV2), "", fault);
    let text = run(doctor(&world, &[]), false);
    assert_check(
        &text,
        "failed",
        "bucket",
        &["is a public endpoint, which OSS refuses"],
    );
    assert!(
        text.contains("--endpoint oss-REGION-internal.aliyuncs.com"),
        "{text}"
    );
    assert_check(&text, "skipped", "rights", &[]);
}

#[test]
fn a_wrong_clock_and_a_bucket_that_cannot_be_shown_are_told() {
    let world = World::with_default_role();
    let authority = &world.roles.as_ref().unwrap().authority;
    authority.set_clock_offset(SignedDuration::from_mins(20));
    world.job().rotate_now().unwrap();
    let text = run(doctor(&world, &[]), true);
    assert_check(
        &text,
        "warning",
        "clock",
        &["s behind that of OSS", "a mount signs with the time of OSS"],
    );
    let world = World::with_roles(&job(""));
    let text = run(doctor(&world, &["oss://hierarchical-bucket"]), false);
    assert_check(&text, "failed", "bucket", &["hierarchical namespace"]);
}

#[test]
fn what_cannot_be_reached_is_told_where_it_fails() {
    let world = World::with_default_role();
    let text = run(
        doctor(&world, &["--endpoint=http://oss-cn-hangzhou.invalid"]),
        false,
    );
    assert_check(
        &text,
        "failed",
        "names",
        &["workspace-default.oss-cn-hangzhou.invalid has no address"],
    );
    assert_check(
        &text,
        "failed",
        "connection",
        &["no way to http://oss-cn-hangzhou.invalid"],
    );
    assert_check(&text, "skipped", "clock", &[]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let text = run(
        doctor(&world, &[&format!("--endpoint=http://{address}")]),
        false,
    );
    assert_check(&text, "ok", "names", &["127.0.0.1 is an address"]);
    assert_check(&text, "failed", "connection", &["nobody listens at"]);
    let mut command = doctor(&world, &["oss://x"]);
    command
        .env_remove("ROLEFS_ENDPOINT")
        .env_remove("ROLEFS_REGION")
        .env_remove("REGION");
    let text = run(command, false);
    assert_check(&text, "failed", "settings", &["no endpoint is given"]);
    assert_check(&text, "skipped", "rights", &[]);
}

#[test]
fn throttling_is_noticed_and_all_of_it_is_json_too() {
    let world = World::with_default_role();
    world.put("data/a", "a");
    world
        .server
        .faults()
        .script(1, Some(Operation::ListObjectsV2), "", Fault::throttled());
    let output = output(doctor(&world, &["--json"]));
    assert!(output.status.success(), "{}", said(&output));
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let check = |name: &str| {
        let found = checks
            .as_array()
            .unwrap()
            .iter()
            .find(|at| at["name"] == name);
        found
            .unwrap_or_else(|| panic!("{name} is not in {checks}"))
            .clone()
    };
    assert_eq!(check("throttling")["state"], "warning");
    assert_eq!(check("list")["state"], "ok");
    let text = said(&output);
    assert!(
        !text.contains("SecurityToken") && !text.contains("AccessKeySecret"),
        "{text}"
    );
}
