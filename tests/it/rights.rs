//! `rolefs` as a user who may not mount: namespaces, fusermount3, and what is said where there is neither.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{BUCKET, World};
use crate::launch::{output, wrapped};
use crate::run::{run_script, said};
use crate::written::stored;

/// The number of a user without any right.
const NOBODY: &str = "65534";

/// `rolefs` as a user without any right, where `/dev/fuse` is open to all. The world's directory becomes that user's.
fn unprivileged(world: &World, rolefs: &Command, forbid: &str) -> Command {
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open(&world.path(""));
    fs::create_dir_all(world.path("mnt")).unwrap();
    nix::unistd::chown(&world.path("mnt"), Some(65534.into()), None).unwrap();
    // A device node of its own: that of the machine stays as it is.
    let inside = r#"
        mount -t tmpfs none /mnt; mknod -m 666 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse; umount --lazy /mnt
        $FORBID
        exec setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}""#;
    let wrapper = [
        "unshare",
        "--mount",
        "bash",
        "-euc",
        &inside.replace("$FORBID", forbid),
        "bash",
        NOBODY,
    ];
    wrapped(&wrapper, rolefs)
}

/// True if a user without rights may make user namespaces here.
fn has_user_namespaces() -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    let tried = command
        .args(["unshare", "--user", "--mount", "true"])
        .output();
    let is_so = tried.unwrap().status.success();
    if !is_so {
        eprintln!("skipped: user namespaces are forbidden here");
    }
    is_so
}

#[test]
fn without_root_it_mounts_in_a_namespace_of_its_own() {
    if !has_user_namespaces() {
        return;
    }
    let world = World::with_default_role();
    world.put("in", "input");
    let script = r#"
        id -u; grep CapEff /proc/self/status; stat --format %u $MNT/in
        cat $MNT/in; echo result > $MNT/out; grep -c " $MNT .*fuse.rolefs" /proc/self/mountinfo; exit 3"#;
    let rolefs = run_script(&world, &[], script);
    // Not by fusermount3.
    let mut command = unprivileged(&world, &rolefs, "");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let done = output(command);
    assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    let printed = String::from_utf8(done.stdout).unwrap();
    assert_eq!(
        printed,
        format!("{NOBODY}\nCapEff:\t0000000000000000\n{NOBODY}\ninput1\n")
    );
    assert_eq!(stored(&world, "out").unwrap(), b"result\n");
}

#[test]
fn where_nothing_can_mount_all_ways_are_named() {
    let world = World::with_default_role();
    let rolefs = run_script(&world, &[], "true");
    // A directory with what the wrapper needs, and no fusermount3.
    fs::create_dir_all(world.path("bin")).unwrap();
    for name in [
        "unshare", "bash", "mount", "mknod", "umount", "setpriv", "chmod",
    ] {
        let found = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(name));
        let found = found.iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(found, world.path("bin").join(name)).unwrap();
    }
    let confined = |rolefs: &Command| {
        let mut command = unprivileged(&world, rolefs, "chmod 600 /dev/fuse; PATH=/usr/bin:/bin");
        command.env("PATH", world.path("bin"));
        output(command)
    };
    let done = confined(&rolefs);
    let text = said(&done);
    assert_eq!(done.status.code(), Some(125), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let ways = [
        "no way to mount",
        "namespace",
        "fusermount3",
        "securityContext",
    ];
    for word in ways {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
    let done = confined(&doctor(&world));
    let found = right(&done, "failed");
    assert!(ways.iter().all(|word| found.contains(word)), "{found}");
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("docker run --device /dev/fuse"), "{text}");
}

fn doctor(world: &World) -> Command {
    let mut command = world.rolefs();
    command.args(["doctor", &format!("oss://{BUCKET}")]);
    command.env("TMPDIR", world.path(""));
    command
}

/// What the doctor has found of the right to mount.
fn right(done: &Output, state: &str) -> String {
    let text = String::from_utf8_lossy(&done.stdout);
    let begin = format!("{state:<8} right ");
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with(&begin));
    line.unwrap_or_else(|| panic!("no line begins with '{begin}':\n{text}"))
        .to_owned()
}

#[test]
fn the_doctor_finds_the_way_of_a_user_without_rights() {
    if !has_user_namespaces() {
        return;
    }
    let world = World::with_default_role();
    let done = output(unprivileged(&world, &doctor(&world), ""));
    assert!(done.status.success(), "{}", said(&done));
    let found = right(&done, "ok");
    let ways = ["by fusermount3", "in namespaces of its own"];
    assert!(ways.iter().any(|way| found.contains(way)), "{found}");
    // Root without the capability: fusermount3 gives no right to it.
    let humble = [
        "setpriv",
        "--bounding-set=-sys_admin",
        "--inh-caps=-sys_admin",
    ];
    let found = right(&output(wrapped(&humble, &doctor(&world))), "ok");
    assert!(
        found.contains("'rolefs mount' has no right here"),
        "{found}"
    );
}

#[test]
fn a_user_without_rights_mounts_by_fusermount3() {
    let found = Command::new("fusermount3").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: fusermount3 is not installed (package fuse3)");
        return;
    }
    let world = World::with_default_role();
    world.put("in", "input");
    let script = r#"
        set -eu; "$ROLEFS" mount --log-file $OUT/log $MNT oss://workspace-default
        cat $MNT/in; exec 3< $MNT/in
        if "$ROLEFS" umount $MNT; then exit 1; fi; exec 3<&-
        "$ROLEFS" umount $MNT; ! grep $MNT /proc/self/mountinfo"#;
    let rolefs = world.rolefs();
    let mut shell = Command::new("bash");
    shell.args(["-c", script]);
    for (name, value) in rolefs.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell
        .env("ROLEFS", rolefs.get_program())
        .env("MNT", world.path("mnt"))
        .env("OUT", world.path(""));
    let done = output(unprivileged(&world, &shell, ""));
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(done.stdout, b"input");
    assert!(
        said(&done).contains("files are open on it"),
        "{}",
        said(&done)
    );
}
