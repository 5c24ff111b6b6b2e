//! open(2) with O_TRUNC, and truncate(2) by name; the README's table is quoted.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::Command;

use crate::disk_cache::cached_world;
use crate::harness::{World, shell};
use crate::written::{python, stored};
use crate::{disk_cache, kernel};

const MIB: usize = 1 << 20;

#[test]
fn a_file_that_is_being_executed_is_not_truncated() {
    let world = World::open();
    let mount = world.mount(&[]);
    fs::copy("/bin/sleep", mount.at("sleep")).unwrap();
    let program = mount.read("sleep");
    let mut running = Command::new(mount.at("sleep")).arg("600").spawn().unwrap();
    let open = |mode: &str| {
        python(
            &mount,
            &format!(
                "import os\ntry: os.close(os.open('sleep', {mode} | os.O_TRUNC))\nexcept OSError as e: print(e.errno)"
            ),
        )
    };
    for mode in [
        "os.O_RDONLY",
        "os.O_WRONLY",
        "os.O_RDWR",
        "os.O_WRONLY | os.O_CREAT",
    ] {
        assert_eq!(open(mode).trim(), libc::ETXTBSY.to_string(), "{mode}");
        assert!(mount.read("sleep") == program, "{mode}");
        assert!(stored(&world, "sleep").as_ref() == Some(&program), "{mode}");
    }
    assert!(running.try_wait().unwrap().is_none());
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(open("os.O_RDONLY"), "");
    assert_eq!(stored(&world, "sleep"), Some(Vec::new()));
}

#[test]
fn what_is_truncated_at_open_is_stored_by_the_close_and_not_before() {
    let world = World::open();
    world.put("x", "before");
    let mount = world.mount(&[]);
    let puts = || world.server.stats().put();
    let mut file = File::create(mount.at("x")).unwrap();
    assert_eq!(mount.read("x"), b"");
    assert_eq!(stored(&world, "x").unwrap(), b"before");
    file.write_all(b"after").unwrap();
    drop(file);
    assert_eq!(stored(&world, "x").unwrap(), b"after");
    drop(File::create(mount.at("x")).unwrap());
    assert_eq!(stored(&world, "x").unwrap(), b"");
    assert_eq!(puts(), 2);
    // Another process truncates what this one writes: its close stores, too.
    fs::write(mount.at("x"), "again").unwrap();
    let mut file = OpenOptions::new().append(true).open(mount.at("x")).unwrap();
    file.write_all(b" and again").unwrap();
    shell(&mount.path, ": > x");
    assert_eq!(stored(&world, "x").unwrap(), b"");
    file.write_all(b"last").unwrap();
    drop(file);
    assert_eq!(stored(&world, "x").unwrap(), b"last");
    nix::unistd::truncate(&mount.at("x"), 2).unwrap();
    assert_eq!(stored(&world, "x").unwrap(), b"la");
}

#[test]
fn a_file_that_the_kernel_reads_by_itself_is_truncated_for_all_who_open_it_later() {
    let (world, large, _) = cached_world();
    let second = disk_cache::mount(&world, "second");
    let old = File::open(second.at("large")).unwrap();
    assert!(kernel::read_by(&old, MIB).unwrap() == large);
    nix::unistd::truncate(&second.at("large"), 5).unwrap();
    assert!(second.read("large") == large[..5]);
    assert!(stored(&world, "large").unwrap() == large[..5]);
}
