"""stress-ng's file-system stressors, each by itself with two workers, with --verify."""

import re

from outcome import Outcome, run

# Those of stress-ng's class "filesystem" that work on files and directories of the directory they are given, need no
# device, no other file system and no feature of one (chattr, fs-verity, fiemap), and end by themselves. `link` makes
# hard links, which a mount of objects refuses.
STRESSORS = [
    "access",
    "chmod",
    "chown",
    "copy-file",
    "dentry",
    "dir",
    "fallocate",
    "filename",
    "flock",
    "fstat",
    "getdent",
    "hdd",
    "iomix",
    "link",
    "lockf",
    "rename",
    "symlink",
    "sync-file",
    "utime",
]
# Those that change names and content in the ways most unlike one another.
STRESSORS_SHORT = ["chmod", "dentry", "dir", "fallocate", "hdd", "iomix", "link", "rename", "symlink", "utime"]
SECONDS, SECONDS_SHORT = 20, 2
# What a mount of objects refuses, as README says.
REFUSED = {"link": "hard links"}
# A stressor removes what it made after its time; every file is a request.
CLEAN_UP_SECONDS = 180
WORKERS = 2
# What a stressor may fill, small enough to be stored within its time.
OPTIONS = {
    "copy-file": ["--copy-file-bytes=128M"],
    "fallocate": ["--fallocate-bytes=64M"],
    "hdd": ["--hdd-bytes=64M"],
    "iomix": ["--iomix-bytes=16M"],
    "sync-file": ["--sync-file-bytes=4M"],
    "dentry": ["--dentries=256"],
}


def suite(place):
    """A case for each stressor; `only` holds names of any."""
    outcome = Outcome()
    seconds = SECONDS if place.full else SECONDS_SHORT
    for stressor in place.only or (STRESSORS if place.full else STRESSORS_SHORT):
        command = ["stress-ng", f"--{stressor}={WORKERS}", f"--timeout={seconds}s", f"--temp-path={place.directory}"]
        command += ["--verify", "--metrics-brief", *OPTIONS.get(stressor, [])]
        done = run(command, seconds + CLEAN_UP_SECONDS, place.logs / f"stress-{stressor}.log")
        error = error_of(stressor, done)
        outcome.add(stressor, error)
        if error and place.mounted and stressor in REFUSED:
            outcome.expect(stressor, REFUSED[stressor])
    return outcome


def error_of(stressor, done):
    """A failure, or a stressor that left itself out or did nothing, which stress-ng calls a success."""
    lines = [line.split("]", 1)[-1].strip() for line in done.output.splitlines()]
    for sign in ("fail:", "error:", "skipping stressor"):
        if bad := next((line for line in lines if sign in line), None):
            return bad
    if done.status != 0:
        return done.error()
    # The line of its figures: name, operations, seconds and rates.
    figures = next((line.split() for line in lines if re.match(rf"{stressor} +[0-9]+ ", line)), None)
    return None if figures and int(figures[1]) > 0 else f"no operation was done in {done.seconds:.0f} s"
