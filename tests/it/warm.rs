//! `--prefetch-list` and `rolefs warm`, by real mounts.

use std::fs;

use crate::harness::{SOON, World, content, wait_for};

const FILES: usize = 200;

fn world() -> World {
    let world = World::open();
    for number in 0..FILES {
        world.put(&format!("d/{number:03}"), content(number as u64, 20_000));
    }
    world
}

#[test]
fn a_prefetch_list_is_fetched_before_it_is_read() {
    let world = world();
    let list = world.path("list");
    let mut text = String::from("# what comes\n\nnot/there\n");
    for number in (0..FILES).rev() {
        text.push_str(&format!("d/{number:03}\n"));
    }
    fs::write(&list, text).unwrap();
    let mount = world.mount(&["--prefetch-list", list.to_str().unwrap()]);
    wait_for(SOON, "the list is fetched", || {
        world.server.stats().get() >= FILES as u64
    });
    for number in (0..FILES).rev() {
        assert!(mount.read(&format!("d/{number:03}")) == content(number as u64, 20_000));
    }
    wait_for(SOON, "the missing one is told", || {
        mount.log_text().contains("1 files of the prefetch list")
    });
    assert_eq!(
        mount.unmount().value("rolefs_oss_get_requests_total"),
        FILES as u64
    );
}

#[test]
fn a_prefetch_list_that_cannot_be_read_is_named_before_the_mount() {
    let world = World::open();
    let output = world
        .rolefs()
        .args(["mount", "--foreground", "--prefetch-list=/not/there"])
        .arg(world.directory.path())
        .arg("oss://workspace-default")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("--prefetch-list /not/there"), "{said}");
}

#[test]
fn a_link_to_what_is_to_be_warmed_is_followed() {
    let world = world();
    let mount = world.mount(&[]);
    let link = world.path("link");
    std::os::unix::fs::symlink(mount.at("d"), &link).unwrap();
    let warmed = world.rolefs().arg("warm").arg(&link).output().unwrap();
    assert!(warmed.status.success(), "{warmed:?}");
    let gets = mount.unmount().value("rolefs_oss_get_requests_total");
    assert_eq!(gets, FILES as u64);
}

#[test]
fn what_was_warmed_costs_no_request() {
    let world = world();
    world.put("large", content(7, 5 << 20));
    let mount = world.mount(&["--attr-ttl=1h"]);
    let output = world
        .rolefs()
        .arg("warm")
        .arg("--jobs=4")
        .arg(&mount.path)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("201/201 files, 8.81 MiB/8.81 MiB"), "{said}");
    let gets = world.server.stats().get();
    for number in 0..FILES {
        assert!(mount.read(&format!("d/{number:03}")) == content(number as u64, 20_000));
    }
    assert!(mount.read("large") == content(7, 5 << 20));
    assert_eq!(world.server.stats().get(), gets);
}

#[test]
fn what_cannot_be_warmed_is_named() {
    let world = World::open();
    world.put("a", "x");
    let mount = world.mount(&[]);
    let paths = [mount.at("a"), mount.at("gone"), mount.at("lost")];
    let output = world.rolefs().arg("warm").args(&paths).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    let last = said.lines().last().unwrap();
    assert!(
        last.contains("gone") && last.ends_with("and 1 more failures"),
        "{said}"
    );
}
