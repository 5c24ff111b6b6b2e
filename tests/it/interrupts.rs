//! Whoever is killed or interrupted while waiting for us is gone at once, whatever OSS does.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rolefs::dev_server::roles::ServiceFault;
use rolefs::dev_server::{Fault, Operation};

use crate::harness::{Mount, SOON, World, content, wait_for};
use crate::launch::{ended, job, signal};

/// What the issue allows for a killed process, and a little for a busy machine.
const GONE_WITHIN: Duration = Duration::from_secs(2);

fn world() -> World {
    let world = World::with_default_role();
    world.put("d/big", content(1, 20_000_000));
    world.put("d/small", content(2, 1_000));
    world
}

fn start(directory: &Path, script: &str) -> Child {
    Command::new("bash")
        .args(["-c", &format!("exec {script}")])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// True if the process runs its own program, no longer the shell, and one of its threads sleeps in the kernel.
fn waits(child: &Child) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    tasks.flatten().any(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(begin, behind)| {
            !begin.ends_with("(bash") && behind.starts_with(['D', 'S'])
        })
    })
}

/// Starts each script against a server that stalls, sends the signal once it waits, and measures how long it takes.
fn end_each(scripts: &[&str], stalled: Operation, fault: Fault, by: Signal) {
    let world = world();
    for (number, script) in scripts.iter().enumerate() {
        let mount = world.launch(&format!("mnt{number}"), world.rolefs(), &[]);
        let faults = world.server.faults();
        faults.script(u64::MAX, Some(stalled), "d/", fault);
        let mut child = start(&mount.path, script);
        wait_for(SOON, script, || faults.stalled() > 0 && waits(&child));
        signal(child.id(), by);
        let begin = Instant::now();
        let status = ended(&mut child, GONE_WITHIN);
        eprintln!("{script}: {status} after {:?}", begin.elapsed());
        assert!(!status.success(), "{script}");
        faults.clear();
        faults.release();
        // The mount has taken no harm.
        assert_eq!(mount.read("d/big"), content(1, 20_000_000), "{script}");
        assert_eq!(mount.read("d/small"), content(2, 1_000), "{script}");
    }
}

const MMAP: &str = "python3 -c 'import mmap; f = open(\"d/big\", \"rb\"); \
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); print(m[5_000_000])'";

const THREADS: &str = "python3 -c 'import threading\n\
    def read(): open(\"d/big\", \"rb\").read()\n\
    for _ in range(4): threading.Thread(target=read).start()'";

#[test]
fn a_killed_reader_is_gone_although_the_answer_stalls() {
    let scripts = [
        "dd if=d/big of=/dev/null bs=1M",
        "dd if=d/big of=/dev/null bs=1M iflag=direct",
        "cat d/small",
        MMAP,
        THREADS,
    ];
    end_each(
        &scripts,
        Operation::GetObject,
        Fault::StallAnswer,
        Signal::SIGKILL,
    );
}

#[test]
fn a_killed_reader_is_gone_although_the_body_stalls() {
    let fault = Fault::StallBody { after: 100_000 };
    let scripts = [
        "dd if=d/big of=/dev/null bs=1M",
        "dd if=d/big of=/dev/null bs=1M iflag=direct",
    ];
    end_each(&scripts, Operation::GetObject, fault, Signal::SIGKILL);
}

#[test]
fn a_killed_lookup_is_gone() {
    let scripts = ["stat d/big", "cat d/small", "stat d/none"];
    end_each(
        &scripts,
        Operation::HeadObject,
        Fault::StallAnswer,
        Signal::SIGKILL,
    );
}

/// The kernel lets only one of them look the name up; the others wait in line, and ask when it is their turn, killed or not.
#[test]
fn killed_lookups_of_one_name_are_gone_together() {
    let world = world();
    let mount = world.launch("mnt", world.rolefs(), &[]);
    let faults = world.server.faults();
    faults.script(
        u64::MAX,
        Some(Operation::HeadObject),
        "d/",
        Fault::StallAnswer,
    );
    let mut children: Vec<Child> = (0..8).map(|_| start(&mount.path, "cat d/big")).collect();
    wait_for(SOON, "all wait", || {
        faults.stalled() > 0 && children.iter().all(waits)
    });
    for child in &children {
        signal(child.id(), Signal::SIGKILL);
    }
    let begin = Instant::now();
    for child in &mut children {
        ended(child, GONE_WITHIN.saturating_sub(begin.elapsed()));
    }
    eprintln!("eight lookups: after {:?}", begin.elapsed());
}

#[test]
fn a_killed_listing_is_gone() {
    let scripts = ["ls d", "ls -l d", "find ."];
    end_each(
        &scripts,
        Operation::ListObjectsV2,
        Fault::StallAnswer,
        Signal::SIGKILL,
    );
}

#[test]
fn a_listing_is_gone_although_its_second_page_stalls() {
    let world = world();
    for number in 0..1_500 {
        world.put(&format!("many/{number:04}"), "");
    }
    let mount = world.launch("mnt", world.rolefs(), &[]);
    let faults = world.server.faults();
    let mut child = start(&mount.path, "ls -U many");
    // The first page passes, what is asked ahead of it stalls.
    faults.script(
        u64::MAX,
        Some(Operation::ListObjectsV2),
        "many/",
        Fault::StallAnswer,
    );
    wait_for(SOON, "the listing waits", || {
        faults.stalled() > 0 && waits(&child)
    });
    signal(child.id(), Signal::SIGKILL);
    ended(&mut child, GONE_WITHIN);
}

#[test]
fn an_interrupted_python_sees_its_interrupt() {
    let python = "python3 -c 'import sys\n\
        try: open(\"d/big\", \"rb\", buffering=0).read(1 << 20)\n\
        except KeyboardInterrupt: sys.exit(42)'";
    let direct = "python3 -c 'import mmap, os, sys\n\
        try: os.readv(os.open(\"d/big\", os.O_RDONLY | os.O_DIRECT), [mmap.mmap(-1, 1 << 20)])\n\
        except KeyboardInterrupt: sys.exit(42)'";
    let world = world();
    for (number, script) in [python, direct].into_iter().enumerate() {
        let mount = world.launch(&format!("mnt{number}"), world.rolefs(), &[]);
        let faults = world.server.faults();
        faults.script(
            u64::MAX,
            Some(Operation::GetObject),
            "d/",
            Fault::StallAnswer,
        );
        let mut child = start(&mount.path, script);
        wait_for(SOON, "python waits", || {
            faults.stalled() > 0 && waits(&child)
        });
        signal(child.id(), Signal::SIGINT);
        assert_eq!(ended(&mut child, GONE_WITHIN).code(), Some(42), "{script}");
        faults.clear();
        faults.release();
        assert_eq!(mount.read("d/big"), content(1, 20_000_000));
    }
}

#[test]
fn a_process_that_is_held_without_credentials_can_be_killed() {
    let world = World::with_roles(&job("token_life = \"2s\"\nrotate_every = \"500ms\""));
    world.put("d/big", content(1, 20_000_000));
    let mount = world.launch("mnt", world.rolefs(), &["--hold=2min"]);
    world
        .runtime
        .block_on(world.job().faults().service(ServiceFault::Refuse));
    let gone = world.job().current().expiration;
    wait_for(SOON, "the last set is dead", || {
        jiff::Timestamp::now() > gone
    });
    for script in ["cat d/big", "ls d", "stat d/big"] {
        let mut child = start(&mount.path, script);
        let is_held = |mount: &Mount| mount.log_text().contains("no new credentials");
        wait_for(SOON, "the process is held", || {
            is_held(&mount) && waits(&child)
        });
        signal(child.id(), Signal::SIGKILL);
        let begin = Instant::now();
        ended(&mut child, GONE_WITHIN);
        eprintln!("{script}: after {:?}", begin.elapsed());
    }
    world
        .runtime
        .block_on(world.job().faults().service(ServiceFault::None));
    assert_eq!(mount.read("d/big"), content(1, 20_000_000));
}
