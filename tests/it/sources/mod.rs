//! Where credentials come from, beside what is injected, and what is shown of them.
//!
//! [`others`]: other programs that get them from us. [`workspace`]: the default bucket.

mod others;
mod workspace;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{BUCKET, World};
use crate::launch::output;

/// The job's role may take the role `reader`, which a token of a cluster stands for as well; the metadata service wants a token.
const ROLES: &str = r#"
workspace = "4711"
[[bucket]]
name = "workspace-default"
default = true
[role.job]
policy = '''{"Version": "1", "Statement": [
  {"Effect": "Allow", "Action": "oss:*", "Resource": "*"},
  {"Effect": "Allow", "Action": "paiworkspace:ListConfigs", "Resource": "*"},
  {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "acs:ram::*:role/reader"}]}'''
[role.reader]
policies = ["AliyunOSSReadOnlyAccess"]
oidc_provider = "acs:ram::1234567890123456:oidc-provider/ack"
oidc_token = "jwt-of-the-pod"
[role.stranger]
policies = ["AliyunOSSReadOnlyAccess"]
[key.user]
id = "LTAIuser"
secret = "secret-of-the-user"
[job]
role = "job"
token_life = "1h"
rotate_every = "1h"
metadata_v1 = false
"#;

const READER: &str = "acs:ram::1234567890123456:role/reader";
const SESSION: &str = "acs:ram::1234567890123456:assumed-role/reader/";

fn world() -> World {
    World::with_roles(ROLES)
}

/// `rolefs` to which nothing is injected, with a home of its own.
fn bare(world: &World) -> Command {
    let mut command = world.rolefs();
    command
        .env_remove("ALIBABA_CLOUD_CREDENTIALS_URI")
        .env("HOME", world.path("home"))
        .env("ROLEFS_STS_ENDPOINT", world.server.endpoint());
    command
}

/// `rolefs` of the job.
fn injected(world: &World) -> Command {
    let mut command = bare(world);
    command.env("ALIBABA_CLOUD_CREDENTIALS_URI", world.job().uri());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

/// What `credentials show` shows; no secret of a key or a set is in it, whatever else is.
fn show(mut command: Command, arguments: &[&str]) -> (Value, Output) {
    command
        .args(["credentials", "show", "--json"])
        .args(arguments);
    let output = output(command);
    let all = text(&output.stdout) + &text(&output.stderr);
    for secret in ["secret-of", "CAIS", "jwt-of"] {
        assert!(!all.contains(secret), "{all}");
    }
    (serde_json::from_slice(&output.stdout).unwrap(), output)
}

/// The outcome and the reason of one source.
fn step<'a>(shown: &'a Value, source: &str) -> (&'a str, &'a str) {
    let steps = shown["sources"].as_array().unwrap();
    let step = steps
        .iter()
        .find(|step| step["source"].as_str().unwrap().starts_with(source))
        .unwrap_or_else(|| panic!("{source} is not in {shown:#}"));
    (
        step["outcome"].as_str().unwrap(),
        step["detail"].as_str().unwrap_or_default(),
    )
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn show_tells_the_set_in_use_and_what_each_source_says() {
    let world = world();
    let (shown, output) = show(injected(&world), &[]);
    assert!(output.status.success());
    let set = world.job().current();
    assert_eq!(shown["source"], format!("uri:{}", world.job().uri()));
    assert_eq!(
        shown["role"],
        "acs:ram::1234567890123456:assumed-role/job/job"
    );
    assert_eq!(shown["expiration"], set.expiration.to_string());
    let id = shown["access_key_id"].as_str().unwrap();
    assert!(id.len() < 16 && set.access_key_id.ends_with(&id[id.len() - 4..]));
    assert_eq!(step(&shown, "file:").0, "not there");
    assert_eq!(step(&shown, "uri:").0, "used");
    assert_eq!(step(&shown, "cli").0, "not asked");

    let mut plain = injected(&world);
    let plain = {
        plain.args(["credentials", "show", "--offline"]);
        text(&crate::launch::output(plain).stdout)
    };
    assert!(
        plain.contains("expires  ") && plain.contains("2. uri:http"),
        "{plain}"
    );

    let (shown, output) = show(bare(&world), &[]);
    let error = text(&output.stderr);
    assert!(!output.status.success() && shown["source"].is_null());
    for place in [
        "/mnt/.alibabacloud/credentials",
        "ALIBABA_CLOUD_CREDENTIALS_URI",
        "ALIBABA_CLOUD_ACCESS_KEY_ID",
        "ALIBABA_CLOUD_ROLE_ARN",
        ".aliyun/config.json",
        ".alibabacloud/credentials",
        "ALIBABA_CLOUD_ECS_METADATA_DISABLED",
    ] {
        assert!(error.contains(place), "{place} is not in {error}");
    }
}

#[test]
fn a_token_of_the_cluster_stands_for_a_role() {
    let world = world();
    let token = world.path("token");
    let oidc = |world: &World| {
        let mut command = bare(world);
        command
            .env("ALIBABA_CLOUD_ROLE_ARN", READER)
            .env(
                "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
                "acs:ram::1234567890123456:oidc-provider/ack",
            )
            .env("ALIBABA_CLOUD_OIDC_TOKEN_FILE", &token);
        command
    };
    write(&token, "jwt-of-the-pod\n");
    let (shown, output) = show(oidc(&world), &[]);
    assert!(output.status.success(), "{shown:#}");
    assert_eq!(step(&shown, "oidc").0, "used");
    assert_eq!(shown["role"], format!("{SESSION}rolefs"));
    // What is there and refused is an error, not a reason to look elsewhere.
    write(&token, "jwt-of-another");
    let (shown, output) = show(oidc(&world), &[]);
    assert!(!output.status.success());
    let (outcome, reason) = step(&shown, "oidc");
    assert_eq!(outcome, "failed");
    assert!(
        reason.contains("AuthenticationFail.OIDCToken.Invalid"),
        "{reason}"
    );
    assert_eq!(step(&shown, "cli").0, "not asked");
}

/// The file of the command-line tool, with a profile for each mode that is supported.
fn profiles(world: &World) -> String {
    let (set, uri) = (world.job().current(), world.job().uri());
    let (id, secret, token) = (
        &set.access_key_id,
        &set.access_key_secret,
        &set.security_token,
    );
    format!(
        r#"{{"current": "ak", "profiles": [
        {{"name": "ak", "mode": "AK", "access_key_id": "LTAIuser", "access_key_secret": "secret-of-the-user"}},
        {{"name": "sts", "mode": "StsToken", "access_key_id": "{id}", "access_key_secret": "{secret}", "sts_token": "{token}"}},
        {{"name": "arn", "mode": "RamRoleArn", "access_key_id": "LTAIuser", "access_key_secret": "secret-of-the-user",
          "ram_role_arn": "{}", "ram_session_name": "first"}},
        {{"name": "next", "mode": "ChainableRamRoleArn", "source_profile": "arn", "ram_role_arn": "{READER}", "ram_session_name": "second"}},
        {{"name": "ecs", "mode": "EcsRamRole", "ram_role_name": ""}},
        {{"name": "external", "mode": "External", "process_command": "cat '{}'"}},
        {{"name": "uri", "mode": "CredentialsURI", "credentials_uri": "{uri}"}},
        {{"name": "sso", "mode": "CloudSSO"}}]}}"#,
        READER.replace("reader", "job"),
        world.path("printed.json").display()
    )
}

#[test]
fn the_profiles_of_the_command_line_tool_are_used_in_all_their_modes() {
    let world = world();
    let config = world.path("home/.aliyun/config.json");
    write(&config, &profiles(&world));
    let set = world.job().current();
    let printed = format!(
        r#"{{"mode": "StsToken", "access_key_id": "{}", "access_key_secret": "{}", "sts_token": "{}"}}"#,
        set.access_key_id, set.access_key_secret, set.security_token
    );
    write(&world.path("printed.json"), &printed);
    let job = "acs:ram::1234567890123456:assumed-role/job/job";
    for (profile, whose) in [
        ("ak", "acs:ram::1234567890123456:root"),
        ("sts", job),
        ("arn", "acs:ram::1234567890123456:assumed-role/job/first"),
        (
            "next",
            "acs:ram::1234567890123456:assumed-role/reader/second",
        ),
        ("ecs", job),
        ("external", job),
        ("uri", job),
    ] {
        let mut command = bare(&world);
        command
            .env("ALIBABA_CLOUD_PROFILE", profile)
            .env("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "false")
            .env(
                "ROLEFS_ECS_METADATA_ENDPOINT",
                world.job().metadata_endpoint(),
            );
        let (shown, _) = show(command, &[]);
        assert_eq!(step(&shown, "cli").0, "used", "{profile}: {shown:#}");
        assert_eq!(shown["role"], whose, "{profile}");
    }
    for (named, words) in [
        ("sso", "CloudSSO"),
        ("nobody", "there is no profile nobody"),
        ("ecs", "ALIBABA_CLOUD_ECS_METADATA_DISABLED"),
    ] {
        let source = format!("cli:{named}");
        let (shown, _) = show(bare(&world), &["--credentials", &source]);
        let (outcome, reason) = step(&shown, &source);
        assert_eq!(outcome, "failed", "{named}");
        assert!(reason.contains(words), "{reason}");
    }
    let mut disabled = bare(&world);
    disabled.env("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "true");
    let (shown, _) = show(disabled, &[]);
    assert_eq!(step(&shown, "cli").0, "not there");
}

#[test]
fn a_profile_that_is_of_no_use_is_passed_over_unless_it_is_named() {
    let world = world();
    let config = world.path("home/.aliyun/config.json");
    let ini = world.path("home/.alibabacloud/credentials.ini");
    let section = |name: &str| {
        format!(
            "[{name}]\ntype = access_key\naccess_key_id = LTAIuser\naccess_key_secret = secret-of-the-user\n"
        )
    };
    for current in ["nobody", "sso", "ecs"] {
        write(
            &config,
            &profiles(&world).replacen("\"ak\"", &format!("\"{current}\""), 1),
        );
        write(&ini, &section("default"));
        let (shown, _) = show(bare(&world), &[]);
        assert_eq!(step(&shown, "cli").0, "not there", "{shown:#}");
        assert_eq!(step(&shown, "ini").0, "used", "{shown:#}");
        // A profile that is named is in one of the two files, or it is an error.
        let named = || {
            let mut command = bare(&world);
            command.env("ALIBABA_CLOUD_PROFILE", current);
            command
        };
        let (shown, _) = show(named(), &[]);
        let (outcome, reason) = step(&shown, "ini");
        assert_eq!(outcome, "failed", "{shown:#}");
        assert!(reason.contains("ALIBABA_CLOUD_PROFILE"), "{reason}");
        write(&ini, &section(current));
        let (shown, _) = show(named(), &[]);
        assert_eq!(step(&shown, "ini").0, "used", "{shown:#}");
    }
}

#[test]
fn an_ini_file_a_command_and_the_instance_are_sources() {
    let world = world();
    let ini = format!(
        "[default]\ntype = ram_role_arn\naccess_key_id = LTAIuser\naccess_key_secret = secret-of-the-user\nrole_arn = {READER}\n"
    );
    write(&world.path("home/.alibabacloud/credentials"), &ini);
    let (shown, _) = show(bare(&world), &[]);
    assert_eq!(step(&shown, "ini").0, "used", "{shown:#}");
    assert_eq!(shown["role"], format!("{SESSION}rolefs"));
    fs::remove_file(world.path("home/.alibabacloud/credentials")).unwrap();

    let (_, body) = world.job().answer("/api/v1/credentials/0");
    write(&world.path("printed.json"), &body);
    let printer = format!("process:cat '{}'", world.path("printed.json").display());
    let (shown, _) = show(bare(&world), &["--credentials", &printer]);
    assert_eq!(shown["source"], "process:cat", "{shown:#}");
    let (shown, _) = show(bare(&world), &["--credentials=process:false"]);
    assert!(
        step(&shown, "process:").1.contains("exit status: 1"),
        "{shown:#}"
    );

    let instance = |pai: &str| {
        let mut command = bare(&world);
        command
            .env("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "false")
            .env(
                "ROLEFS_ECS_METADATA_ENDPOINT",
                world.job().metadata_endpoint(),
            )
            .env("DLC_JOB_ID", pai);
        command
    };
    let (shown, _) = show(instance(""), &[]);
    assert_eq!(step(&shown, "ecs").0, "used", "{shown:#}");
    let (shown, _) = show(instance("dlc-1"), &[]);
    let (outcome, reason) = step(&shown, "ecs");
    assert_eq!(outcome, "not there", "{shown:#}");
    assert!(reason.contains("not the job's"), "{reason}");
    let (shown, _) = show(instance("dlc-1"), &["--credentials=ecs:job", "--offline"]);
    assert_eq!(shown["role"], "job", "{shown:#}");
}

#[test]
fn a_role_is_taken_with_what_is_found_and_confined_by_a_policy() {
    let world = world();
    world.put("allowed/file", "allowed");
    world.put("other/file", "other");
    let policy = format!(
        r#"{{"Version": "1", "Statement": [{{"Effect": "Allow", "Action": "oss:GetObject", "Resource": "acs:oss:*:*:{BUCKET}/allowed/*"}},
        {{"Effect": "Allow", "Action": "oss:ListObjects", "Resource": "acs:oss:*:*:{BUCKET}"}}]}}"#
    );
    let reader = |arn: &str| {
        let mut command = injected(&world);
        command
            .env("ROLEFS_ROLE_ARN", arn)
            .env("ROLEFS_ROLE_SESSION_NAME", "me")
            .env("ROLEFS_SESSION_POLICY", &policy);
        command
    };
    let (shown, _) = show(reader(READER), &[]);
    assert_eq!(shown["role"], format!("{SESSION}me"), "{shown:#}");
    let mount = world.launch("mnt", reader(READER), &["--read-only"]);
    assert_eq!(mount.read("allowed/file"), b"allowed");
    let refused = fs::read(mount.at("other/file")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    drop(mount);
    let (shown, _) = show(reader(&READER.replace("reader", "stranger")), &[]);
    let (outcome, reason) = step(&shown, "uri:");
    assert_eq!(outcome, "failed");
    assert!(
        reason.contains("NoPermission") && reason.contains("trust policy"),
        "{reason}"
    );
}
