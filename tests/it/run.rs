//! `rolefs run`: a mount for the life of one command.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rolefs::dev_server::{Fault, Operation};

use crate::harness::{BUCKET, SOON, World, is_mounted, wait_for};
use crate::launch::{ended, output, signal, wrapped};
use crate::written::stored;

/// A command that was started as `rolefs run`, and its mountpoint. Dropping it ends what is left of it.
pub(crate) struct Run {
    pub(crate) child: Child,
    at: PathBuf,
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            signal(self.child.id(), Signal::SIGTERM);
            ended(&mut self.child, Duration::from_secs(60));
        }
        if is_mounted(&self.at) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
        }
    }
}

impl Run {
    /// Of what [`run_script`] has made.
    pub(crate) fn start(world: &World, mut command: Command) -> Self {
        Self {
            child: command.stdin(Stdio::null()).spawn().unwrap(),
            at: world.path("mnt"),
        }
    }

    /// The process behind the mount.
    fn server(&self) -> u32 {
        let children = children(self.child.id());
        let serves = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == b"run")
        };
        children
            .into_iter()
            .find(serves)
            .expect("the mount is served")
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// `rolefs run OPTIONS --at MNT oss://BUCKET -- bash -c SCRIPT`, where the script has `$MNT`, and `$OUT`, a directory beside it.
pub(crate) fn run_script(world: &World, options: &[&str], script: &str) -> Command {
    let mut command = world.rolefs();
    command
        .arg("run")
        .args(["--log-level", "warn", "--at"])
        .arg(world.path("mnt"))
        .args(options);
    if !options.iter().any(|word| word.starts_with("oss://")) {
        command.arg(format!("oss://{BUCKET}"));
    }
    command
        .args(["--", "bash", "-c", script])
        .env("MNT", world.path("mnt"))
        .env("OUT", world.path(""));
    command
}

pub(crate) fn start(world: &World, options: &[&str], script: &str) -> Run {
    Run::start(world, run_script(world, options, script))
}

/// Waits until the script has made `$OUT/NAME`.
pub(crate) fn wait_for_file(world: &World, name: &str) {
    let file = world.path(name);
    wait_for(SOON, "the command is under way", || file.exists());
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_exit_code_is_that_of_the_command_and_what_it_wrote_is_stored() {
    let world = World::with_default_role();
    world.put("in", "input");
    let done = output(run_script(
        &world,
        &[],
        "cat $MNT/in; echo result > $MNT/out; exit 3",
    ));
    assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    assert_eq!(done.stdout, b"input");
    assert_eq!(stored(&world, "out").unwrap(), b"result\n");
    assert!(!is_mounted(&world.path("mnt")));
    assert_eq!(said(&done), "");
    let killed = output(run_script(&world, &[], "kill -USR1 $$"));
    assert_eq!(killed.status.code(), Some(128 + 10));
}

#[test]
fn what_cannot_be_started_has_its_own_exit_codes() {
    let world = World::with_default_role();
    let code = |bucket: &str, command: &str| {
        let mut rolefs = world.rolefs();
        rolefs.args(["run", "--log-level=off", "--at"]);
        rolefs.arg(world.path("mnt")).args([bucket, "--", command]);
        let done = output(rolefs);
        assert_eq!(said(&done).lines().count(), 1, "{}", said(&done));
        assert!(!is_mounted(&world.path("mnt")));
        done.status.code()
    };
    let bucket = format!("oss://{BUCKET}");
    assert_eq!(code(&bucket, "/nonesuch"), Some(127));
    assert_eq!(code(&bucket, "/etc/passwd"), Some(126));
    assert_eq!(code("oss://there-is-no-such-bucket", "true"), Some(125));
    let mut rolefs = world.rolefs();
    rolefs.args(["run", &bucket]);
    let done = output(rolefs);
    assert!(
        said(&done).contains("write it behind --"),
        "{}",
        said(&done)
    );
    assert_eq!(done.status.code(), Some(125));
}

#[test]
fn signals_are_forwarded_and_what_is_staged_is_stored() {
    let world = World::with_default_role();
    let script = r#"
        trap 'echo hup >> $OUT/heard' HUP; trap 'echo usr1 >> $OUT/heard' USR1
        trap 'exit 7' TERM
        exec 3> $MNT/staged; echo part >&3; touch $OUT/begun
        while :; do sleep 0.02; done"#;
    let mut run = start(&world, &[], script);
    wait_for_file(&world, "begun");
    let heard = || fs::read_to_string(world.path("heard")).unwrap_or_default();
    signal(run.child.id(), Signal::SIGHUP);
    wait_for(SOON, "SIGHUP is heard", || heard() == "hup\n");
    signal(run.child.id(), Signal::SIGUSR1);
    wait_for(SOON, "SIGUSR1 is heard", || heard() == "hup\nusr1\n");
    signal(run.child.id(), Signal::SIGTERM);
    assert_eq!(ended(&mut run.child, SOON).code(), Some(7));
    assert_eq!(stored(&world, "staged").unwrap(), b"part\n");
    assert!(!is_mounted(&run.at));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_in_time_to_store() {
    let world = World::with_default_role();
    let script = r#"
        trap '' TERM; exec 3> $MNT/staged; echo part >&3; touch $OUT/begun
        while :; do sleep 0.02; done"#;
    let mut run = start(&world, &["--grace=6s"], script);
    wait_for_file(&world, "begun");
    let at = Instant::now();
    signal(run.child.id(), Signal::SIGTERM);
    assert_eq!(ended(&mut run.child, SOON).code(), Some(137));
    let took = at.elapsed();
    assert!(took > Duration::from_millis(3900), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(stored(&world, "staged").unwrap(), b"part\n");
}

#[test]
fn a_signal_before_the_mount_is_up_ends_all() {
    let world = World::with_default_role();
    let faults = world.server.faults();
    faults.script(u64::MAX, None, "", Fault::StallAnswer);
    let mut run = start(&world, &[], "touch $OUT/begun");
    wait_for(SOON, "preflight waits", || faults.stalled() > 0);
    signal(run.child.id(), Signal::SIGTERM);
    assert_eq!(ended(&mut run.child, SOON).code(), Some(128 + 15));
    assert!(!world.path("begun").exists());
    assert!(!is_mounted(&run.at));
}

#[test]
fn lost_data_is_an_exit_code_unless_the_command_failed_itself() {
    let world = World::with_default_role();
    let faults = world.server.faults();
    let refuse = Fault::Refuse {
        status: 403,
        code: "AccessDenied",
    };
    faults.script(u64::MAX, Some(Operation::PutObject), "lost", refuse);
    for (script, code) in [
        ("echo x > $MNT/lost; exit 0", 74),
        ("echo x > $MNT/lost; exit 5", 5),
        ("echo x > $MNT/lost; rm $MNT/lost; exit 0", 0),
        ("echo x > $MNT/kept; exit 0", 0),
    ] {
        let done = output(run_script(&world, &[], script));
        assert_eq!(done.status.code(), Some(code), "{script}: {}", said(&done));
        if code != 0 {
            assert!(said(&done).contains("lost"), "{script}: {}", said(&done));
        }
    }
}

#[test]
fn a_command_whose_mount_dies_is_told() {
    let world = World::with_default_role();
    let script = "trap 'exit 0' TERM; touch $OUT/begun; while :; do sleep 0.02; done";
    let mut run = start(&world, &[], script);
    wait_for_file(&world, "begun");
    signal(run.server(), Signal::SIGKILL);
    assert_eq!(ended(&mut run.child, SOON).code(), Some(74));
    assert!(!is_mounted(&run.at));
}

#[test]
fn a_supervisor_that_dies_takes_command_and_mount_along() {
    let world = World::with_default_role();
    let script = r#"
        trap 'touch $OUT/told; exit 0' TERM; exec 3> $MNT/staged; echo part >&3; touch $OUT/begun
        while :; do sleep 0.02; done"#;
    let mut run = start(&world, &[], script);
    wait_for_file(&world, "begun");
    let server = run.server();
    signal(run.child.id(), Signal::SIGKILL);
    assert_eq!(ended(&mut run.child, SOON).signal(), Some(9));
    wait_for_file(&world, "told");
    let process = format!("/proc/{server}/exe");
    wait_for(SOON, "the mount ends", || fs::read_link(&process).is_err());
    assert_eq!(stored(&world, "staged").unwrap(), b"part\n");
    assert!(!is_mounted(&run.at));
}

#[test]
fn what_the_command_leaves_behind_lets_go_of_the_mount() {
    let world = World::with_default_role();
    let script = r#"
        (trap 'echo more >&3; exit 0' TERM; exec 3> $MNT/left; echo left >&3; touch $OUT/begun
         while :; do sleep 0.02; done) &
        while [ ! -e $OUT/begun ]; do sleep 0.02; done"#;
    let done = output(run_script(&world, &[], script));
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert_eq!(stored(&world, "left").unwrap(), b"left\nmore\n");
    assert!(!is_mounted(&world.path("mnt")));
    // One that does not is named, and what it wrote is stored.
    let script = r#"
        (trap '' TERM; exec 3> $MNT/kept; echo kept >&3; touch $OUT/begun2
         echo $BASHPID > $OUT/pid; for i in {1..3000}; do [ ! -e $OUT/go ] || break; sleep 0.02; done) &
        while [ ! -e $OUT/begun2 ]; do sleep 0.02; done"#;
    let mut command = run_script(&world, &[], script);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let status = ended(&mut child, Duration::from_secs(60));
    let pid = fs::read_to_string(world.path("pid")).unwrap();
    let mut text = vec![0; 4096];
    let len = std::io::Read::read(&mut child.stderr.take().unwrap(), &mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..len]).into_owned();
    fs::write(world.path("go"), "").unwrap();
    // A zombie that nobody reaps has no words left.
    let words = format!("/proc/{}/cmdline", pid.trim());
    wait_for(SOON, "what was left behind ends", || {
        fs::read(&words).map_or(true, |words| words.is_empty())
    });
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains(&format!("({})", pid.trim())), "{text}");
    assert_eq!(stored(&world, "kept").unwrap(), b"kept\n");
}

#[test]
fn an_interrupt_ends_the_patience_with_what_is_left_behind_and_a_second_one_the_storing() {
    let world = World::with_default_role();
    let faults = world.server.faults();
    let script = r#"
        (trap '' TERM INT; exec 3> $MNT/kept; echo $BASHPID > $OUT/left; touch $OUT/begun; while [ ! -e $OUT/more ]; do sleep 0.02; done
         echo kept >&3; for i in {1..3000}; do [ ! -e $OUT/go ] || break; sleep 0.02; done) &
        while [ ! -e $OUT/end ]; do sleep 0.02; done; echo $$ > $OUT/pid.new; mv $OUT/pid.new $OUT/pid"#;
    let mut run = start(&world, &[], script);
    wait_for_file(&world, "begun");
    let stall = Fault::StallAnswer;
    faults.script(u64::MAX, Some(Operation::PutObject), "kept", stall);
    fs::write(world.path("more"), "").unwrap();
    wait_for(SOON, "it is being stored", || faults.stalled() > 0);
    fs::write(world.path("end"), "").unwrap();
    wait_for_file(&world, "pid");
    let is_gone = |name: &str| {
        let pid = fs::read_to_string(world.path(name)).unwrap();
        !Path::new("/proc").join(pid.trim()).exists()
    };
    wait_for(SOON, "the command has ended", || is_gone("pid"));
    signal(run.child.id(), Signal::SIGINT);
    wait_for(SOON, "the mount is taken away", || !is_mounted(&run.at));
    // Were the first one not heard, this would be the first.
    signal(run.child.id(), Signal::SIGINT);
    let status = ended(&mut run.child, SOON);
    fs::write(world.path("go"), "").unwrap();
    faults.clear();
    faults.release();
    assert_eq!(status.code(), Some(74), "{status}");
    wait_for(SOON, "what was left behind ends", || is_gone("left"));
}

#[test]
fn as_process_1_it_reaps_and_hears_signals() {
    let world = World::with_default_role();
    let script = r#"
        for i in 1 2 3; do (sleep 0.05 &); done; sleep 0.3
        grep -l 'State:.Z' /proc/[0-9]*/status; echo $PPID; touch $OUT/begun
        trap 'exit 0' TERM; while :; do sleep 0.02; done"#;
    let rolefs = run_script(&world, &[], script);
    let wrapper = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"];
    let mut command = wrapped(&wrapper, &rolefs);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut run = Run {
        child,
        at: world.path("mnt"),
    };
    wait_for_file(&world, "begun");
    signal(children(run.child.id())[0], Signal::SIGTERM);
    assert_eq!(ended(&mut run.child, SOON).code(), Some(0));
    let mut printed = String::new();
    let mut pipe = run.child.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut pipe, &mut printed).unwrap();
    assert_eq!(
        printed, "1\n",
        "no zombies, and the supervisor is process 1"
    );
}

#[test]
fn the_terminals_interrupt_reaches_the_command_once() {
    let world = World::with_default_role();
    let script = r#"
        trap 'n=$((n + 1)); echo $n > $OUT/count' INT; trap 'exit 4' USR1; touch $OUT/begun
        while :; do sleep 0.02; done"#;
    let rolefs = run_script(&world, &[], script);
    let line = std::iter::once(rolefs.get_program())
        .chain(rolefs.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
        .collect::<Vec<_>>()
        .join(" ");
    let mut command = Command::new("script");
    command.args([
        "--quiet",
        "--return",
        "--command",
        &format!("exec {line}"),
        "/dev/null",
    ]);
    for (name, value) in rolefs.get_envs() {
        command.env(name, value.unwrap());
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut run = Run {
        child,
        at: world.path("mnt"),
    };
    wait_for_file(&world, "begun");
    std::io::Write::write_all(&mut keys, b"\x03").unwrap();
    wait_for_file(&world, "count");
    // What the supervisor would have forwarded comes before what it is sent next.
    let supervisor = children(run.child.id())[0];
    signal(supervisor, Signal::SIGUSR1);
    assert_eq!(ended(&mut run.child, SOON).code(), Some(4));
    assert_eq!(fs::read_to_string(world.path("count")).unwrap(), "1\n");
}
