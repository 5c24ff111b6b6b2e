//! What puts rolefs into a system: the helper of mount(8), a unit of systemd, a pod, completions and manual pages.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use rolefs::fuse::{MountOptions, Mounted, mount_directly, unmount};

use crate::harness::{BUCKET, SOON, World, is_mounted, wait_for};
use crate::launch::{daemon_of, ended, http_get, output};

/// A file of `scripts/deploy`.
fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts/deploy")
        .join(name);
    fs::read_to_string(path).unwrap()
}

/// What a command prints that must succeed.
fn printed(command: Command) -> String {
    let done = output(command);
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// Fails unless each `--flag` of these words is one of `rolefs COMMAND`.
fn assert_flags(words: &[&str]) {
    let world = World::open();
    let mut rolefs = world.rolefs();
    rolefs.args([words[0], "--help"]);
    let help = printed(rolefs);
    for flag in words
        .iter()
        .filter(|word| word.starts_with("--") && **word != "--")
    {
        let name = flag.split('=').next().unwrap();
        assert!(
            [" ", "\n", "["]
                .iter()
                .any(|end| help.contains(&format!("{name}{end}"))),
            "{name}"
        );
    }
}

#[test]
fn a_line_of_fstab_mounts() {
    let world = World::with_default_role();
    world.put("a", "x");
    let path = world.path("mnt");
    fs::create_dir(&path).unwrap();
    let rolefs = world.rolefs();
    let helper = world.path("mount.rolefs");
    symlink(rolefs.get_program(), &helper).unwrap();
    // As mount(8) does for the line: oss://workspace-default /mnt rolefs ro,_netdev,file_mode=0640 0 0
    let mount = |options: &str| {
        let mut command = Command::new(&helper);
        for (name, value) in rolefs.get_envs() {
            command.env(name, value.unwrap());
        }
        command.arg(format!("oss://{BUCKET}")).arg(&path);
        command.args(["-n", "-o", options]);
        output(command)
    };
    let refused = mount("ro,nonesuch");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("--nonesuch"),
        "{said}"
    );
    let done = mount("ro,_netdev,file_mode=0640");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(fs::read(path.join("a")).unwrap(), b"x");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(path.join("a")).unwrap());
    assert_eq!(mode & 0o7777, 0o640);
    let error = fs::write(path.join("b"), "y").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    let daemon = daemon_of(&path);
    assert!(
        Command::new("umount")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    assert!(!is_mounted(&path));
    wait_for(SOON, "the background process ends", || {
        daemon.is_some() && daemon_of(&path).is_none()
    });
}

#[test]
fn completions_know_the_commands_and_flags() {
    let world = World::open();
    for shell in ["bash", "zsh", "fish"] {
        let mut rolefs = world.rolefs();
        rolefs.args(["generate", "completions", shell]);
        let script = printed(rolefs);
        for word in ["umount", "cache-dir", "grace"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let mut rolefs = world.rolefs();
    rolefs.args(["generate", "completions", "bash"]);
    fs::write(world.path("rolefs.bash"), printed(rolefs)).unwrap();
    let mut bash = Command::new("bash");
    let script = r#"
        . "$1"; COMP_WORDS=(rolefs mount --cache-d); COMP_CWORD=2; COMP_LINE='rolefs mount --cache-d'
        _rolefs rolefs --cache-d mount; echo "${COMPREPLY[@]}""#;
    bash.args(["-c", script, "bash"])
        .arg(world.path("rolefs.bash"));
    assert_eq!(printed(bash), "--cache-dir\n");
}

#[test]
fn manual_pages_are_made_for_each_command() {
    let world = World::open();
    let mut rolefs = world.rolefs();
    rolefs.args(["generate", "man"]).arg(world.path("man"));
    fs::create_dir(world.path("man")).unwrap();
    printed(rolefs);
    let page = |name: &str| fs::read_to_string(world.path("man").join(name)).unwrap();
    assert!(page("rolefs.1").contains("rolefs\\-run(1)"));
    assert!(page("rolefs-mount.1").contains("\\-\\-attr\\-ttl"));
    assert!(
        page("rolefs-run.1").contains("the mount died"),
        "exit codes"
    );
    assert!(!world.path("man").join("rolefs-generate.1").exists());
}

#[test]
fn the_unit_and_the_pod_use_flags_that_exist() {
    let unit = deployed("rolefs@.service");
    for (key, command) in [("ExecStart=", "mount"), ("ExecStop=", "umount")] {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap();
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        assert_eq!(words[0], command);
        assert_flags(&words);
    }
    let pod = deployed("pod.yaml");
    let words: Vec<&str> = pod
        .lines()
        .filter_map(|line| line.strip_prefix("        - "))
        .collect();
    assert_eq!(&words[..2], ["rolefs", "run"]);
    let end = words.iter().position(|word| *word == "--").unwrap();
    assert_flags(&words[1..end]);
    let grace = words
        .iter()
        .find_map(|word| word.strip_prefix("--grace="))
        .unwrap();
    let seconds = grace.strip_suffix('s').unwrap();
    assert!(pod.contains(&format!("terminationGracePeriodSeconds: {seconds}\n")));
    // The probe of the pod is true of a mount, and of nothing else.
    let probe = pod.lines().find(|line| line.contains("[sh, -c")).unwrap();
    let script = probe.split('"').nth(1).unwrap();
    let world = World::with_default_role();
    let try_it = |path: &Path| {
        let script = script.replace("/mnt/data", path.to_str().unwrap());
        Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap()
            .status
            .success()
    };
    let mount = world.mount(&[]);
    assert!(try_it(&mount.path));
    assert!(!try_it(&world.path("")));
}

#[test]
fn a_descriptor_that_the_caller_has_mounted_is_served() {
    let world = World::with_default_role();
    world.put("a", "x");
    let path = world.path("mnt");
    fs::create_dir(&path).unwrap();
    let options = MountOptions {
        source: "by its caller".to_owned(),
        allow_other: false,
        read_only: false,
    };
    let Mounted { mountpoint, fd } = mount_directly(&path, &options).unwrap();
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let mut rolefs = world.rolefs();
    rolefs.args(["mount", "--foreground", "--metrics=127.0.0.1:0"]);
    let log = world.path("log");
    rolefs.arg("--log-file").arg(&log);
    rolefs.arg(format!("/dev/fd/{}", fd.as_raw_fd()));
    let mut child = rolefs.arg(format!("oss://{BUCKET}")).spawn().unwrap();
    drop(fd);
    // Waits for the other process.
    assert_eq!(fs::read(path.join("a")).unwrap(), b"x");
    fs::write(path.join("b"), "y").unwrap();
    // Where it is mounted nobody has told it, so that is no reason not to be ready.
    let mut address = None;
    wait_for(SOON, "the metrics have an address", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let found = log.split("metrics are at http://").nth(1);
        address = found.and_then(|rest| rest.split('/').next().map(str::to_owned));
        address.is_some()
    });
    let health = http_get(&address.unwrap(), "/healthz");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    unmount(&mountpoint, false).unwrap();
    assert!(ended(&mut child, SOON).success());
    assert_eq!(world.server.get(BUCKET, "b").unwrap(), "y");
    let mut rolefs = world.rolefs();
    rolefs.args(["mount", "--foreground", "/dev/fd/77"]);
    rolefs.arg(format!("oss://{BUCKET}"));
    let done = output(rolefs);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("/dev/fd/77 is not open"), "{said}");
}
