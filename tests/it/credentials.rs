//! Sets of credentials that rotate, run out, come late or torn, and stay secret.
//!
//! With `ROLEFS_TEST_SOAK=1` the sets of the first test live for 3 s each, and 200 of them take ten minutes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rolefs::dev_server::roles::TokenSet;
use rolefs::dev_server::roles::{FileFault, ServiceFault};

use crate::harness::{Mount, SOON, World, content, wait_for};
use crate::launch::{Container, injected_file, job, read_direct, wrapped};

const ROTATIONS: u64 = 200;
const READERS: u64 = 8;
const FILES: u64 = 40;

/// Sets that are never renewed by themselves, and refused as soon as there is a next one.
pub(crate) const BY_HAND: &str = r#"
token_life = "1h"
rotate_every = "1h"
old_tokens = "refused_at_once"
"#;

/// The rotations of the issue: each set lives for 3 s, the next one comes after 3 s, and then the old one is refused.
const SOAK: &str = r#"
token_life = "3s"
rotate_every = "3s"
old_tokens = "refused_at_once"
"#;

/// Sets that live for two seconds.
const SHORT: &str = r#"
token_life = "2s"
rotate_every = "500ms"
"#;

pub(crate) fn put_files(world: &World) {
    for number in 0..FILES {
        let len = if number % 4 == 0 { 2_500_000 } else { 20_000 };
        world.put(&format!("d{}/f{number}", number % 5), content(number, len));
    }
}

fn set_service(world: &World, fault: ServiceFault) {
    world.runtime.block_on(world.job().faults().service(fault));
}

/// Both places of the injected credentials fail, or work again.
fn set_all_gone(world: &World, gone: bool) {
    let (service, file) = if gone {
        (ServiceFault::Refuse, FileFault::Missing)
    } else {
        (ServiceFault::None, FileFault::None)
    };
    set_service(world, service);
    world.job().faults().file(file).unwrap();
}

/// Reads and lists what [`put_files`] has put, in random order, until told to stop; returns the first failure.
pub(crate) fn read_on(
    mount: &Path,
    seed: u64,
    stop: &AtomicBool,
    files_read: &AtomicU64,
) -> Option<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let number = random.u64(..FILES);
        let directory = mount.join(format!("d{}", number % 5));
        let path = directory.join(format!("f{number}"));
        match read_direct(&path) {
            Ok(bytes) if bytes == content(number, bytes.len()) && !bytes.is_empty() => {}
            Ok(_) => return Some(format!("{}: wrong bytes", path.display())),
            Err(error) => return Some(format!("{}: {error}", path.display())),
        }
        match fs::read_dir(&directory).map(Iterator::count) {
            Ok(8) => {}
            other => return Some(format!("{}: {other:?} entries", directory.display())),
        }
        files_read.fetch_add(1, Ordering::Relaxed);
    }
    None
}

/// 200 rotations in half a minute.
fn rotate_fast(world: &World) {
    let begin = Instant::now();
    for rotation in 1..=ROTATIONS {
        let at = begin + Duration::from_millis(150 * rotation);
        // The pace of the rotations, not a wait for anything.
        thread::sleep(at.saturating_duration_since(Instant::now()));
        world.job().rotate_now().unwrap();
    }
}

#[test]
fn two_hundred_rotations_fail_no_read_of_eight_readers() {
    let is_soak = std::env::var_os("ROLEFS_TEST_SOAK").is_some();
    let world = World::with_roles(&job(if is_soak { SOAK } else { BY_HAND }));
    put_files(&world);
    let container = Container::new(&world);
    let mount = world.launch("mnt", container.rolefs(&world), &["--memory=16MiB"]);
    let (stop, files_read) = (AtomicBool::new(false), AtomicU64::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|seed| {
                let (path, stop, files_read) = (&mount.path, &stop, &files_read);
                scope.spawn(move || read_on(path, seed, stop, files_read))
            })
            .collect();
        let stopped = || readers.iter().any(thread::ScopedJoinHandle::is_finished);
        if is_soak {
            wait_for(Duration::from_secs(900), "the rotations", || {
                world.job().rotations() >= ROTATIONS || stopped()
            });
        } else {
            rotate_fast(&world);
        }
        // Everybody comes through once more after the last rotation.
        let read = files_read.load(Ordering::Relaxed);
        wait_for(Duration::from_secs(60), "the readers go on", || {
            files_read.load(Ordering::Relaxed) > read + READERS * 2 || stopped()
        });
        stop.store(true, Ordering::Relaxed);
        let outcomes = readers.into_iter().map(|reader| reader.join().unwrap());
        outcomes.flatten().collect()
    });
    assert!(failures.is_empty(), "{failures:?}");
    let read = files_read.load(Ordering::Relaxed);
    assert!(read > 20 * READERS, "only {read} files were read");
    let metrics = mount.unmount();
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
    let adopted = metrics.value("rolefs_credentials_adopted_total");
    let forced = metrics.value("rolefs_credentials_forced_total");
    eprintln!("{read} files, {adopted} sets adopted, {forced} refreshes forced");
    assert!(
        forced > 5 && adopted > 10,
        "{adopted} adopted, {forced} forced"
    );
}

#[test]
fn readers_wait_while_credentials_are_gone_for_less_than_the_hold() {
    let world = World::with_roles(&job(SHORT));
    put_files(&world);
    let container = Container::new(&world);
    let mount = world.launch("mnt", container.rolefs(&world), &["--hold=1min"]);
    set_all_gone(&world, true);
    let gone = world.job().current().expiration;
    wait_for(SOON, "the last set is dead", || {
        jiff::Timestamp::now() > gone
    });
    let path = mount.path.clone();
    let reader = thread::spawn(move || {
        let names: Vec<_> = fs::read_dir(path.join("d1")).unwrap().collect();
        (names.len(), fs::read(path.join("d1/f1")).unwrap())
    });
    wait_for(SOON, "the loss is logged", || {
        mount.log_text().contains("no new credentials; trying on")
    });
    assert!(!reader.is_finished());
    set_all_gone(&world, false);
    wait_for(SOON, "the reader goes on", || reader.is_finished());
    assert_eq!(reader.join().unwrap(), (8, content(1, 20_000)));
    assert_eq!(mount.unmount().value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn readers_fail_when_credentials_are_gone_for_longer_and_recover() {
    let world = World::with_roles(&job(SHORT));
    put_files(&world);
    let container = Container::new(&world);
    let mount = world.launch("mnt", container.rolefs(&world), &["--hold=3s"]);
    assert_eq!(mount.read("d1/f1"), content(1, 20_000));
    set_all_gone(&world, true);
    let gone = world.job().current().expiration;
    wait_for(SOON, "the last set is dead", || {
        jiff::Timestamp::now() > gone
    });
    let requests = world.server.stats().requests();
    let begin = Instant::now();
    let error = fs::read(mount.at("d2/f2")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EKEYEXPIRED), "{error}");
    let waited = begin.elapsed();
    assert!(waited > Duration::from_millis(2_500), "{waited:?}");
    assert!(waited < Duration::from_secs(10), "{waited:?}");
    assert_eq!(
        world.server.stats().requests(),
        requests,
        "sent without credentials"
    );
    let log = mount.log_text();
    let line = log
        .lines()
        .find(|line| line.contains("credentials are gone since"));
    let line = line.unwrap_or_else(|| panic!("no clear line: {log}"));
    assert!(
        line.contains("WARN") && line.contains("not there"),
        "{line}"
    );
    set_all_gone(&world, false);
    wait_for(SOON, "reads work again", || {
        fs::read(mount.at("d2/f2")).is_ok()
    });
    assert_eq!(mount.read("d2/f2"), content(2, 20_000));
}

/// Rotates, and reads something new with the next set, several times.
fn survives(world: &World, mount: &Mount) {
    for number in 0..6 {
        let (seed, len) = (number, if number % 4 == 0 { 2_500_000 } else { 20_000 });
        assert_eq!(
            mount.read(&format!("d{}/f{number}", number % 5)),
            content(seed, len)
        );
        world.job().rotate_now().unwrap();
    }
}

#[test]
fn each_source_renews_alone() {
    let world = World::with_roles(&job(BY_HAND));
    put_files(&world);
    let file = format!("--credentials=file:{}", injected_file(&world).display());
    let uri = format!("--credentials=uri:{}", world.job().uri());
    for (name, source, other) in [("file", &file, "uri:"), ("uri", &uri, "file:")] {
        let mut rolefs = world.rolefs();
        rolefs.env_remove("ALIBABA_CLOUD_CREDENTIALS_URI");
        let mount = world.launch(name, rolefs, &[source]);
        survives(&world, &mount);
        assert!(!mount.log_text().contains(&format!("source={other}")));
    }
}

#[test]
fn the_environment_is_a_source_too() {
    let key = "[key.admin]\nid = \"LTAIadmin\"\nsecret = \"hush\"";
    let world = World::with_roles(&job(&format!("{BY_HAND}{key}")));
    put_files(&world);
    let set = world.job().current();
    let temporary = (
        set.access_key_id,
        set.access_key_secret,
        Some(set.security_token),
    );
    let permanent = ("LTAIadmin".to_owned(), "hush".to_owned(), None);
    // A permanent key goes before everything else that auto finds; a temporary one has to be asked for.
    for (name, source, (id, secret, token)) in [
        ("temporary", "--credentials=env", temporary),
        ("permanent", "--credentials=auto", permanent),
    ] {
        let mut rolefs = world.rolefs();
        rolefs
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", id)
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret);
        if let Some(token) = token {
            rolefs.env("ALIBABA_CLOUD_SECURITY_TOKEN", token);
        }
        let fetches = world.job().fetches();
        let mount = world.launch(name, rolefs, &[source]);
        assert_eq!(mount.read("d1/f1"), content(1, 20_000));
        assert!(mount.log_text().contains("source=env"), "{name}");
        assert_eq!(
            world.job().fetches(),
            fetches,
            "{name}: the service was asked"
        );
    }
}

#[test]
fn auto_lives_on_one_of_its_sources() {
    let world = World::with_roles(&job(BY_HAND));
    put_files(&world);
    let container = Container::new(&world);
    for (name, service, file) in [
        ("no-file", ServiceFault::None, FileFault::Missing),
        ("torn-file", ServiceFault::None, FileFault::Torn),
        ("mixed-file", ServiceFault::None, FileFault::Mixed),
        ("stale-file", ServiceFault::None, FileFault::Stale),
        ("no-service", ServiceFault::Refuse, FileFault::None),
        ("lying-service", ServiceFault::WrongSecret, FileFault::None),
        ("stalled-service", ServiceFault::Stall, FileFault::None),
        ("broken-service", ServiceFault::Status(500), FileFault::None),
    ] {
        let mount = world.launch(name, container.rolefs(&world), &[]);
        set_service(&world, service);
        world.job().faults().file(file).unwrap();
        survives(&world, &mount);
        set_all_gone(&world, false);
        world.job().rotate_now().unwrap();
        eprintln!("{name} done");
        assert_eq!(
            mount.unmount().value("rolefs_fuse_errors_total"),
            0,
            "{name}"
        );
    }
}

#[test]
fn every_way_of_replacing_the_file_is_noticed() {
    for mode in ["rename", "in_place", "symlink"] {
        let lines = format!("{BY_HAND}\nfile_mode = \"{mode}\"");
        let world = World::with_roles(&job(&lines));
        put_files(&world);
        let file = format!("--credentials=file:{}", injected_file(&world).display());
        let mount = world.launch("mnt", world.rolefs(), &[&file]);
        survives(&world, &mount);
        // Also when nobody reads: the file is looked at by itself.
        let adopted = || mount.log_text().matches("credentials renewed").count();
        let before = adopted();
        world.job().rotate_now().unwrap();
        wait_for(SOON, mode, || adopted() > before);
    }
}

#[test]
fn a_torn_file_changes_nothing_until_it_is_whole() {
    let world = World::with_roles(&job(r#"token_life = "1h""#));
    put_files(&world);
    let file = format!("--credentials=file:{}", injected_file(&world).display());
    let mount = world.launch("mnt", world.rolefs(), &[&file]);
    world.job().faults().file(FileFault::Torn).unwrap();
    wait_for(SOON, "the torn file is noticed", || {
        mount
            .log_text()
            .contains("stays unreadable; keeping the old set")
    });
    assert_eq!(mount.read("d1/f1"), content(1, 20_000));
    world.job().rotate_now().unwrap();
    world.job().faults().file(FileFault::None).unwrap();
    wait_for(SOON, "the whole file is taken", || {
        mount.log_text().contains("credentials renewed")
    });
    assert_eq!(mount.read("d2/f2"), content(2, 20_000));
    assert_eq!(mount.unmount().value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn credentials_that_are_not_injected_yet_are_waited_for() {
    let world = World::with_roles(&job(BY_HAND));
    put_files(&world);
    let container = Container::new(&world);
    set_all_gone(&world, true);
    let mut mount = world.launch_unready("mnt", container.rolefs(&world), &[]);
    wait_for(SOON, "the mount looks for credentials", || {
        mount.log_text().contains("no new credentials; trying on")
    });
    assert!(mount.child.try_wait().unwrap().is_none());
    world.job().faults().file(FileFault::None).unwrap();
    wait_for(SOON, "the mount answers", || {
        mount.log_text().contains("mounted")
    });
    assert_eq!(mount.read("d1/f1"), content(1, 20_000));
}

/// Where any of the secrets stands in a text.
fn leak(what: &str, text: &[u8], sets: &[TokenSet]) {
    for set in sets {
        for secret in [&set.access_key_secret, &set.security_token] {
            // Half of a secret is too much as well.
            let half = &secret.as_bytes()[..secret.len() / 2];
            let found = text.windows(half.len()).any(|window| window == half);
            assert!(!found, "{what} has a secret");
        }
    }
}

#[test]
fn secrets_are_in_no_log_and_no_argument() {
    let world = World::with_roles(&job(BY_HAND));
    put_files(&world);
    let container = Container::new(&world);
    let options = ["--log-level=trace", "--hold=1s"];
    let mount = world.launch("mnt", container.rolefs(&world), &options);
    let mut sets = vec![world.job().current()];
    for number in 1..4 {
        assert_eq!(
            mount.read(&format!("d{number}/f{number}")),
            content(number, 20_000)
        );
        world.job().rotate_now().unwrap();
        sets.push(world.job().current());
    }
    // What is refused, torn, mixed or gone is logged most eagerly.
    for fault in [FileFault::Mixed, FileFault::Torn, FileFault::Missing] {
        world.job().faults().file(fault).unwrap();
        set_service(&world, ServiceFault::WrongSecret);
        world.job().rotate_now().unwrap();
        sets.push(world.job().current());
        assert!(fs::read(mount.at("d0/f5")).is_err());
    }
    let pid = mount.child.id();
    for place in ["cmdline", "comm", "mountinfo"] {
        leak(
            place,
            &fs::read(format!("/proc/{pid}/{place}")).unwrap(),
            &sets,
        );
    }
    let (log, stderr) = (mount.log.clone(), world.path("mnt.stderr"));
    drop(mount);
    let log = fs::read(log).unwrap();
    assert!(log.windows(5).any(|window| window == b"TRACE"));
    leak("the log", &log, &sets);
    leak("standard error", &fs::read(stderr).unwrap(), &sets);
}

/// A process that is not dumpable leaves no core, and its memory is closed even to its own user (proc(5), ptrace(2)). Root
/// is above that by CAP_SYS_PTRACE, so the mount, its witness and the spy all live without it here.
#[test]
fn the_memory_of_the_process_is_closed() {
    let world = World::with_default_role();
    let humble = [
        "setpriv",
        "--bounding-set=-sys_ptrace",
        "--inh-caps=-sys_ptrace",
    ];
    let mount = world.launch("mnt", wrapped(&humble, &world.rolefs()), &[]);
    let spy = |pid: u32| {
        let mut spy = std::process::Command::new(humble[0]);
        spy.args(&humble[1..]).args(["dd", "count=0"]);
        spy.arg(format!("if=/proc/{pid}/mem")).output().unwrap()
    };
    let mut witness = std::process::Command::new(humble[0]);
    let mut witness = witness
        .args(&humble[1..])
        .args(["sleep", "60"])
        .spawn()
        .unwrap();
    wait_for(SOON, "the witness runs", || {
        fs::read_to_string(format!("/proc/{}/comm", witness.id())).unwrap() == "sleep\n"
    });
    let of_witness = spy(witness.id());
    let of_mount = spy(mount.child.id());
    witness.kill().unwrap();
    witness.wait().unwrap();
    assert!(of_witness.status.success(), "{of_witness:?}");
    assert!(!of_mount.status.success());
    let said = String::from_utf8_lossy(&of_mount.stderr).into_owned();
    assert!(said.contains("Permission denied"), "{said}");
}
