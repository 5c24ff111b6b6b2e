//! What can be wrong before anything is mounted: one sentence with its remedy, not 0, nothing mounted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{SOON, World, content, is_mounted};
use crate::launch::{ended, job, output, signal, wrapped};

fn without_credentials(world: &World) -> Command {
    let mut rolefs = world.rolefs();
    rolefs
        .env_remove("ALIBABA_CLOUD_CREDENTIALS_URI")
        .env_remove("ALIBABA_CLOUD_ACCESS_KEY_ID");
    rolefs.env_remove("ALIBABA_CLOUD_ACCESS_KEY_SECRET");
    rolefs
}

#[test]
fn no_credentials() {
    let world = World::with_default_role();
    let remedy = "give the job a RAM role, or name a source with --credentials";
    world.refused(
        without_credentials(&world),
        &[],
        &[
            "no credentials",
            "/mnt/.alibabacloud/credentials: not there",
            remedy,
        ],
    );
    world.refused(
        without_credentials(&world),
        &["--credentials=env"],
        &[
            "no credentials",
            "ALIBABA_CLOUD_ACCESS_KEY_ID is not set",
            remedy,
        ],
    );
    world.refused(
        without_credentials(&world),
        &["--credentials=file:/nowhere/credentials"],
        &["no credentials", "/nowhere/credentials: not there", remedy],
    );
}

#[test]
fn credentials_that_the_server_does_not_know() {
    let world = World::with_default_role();
    let mut rolefs = without_credentials(&world);
    rolefs
        .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAInobody")
        .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "guess");
    let line = world.refused(
        rolefs,
        &[],
        &["OSS refuses the role's credentials", "InvalidAccessKeyId"],
    );
    assert!(!line.contains("guess"), "{line}");
}

#[test]
fn a_credentials_file_that_hangs() {
    let world = World::with_default_role();
    let pipe = world.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let option = format!("--credentials=file:{}", pipe.display());
    world.refused(
        without_credentials(&world),
        &[&option],
        &["credentials cannot be used", "reading it takes too long"],
    );
}

#[test]
fn an_endpoint_where_nobody_listens() {
    let world = World::with_default_role();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let endpoint = format!("--endpoint=http://{closed}");
    world.refused(
        world.rolefs(),
        &[&endpoint],
        &[
            "no answer from",
            "check --endpoint",
            &closed.to_string(),
            "refused",
        ],
    );
}

#[test]
fn an_endpoint_that_has_no_address() {
    let world = World::with_default_role();
    world.refused(
        world.rolefs(),
        &["--endpoint=http://oss-cn-hangzhou.invalid"],
        &[
            "no answer from",
            "oss-cn-hangzhou.invalid",
            "name resolution",
        ],
    );
}

#[test]
fn a_bucket_that_does_not_exist() {
    let world = World::with_roles(&job(""));
    let words = [
        "bucket no-such-bucket does not exist",
        "check its name and region",
    ];
    world.refused(world.rolefs(), &["oss://no-such-bucket"], &words);
}

#[test]
fn a_region_that_is_not_the_bucket_s() {
    let world = World::with_default_role();
    world.refused(
        world.rolefs(),
        &["--region=cn-beijing"],
        &["--region", "region"],
    );
    // V1 knows no region.
    let options = ["--region=cn-beijing", "--signature=v1"];
    fs::create_dir(world.path("v1")).unwrap();
    let prompt = world.background("v1", world.rolefs(), &options);
    assert!(prompt.output.status.success(), "{}", prompt.stderr());
}

#[test]
fn values_that_cannot_be_meant() {
    let world = World::with_default_role();
    for (value, words) in [
        ("--credentials=somewhere", ["--credentials", "file:PATH"]),
        ("--credentials=uri:nowhere", ["--credentials", "http://"]),
        ("--signature=v5", ["--signature", "v1 or v4"]),
        ("--memory=much", ["--memory much", "512MiB"]),
        ("--memory=1MiB", ["--memory 1MiB", "at least 16"]),
        ("--attr-ttl=soon", ["--attr-ttl soon", "30s"]),
        ("--attr-ttl=25h", ["--attr-ttl 25h", "at most 24h"]),
        ("--hold=-1s", ["--hold -1s", "2min"]),
        ("--uid=root", ["--uid", "invalid"]),
        ("--gid=-1", ["--gid", "invalid"]),
        ("--file-mode=rw", ["--file-mode rw", "0644"]),
        ("--dir-mode=1777", ["--dir-mode 1777", "0644"]),
        ("--log-level=loud", ["--log-level loud", "debug"]),
        ("--endpoint=ftp://x", ["--endpoint", "http"]),
        ("--no-such-flag", ["--no-such-flag", "unexpected"]),
        (
            "--log-file=/no/such/directory/log",
            ["--log-file", "No such file"],
        ),
        ("s3+oss://x", ["oss://BUCKET", "not oss://"]),
        ("oss://b/x/../y", ["oss://b/x/../y", "'..'"]),
        ("oss://Not_A_Bucket", ["Not_A_Bucket", "3 to 63"]),
    ] {
        world.refused(world.rolefs(), &[value], &words);
    }
    // Where only a name is missing, and where a variable stands in for a flag.
    let mut nameless = world.rolefs();
    nameless
        .env_remove("ROLEFS_ENDPOINT")
        .env_remove("ROLEFS_REGION");
    world.refused(nameless, &[], &["no endpoint is given", "--endpoint"]);
    let mut switch = world.rolefs();
    switch.env("ROLEFS_ALLOW_OTHER", "perhaps");
    world.refused(switch, &[], &["ROLEFS_ALLOW_OTHER", "perhaps"]);
    let mut regionless = world.rolefs();
    regionless.env_remove("ROLEFS_REGION");
    world.refused(regionless, &[], &["the region is unknown", "cn-hangzhou"]);
    let mut variable = world.rolefs();
    variable.env("ROLEFS_HOLD", "eternity");
    world.refused(variable, &[], &["ROLEFS_HOLD eternity", "2min"]);
    let missing = output({
        let mut rolefs = world.rolefs();
        rolefs.arg("mount").arg(world.path("refused"));
        rolefs
    });
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        !missing.status.success() && said.contains("ROLEFS_BUCKET"),
        "{said}"
    );
}

#[test]
fn a_mountpoint_that_is_not_there_or_no_directory() {
    let world = World::with_default_role();
    let absent = world.background("absent", world.rolefs(), &[]);
    absent.assert_refused(&["does not exist", "mkdir -p"]);
    fs::write(world.path("file"), "").unwrap();
    let file = world.background("file", world.rolefs(), &[]);
    file.assert_refused(&["is not a directory"]);
}

#[test]
fn a_mountpoint_that_is_taken() {
    let world = World::with_default_role();
    let mount = world.launch("mnt", world.rolefs(), &[]);
    let again = world.background("mnt", world.rolefs(), &[]);
    let said = again.stderr();
    assert!(!again.output.status.success());
    assert!(
        said.contains("is a rolefs mount already; end it with 'rolefs umount"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
    // The mount that was there is none the worse.
    world.put("a", "x");
    assert_eq!(mount.read("a"), b"x");
    std::mem::forget(again);
}

#[test]
fn a_mount_whose_process_was_killed() {
    let world = World::with_default_role();
    let mut mount = world.launch("mnt", world.rolefs(), &[]);
    signal(mount.child.id(), Signal::SIGKILL);
    ended(&mut mount.child, SOON);
    let again = world.background("mnt", world.rolefs(), &[]);
    let said = again.stderr();
    assert!(!again.output.status.success());
    assert_eq!(said.lines().count(), 1, "{said}");
    let remedy = format!("rolefs umount --lazy {}", mount.path.display());
    assert!(
        said.contains("whose process has died") && said.contains(&remedy),
        "{said}"
    );
    let mut umount = world.rolefs();
    umount.args(["umount", "--lazy"]).arg(&mount.path);
    let umounted = output(umount);
    assert!(umounted.status.success(), "{umounted:?}");
    assert!(!is_mounted(&mount.path));
    drop(again);
    world.put("a", content(1, 10));
    let anew = world.launch("mnt", world.rolefs(), &[]);
    assert_eq!(anew.read("a"), content(1, 10));
}

#[test]
fn no_right_to_mount() {
    let world = World::with_default_role();
    let humble = [
        "setpriv",
        "--bounding-set=-sys_admin",
        "--inh-caps=-sys_admin",
    ];
    let rolefs = wrapped(&humble, &world.rolefs());
    world.refused(
        rolefs,
        &[],
        &["no right to mount", "CAP_SYS_ADMIN", "/dev/fuse"],
    );
}

#[test]
fn own_files_that_the_mount_would_hide() {
    let world = World::with_default_role();
    let inside = |name: &str| world.path("refused").join(name).display().to_string();
    for flag in ["--log-file=", "--stats-file=", "--credentials=file:"] {
        let option = format!("{flag}{}", inside("x"));
        let words = [
            "lies under the mountpoint, which would hide it; move it",
            &inside("x"),
        ];
        world.refused(world.rolefs(), &[&option], &words);
        assert!(!world.path("refused/x").exists());
    }
}

#[test]
fn a_clock_that_is_twenty_minutes_off_is_corrected() {
    let world = World::with_default_role();
    world.put("a", content(1, 10));
    let authority = &world.roles.as_ref().unwrap().authority;
    for (name, minutes) in [("fast", 20), ("slow", -20)] {
        authority.set_clock_offset(jiff::SignedDuration::from_mins(minutes));
        world.job().rotate_now().unwrap();
        let mount = world.launch(name, world.rolefs(), &[]);
        assert_eq!(mount.read("a"), content(1, 10));
        let refused = world.server.stats().refused;
        assert_eq!(fs::metadata(mount.at("a")).unwrap().size(), 10);
        assert!(fs::metadata(mount.at("none")).is_err());
        // Only what is not there is refused from now on.
        assert!(world.server.stats().refused <= refused + 1);
        let metrics = mount.unmount();
        // Once by preflight, which has a bucket of its own, and once by the mount.
        assert_eq!(
            metrics.value("rolefs_oss_clock_corrections_total"),
            2,
            "{name}"
        );
        assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
    }
}

#[test]
fn variables_that_are_empty_are_absent() {
    let world = World::with_default_role();
    fs::create_dir(world.path("mnt")).unwrap();
    let mut rolefs = world.rolefs();
    for variable in [
        "MEMORY",
        "CACHE_DIR",
        "CACHE_SIZE",
        "PREFETCH_LIST",
        "ATTR_TTL",
        "HOLD",
        "UID",
        "GID",
        "FILE_MODE",
        "DIR_MODE",
        "MAX_CACHED_NAMES",
        "MAX_QPS",
        "MAX_BANDWIDTH",
        "IMMUTABLE",
        "DIRECT",
        "ALLOW_OTHER",
        "FOREGROUND",
        "LOG_LEVEL",
        "LOG_FILE",
        "STATS_FILE",
        "SIGNATURE",
        "CREDENTIALS",
        "PATH_STYLE",
    ] {
        if !rolefs
            .get_envs()
            .any(|(name, _)| name == &*format!("ROLEFS_{variable}"))
        {
            rolefs.env(format!("ROLEFS_{variable}"), "");
        }
    }
    let prompt = world.background("mnt", rolefs, &[]);
    assert!(prompt.output.status.success(), "{}", prompt.stderr());
    let mut umount = world.rolefs();
    umount.arg("umount").arg(world.path("mnt"));
    assert!(output(umount).status.success());
}

#[test]
fn a_mountpoint_that_is_a_link() {
    let world = World::with_default_role();
    world.put("a", "x");
    let link = world.path("link");
    fs::create_dir(world.path("mnt")).unwrap();
    std::os::unix::fs::symlink(world.path("mnt"), &link).unwrap();
    // Switches by their variables, in the words that people use.
    let mut rolefs = world.rolefs();
    rolefs
        .env("ROLEFS_PATH_STYLE", "1")
        .env("ROLEFS_FOREGROUND", "no");
    let prompt = world.background("link", rolefs, &[]);
    assert!(prompt.output.status.success(), "{}", prompt.stderr());
    assert_eq!(fs::read(world.path("mnt/a")).unwrap(), b"x");
    let mut umount = world.rolefs();
    umount.arg("umount").arg(&link);
    let umounted = output(umount);
    assert!(umounted.status.success(), "{umounted:?}");
    assert!(!is_mounted(&world.path("mnt")));
}

#[test]
fn a_umount_of_what_is_no_mount() {
    let world = World::open();
    for (name, exists) in [("plain", true), ("absent", false)] {
        if exists {
            fs::create_dir(world.path(name)).unwrap();
        }
        let mut umount = world.rolefs();
        umount.arg("umount").arg(world.path(name));
        let umounted = output(umount);
        let said = String::from_utf8_lossy(&umounted.stderr).into_owned();
        assert!(!umounted.status.success());
        assert!(said.contains("no rolefs mount is there"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
