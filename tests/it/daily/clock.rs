//! A wall clock that is set while the mount lives.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use crate::credentials::BY_HAND;
use crate::harness::{World, content};
use crate::launch::job;
use crate::written::stored;

/// A library that stands before libc's: the wall clock is as many seconds off as the file `$CLOCK_IS_OFF` says.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int outcome = real(clock, now), saved = errno;
    if (outcome == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        char text[32] = {0};
        int file = open(getenv("CLOCK_IS_OFF"), O_RDONLY | O_CLOEXEC);
        if (file >= 0 && read(file, text, sizeof text - 1) > 0) now->tv_sec += atoll(text);
        if (file >= 0) close(file);
    }
    errno = saved;
    return outcome;
}
"#;

#[test]
fn a_wall_clock_that_jumps_fails_nothing() {
    let world = World::with_roles(&job(BY_HAND));
    let (source, library) = (world.path("clock.c"), world.path("clock.so"));
    fs::write(&source, CLOCK).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
    assert!(
        compiler
            .arg(&source)
            .arg("-ldl")
            .status()
            .unwrap()
            .success()
    );
    // Renamed into place: a clock that is read half would jump once more.
    let set = |seconds: i64| {
        fs::write(world.path("off.new"), seconds.to_string()).unwrap();
        fs::rename(world.path("off.new"), world.path("off")).unwrap();
    };
    set(0);
    for at in 0..6 {
        world.put(&at.to_string(), content(at, 200_000));
    }
    let mut rolefs = world.rolefs();
    rolefs
        .env("LD_PRELOAD", &library)
        .env("CLOCK_IS_OFF", world.path("off"));
    let mount = world.launch("mnt", rolefs, &[]);
    const HOUR: i64 = 3600;
    // An hour is what a set of credentials lives, a quarter of one what OSS bears. The last one is back to the truth.
    let jumps = [HOUR / 3, -HOUR / 3, 3 * HOUR, -3 * HOUR, 24 * 400 * HOUR, 0];
    for (at, jump) in jumps.into_iter().enumerate() {
        let name = at.to_string();
        let mut file = File::create(mount.at(&format!("w{at}"))).unwrap();
        file.write_all(b"before and ").unwrap();
        set(jump);
        assert!(mount.read(&name) == content(at as u64, 200_000), "{jump}");
        // The next set is taken: neither is it dead, nor does the old one seem to live longer.
        world.job().rotate_now().unwrap();
        fs::metadata(mount.at(&format!("none{at}"))).unwrap_err();
        file.write_all(b"after").unwrap();
        file.sync_all().unwrap();
        assert_eq!(
            stored(&world, &format!("w{at}")).unwrap(),
            b"before and after",
            "{jump}"
        );
    }
    let metrics = mount.unmount();
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
    let corrections = metrics.value("rolefs_oss_clock_corrections_total");
    assert_eq!(corrections, jumps.len() as u64, "one for each jump");
}
