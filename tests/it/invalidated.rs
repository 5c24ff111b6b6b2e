//! `rolefs invalidate`: what somebody says is out of date is asked for again, and nothing else is.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::harness::{SOON, World, content, wait_for};
use crate::launch::output;
use crate::status::{said, status};

/// Has a path asked for again, which says nothing.
fn invalidate(world: &World, path: impl AsRef<Path>) {
    let mut command = world.rolefs();
    command.arg("invalidate").arg(path.as_ref());
    let done = output(command);
    assert!(
        done.status.success() && said(&done).is_empty(),
        "{}",
        said(&done)
    );
}

#[test]
fn an_invalidated_path_is_asked_for_again_and_nothing_else_is() {
    let world = World::open();
    world.put("data/a", "old a");
    world.put("data/b", "old b");
    world.put("other/c", "old c");
    let mount = world.mount(&["--immutable=**"]);
    for path in ["data/a", "data/b", "other/c"] {
        mount.read(path);
    }
    assert_eq!(fs::read_dir(mount.at("data")).unwrap().count(), 2);
    world.put("data/a", "new a!");
    world.put("data/b", "new b!");
    world.put("data/d", "new d!");
    world.put("other/c", "new c!");
    assert_eq!(
        mount.read("data/a"),
        b"old a",
        "it never changes, as was said"
    );
    invalidate(&world, mount.at("data"));
    assert_eq!(mount.read("data/a"), b"new a!");
    assert_eq!(mount.read("data/b"), b"new b!");
    assert_eq!(mount.read("data/d"), b"new d!");
    assert_eq!(mount.read("other/c"), b"old c");
    world.put("other/e", "e");
    for path in ["other/c", "other/e"] {
        invalidate(&world, mount.at(path));
    }
    assert_eq!(mount.read("other/c"), b"new c!");
    assert_eq!(mount.read("other/e"), b"e");
}

#[test]
fn cached_blocks_of_an_invalidated_path_are_fetched_again() {
    let world = World::open();
    let cache = world.path("cache");
    world.put("a", content(1, 3 << 20));
    let option = format!("--cache-dir={}", cache.display());
    let mount = world.mount(&[&option]);
    let gets = || status(&world, &mount)["metrics"]["rolefs_oss_bytes_received_total"].clone();
    mount.read("a");
    let once = gets();
    mount.read("a");
    assert_eq!(gets(), once, "from a cache");
    invalidate(&world, mount.at("a"));
    assert_eq!(mount.read("a"), content(1, 3 << 20));
    assert_eq!(gets().as_u64(), once.as_u64().map(|bytes| 2 * bytes));
}

#[test]
fn what_is_not_stored_survives_an_invalidation() {
    let world = World::open();
    world.put("data/a", "old");
    let mount = world.mount(&[]);
    let mut file = fs::File::create(mount.at("data/new")).unwrap();
    file.write_all(b"written").unwrap();
    invalidate(&world, &mount.path);
    assert_eq!(mount.read("data/new"), b"written");
    drop(file);
    assert_eq!(mount.read("data/a"), b"old");
    wait_for(SOON, "it is stored", || {
        status(&world, &mount)["staged"]["files"] == 0
    });
}
