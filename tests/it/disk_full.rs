//! The cache on disk when there is no room for it, and when its directory is not to be believed.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;

use crate::disk_cache::{files, gets, is_passthrough_there, passthrough_opens};
use crate::harness::{SOON, World, content, run, wait_for};
use crate::kernel;

const MIB: usize = 1 << 20;

/// A file system of the kernel's, gone at the end.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    /// A small one in memory.
    pub(crate) fn tmpfs(path: PathBuf, size: &str) -> Self {
        Self::new(path, "tmpfs", &format!("size={size}"))
    }

    /// One over another directory.
    fn overlay(path: PathBuf, lower: &Path, own: &Path) -> Self {
        let (upper, work) = (own.join("upper"), own.join("work"));
        fs::create_dir_all(&upper).unwrap();
        fs::create_dir_all(&work).unwrap();
        let [lower, upper, work] = [lower, &upper, &work].map(|path| path.display().to_string());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        Self::new(path, "overlay", &options)
    }

    fn new(path: PathBuf, kind: &str, options: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", kind, "-o", options, kind]).arg(&path);
        assert!(command.status().unwrap().success());
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_no_readers_error() {
    let world = World::open();
    let disk = Mounted::tmpfs(world.path("cache"), "40M");
    let objects: Vec<Bytes> = (0..6)
        .map(|at| Bytes::from(content(at, 11 * MIB + 5)))
        .collect();
    for (at, bytes) in objects.iter().enumerate() {
        world.put(&at.to_string(), bytes.clone());
    }
    // Hardly any memory, so that what is not on disk comes from the wire each time.
    let cache = format!("--cache-dir={}", disk.0.display());
    let mount = world.mount(&["--memory=16MiB", &cache]);
    let read_all = || {
        for (at, bytes) in objects.iter().enumerate() {
            let file = File::open(mount.at(&at.to_string())).unwrap();
            assert!(kernel::read_by(&file, MIB).unwrap() == *bytes, "{at}");
            kernel::forget_pages(&file);
        }
    };
    let mut seen: Vec<PathBuf> = Vec::new();
    wait_for(SOON, "room is made", || {
        read_all();
        let there = files(&world, ".data");
        let is_one_gone = seen.iter().any(|path| !there.contains(path));
        seen.extend(there);
        is_one_gone
    });
    // Somebody else fills the rest to the last byte.
    let mut filler = File::create(disk.0.join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    read_all();
    read_all();
    let metrics = mount.unmount();
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
    assert!(metrics.value("rolefs_disk_evictions_total") > 0);
}

#[test]
fn the_cache_stays_below_its_size_and_keeps_what_was_used_last() {
    let world = World::open();
    let objects: Vec<Bytes> = (0..32)
        .map(|at| Bytes::from(content(at, 5 * MIB)))
        .collect();
    for (at, bytes) in objects.iter().enumerate() {
        world.put(&at.to_string(), bytes.clone());
    }
    let cache = format!("--cache-dir={}", world.path("cache").display());
    let arguments = ["--memory=256MiB", &cache, "--cache-size=128MiB"];
    let used_mib = || {
        let found = files(&world, "")
            .into_iter()
            .filter_map(|path| fs::metadata(path).ok());
        found.map(|found| found.blocks() * 512).sum::<u64>() >> 20
    };
    let mount = world.mount(&arguments);
    for (at, bytes) in objects.iter().enumerate() {
        assert!(mount.read(&at.to_string()) == *bytes);
        assert!(used_mib() <= 128);
        // The keeper comes to it; until then writes would be dropped.
        wait_for(SOON, "there is room again", || used_mib() < 120);
    }
    let metrics = mount.unmount();
    // Blocks that come while the keeper counts may be dropped, so not every object that came was whole.
    assert!(metrics.value("rolefs_disk_evictions_total") > 0);
    let second = world.mount_at("second", &arguments);
    assert!(second.read("31") == objects[31]);
    let metrics = second.unmount();
    let hits = metrics.value("rolefs_disk_hits_total") + passthrough_opens(&metrics);
    assert!(hits > 0, "the last one is still there");
}

#[test]
fn a_cache_of_somebody_else_is_refused() {
    let world = World::open();
    let cache = world.path("cache/rolefs-cache-v1");
    fs::create_dir_all(&cache).unwrap();
    fs::create_dir_all(world.path("mnt")).unwrap();
    let said = |directory: &Path| {
        let mut command = world.rolefs();
        command
            .args(["mount", "--foreground"])
            .arg(world.path("mnt"));
        command
            .arg("oss://workspace-default")
            .arg("--cache-dir")
            .arg(directory);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    let open = said(&world.path("cache"));
    assert!(
        open.contains("must belong to the user that mounts, with mode 0700"),
        "{open}"
    );
    let line = open.lines().find(|line| line.starts_with("rolefs: "));
    assert!(
        line.is_some_and(|line| line.contains("--cache-dir: ")),
        "{open}"
    );
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&cache, Some(12_345), None).unwrap();
    let foreign = said(&world.path("cache"));
    assert!(foreign.contains("it belongs to 12345"), "{foreign}");
    let hidden = said(&world.path("mnt/cache"));
    assert!(hidden.contains("lies under the mountpoint"), "{hidden}");
    let no_directory = said(Path::new("/dev/null/x"));
    assert!(
        no_directory.contains("cannot make the directory"),
        "{no_directory}"
    );
    assert!(
        run(world.directory.path(), "test -z \"$(ls mnt)\"")
            .status
            .success()
    );
}

/// Reads an object twice; how often the kernel read it by itself.
fn read_twice(world: &World, cache: &Path) -> u64 {
    let bytes = content(9, 3 * MIB);
    world.put("x", bytes.clone());
    let cache = format!("--cache-dir={}", cache.display());
    for _ in 0..2 {
        let mount = world.mount(&[&cache]);
        assert!(mount.read("x") == bytes);
        let metrics = mount.unmount();
        fs::remove_file(world.path("mnt.stats")).unwrap();
        if passthrough_opens(&metrics) > 0 {
            assert_eq!(gets(&metrics), 0);
            return passthrough_opens(&metrics);
        }
    }
    0
}

#[test]
fn the_kernel_reads_files_of_an_overlay_as_containers_have_it() {
    let world = World::open();
    let lower = world.path("lower");
    fs::create_dir_all(&lower).unwrap();
    let overlay = Mounted::overlay(world.path("root"), &lower, &world.path("own"));
    let opens = read_twice(&world, &overlay.0.join("cache"));
    assert_eq!(opens, u64::from(is_passthrough_there()));
}

#[test]
fn an_overlay_lies_over_a_mount_whose_cache_is_no_overlay() {
    let world = World::open();
    let cache = world.path("cache");
    let opens = read_twice(&world, &cache);
    assert_eq!(opens, u64::from(is_passthrough_there()));
    let mount = world.mount(&["--cache-dir", cache.to_str().unwrap()]);
    let overlay = Mounted::overlay(world.path("over"), &mount.path, &world.path("own"));
    assert!(fs::read(overlay.0.join("x")).unwrap() == content(9, 3 * MIB));
    drop(overlay);
    assert_eq!(passthrough_opens(&mount.unmount()), opens);
}
