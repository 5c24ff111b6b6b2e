//! A hundred thousand open files, and a log without room.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::disk_full::Mounted;
use crate::harness::{SOON, World, content, wait_for};
use crate::launch::output;
use crate::written::stored;

const FILES: usize = 100_000;
const DIRECTORIES: usize = 100;
const OPENERS: usize = 10;

/// Opens all files of some directories, says so, and at a word reads each and closes it.
const OPEN_ALL: &str = "
import os, resource, sys
root, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
need = 64 + (last - first) * 1000
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), max(hard, need)))
opened = []
for directory in range(first, last):
    for name in os.listdir(f'{root}/{directory}'):
        opened.append((os.open(f'{root}/{directory}/{name}', os.O_RDONLY), f'{directory}/{name}'))
print(len(opened), flush=True)
sys.stdin.readline()
for at, (file, name) in enumerate(opened):
    if at % 50 == 0:
        assert os.pread(file, 100, 0) == name.encode(), name
    os.close(file)
";

/// A process that is ended with the test.
struct Opener(Child);

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_hundred_thousand_files_are_open_at_once() {
    let world = World::open();
    for at in 0..FILES {
        let key = format!("{}/{at:05}", at % DIRECTORIES);
        world.put(&key, key.clone());
    }
    let mount = world.launch(
        "mnt",
        world.rolefs(),
        &["--attr-ttl=10min", "--log-level=info", "--memory=64MiB"],
    );
    let before = mount.rss_bytes();
    let share = DIRECTORIES / OPENERS;
    let mut openers: Vec<Opener> = (0..OPENERS)
        .map(|at| {
            let mut python = Command::new("python3");
            python.args(["-c", OPEN_ALL]).arg(&mount.path);
            python.args([(at * share).to_string(), ((at + 1) * share).to_string()]);
            let piped = python.stdin(Stdio::piped()).stdout(Stdio::piped());
            Opener(piped.spawn().unwrap())
        })
        .collect();
    let opened: usize = openers
        .iter_mut()
        .map(|opener| {
            let mut line = String::new();
            let pipe = opener.0.stdout.as_mut().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(pipe), &mut line).unwrap();
            line.trim().parse::<usize>().unwrap()
        })
        .sum();
    assert_eq!(opened, FILES);
    let per_file = mount.rss_bytes().saturating_sub(before) / FILES as u64;
    eprintln!("{per_file} bytes of memory for each open file");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", mount.child.id()));
    let descriptors = descriptors.unwrap().count();
    assert!(descriptors < 200, "{descriptors} descriptors");
    assert!(per_file < 1500, "{per_file} bytes for each open file");
    for opener in &mut openers {
        opener.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    for opener in &mut openers {
        assert!(opener.0.wait().unwrap().success());
    }
    let metrics = mount.unmount();
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn a_log_without_room_is_no_readers_or_writers_error() {
    let world = World::open();
    for at in 0..50 {
        world.put(&at.to_string(), content(at, 10_000));
    }
    let disk = Mounted::tmpfs(world.path("log"), "64k");
    fs::create_dir(world.path("mnt")).unwrap();
    let log = format!("--log-file={}", disk.0.join("log").display());
    let options = ["--log-level=debug", "--log-size=8KiB", &log];
    let prompt = world.background("mnt", world.rolefs(), &options);
    assert!(prompt.output.status.success(), "{}", prompt.stderr());
    let mut filler = File::create(disk.0.join("filler")).unwrap();
    while filler.write_all(&[1; 512]).is_ok() {}
    for at in 0..50 {
        let name = at.to_string();
        assert!(fs::read(prompt.path.join(&name)).unwrap() == content(at, 10_000));
        fs::write(prompt.path.join(format!("w{at}")), &name).unwrap();
        assert_eq!(stored(&world, &format!("w{at}")).unwrap(), name.as_bytes());
    }
    let mut umount = world.rolefs();
    umount.arg("umount").arg(&prompt.path);
    assert!(output(umount).status.success());
    wait_for(SOON, "the process ends", || prompt.daemon().is_none());
}
