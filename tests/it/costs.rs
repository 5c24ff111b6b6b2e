//! What writing costs in requests.

use std::fs;
use std::time::Instant;

use crate::harness::{BUCKET, World, content, run, shell};

fn stored(world: &World, key: &str) -> Option<Vec<u8>> {
    world.server.get(BUCKET, key).map(|bytes| bytes.to_vec())
}

#[test]
fn a_small_file_costs_one_request() {
    let world = World::open();
    let mount = world.mount(&[]);
    fs::read_dir(&mount.path).unwrap().count();
    let before = world.server.stats();
    for at in 0..20 {
        fs::write(mount.at(&format!("{at}")), content(at, 5000)).unwrap();
    }
    let after = world.server.stats();
    assert_eq!(after.requests() - before.requests(), 20);
}

#[test]
fn many_files_created_one_after_the_other_cost_little_more_than_their_puts() {
    let world = World::open();
    let mount = world.mount(&[]);
    fs::create_dir(mount.at("d")).unwrap();
    let before = world.server.stats();
    let began = Instant::now();
    for at in 0..1500 {
        fs::write(mount.at(&format!("d/{at:05}")), "x").unwrap();
    }
    let others = world.server.stats().requests() - before.requests() - 1500;
    // A few looks before it is known that there will be many, and a listing of at most 2 pages a second.
    let listings = 3 * (began.elapsed().as_secs() + 2);
    assert!(
        others <= 20 + listings,
        "{others} other requests in {:?}",
        began.elapsed()
    );
    assert_eq!(world.server.keys(BUCKET, "d/0").len(), 1500);
}

#[test]
fn a_copy_within_the_mount_sends_no_bytes() {
    let world = World::open();
    let bytes = content(1, 24 << 20);
    world.put("a", bytes.clone());
    let mount = world.mount(&[]);
    shell(&mount.path, "cp a b; cp --sparse=always a c");
    assert!(stored(&world, "b") == Some(bytes.clone()));
    assert!(stored(&world, "c") == Some(bytes));
    let tools = run(
        &mount.path,
        "mkdir t; cp -a a t/; tar cf t.tar t; rm -r t; tar xf t.tar; cmp a t/a; mv t u; cmp a u/a; git init -q g; cd g; \
         git config user.email a@b; git config user.name a; cp ../b f; git add f; git commit -qm one; git gc -q; git status --short",
    );
    assert!(
        tools.status.success() && tools.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&tools.stderr)
    );
}
