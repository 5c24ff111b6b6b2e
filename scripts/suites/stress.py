"""stress-ng's file-system stressors, each by itself with two workers, with --verify."""

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
SECONDS, SECONDS_SHORT = 20, 5
# A stressor removes what it made after its time; every file is a request.
CLEAN_UP_SECONDS = 180
WORKERS = 2
# What a stressor may fill, small enough to be stored within its time.
OPTIONS = {
    "copy-file": ["--copy-file-bytes=16M"],
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
    for stressor in place.only or STRESSORS:
        command = ["stress-ng", f"--{stressor}={WORKERS}", f"--timeout={seconds}s", f"--temp-path={place.directory}"]
        command += ["--verify", "--metrics-brief", *OPTIONS.get(stressor, [])]
        done = run(command, seconds + CLEAN_UP_SECONDS, place.logs / f"stress-{stressor}.log")
        outcome.add(stressor, error_of(done))
    return outcome


def error_of(done):
    """A failure, or a stressor that did not run, or did nothing: stress-ng calls the latter two a success."""
    lines = [line.split("]", 1)[-1].strip() for line in done.output.splitlines()]
    bad = [line for line in lines if "fail:" in line or ": error" in line]
    if bad:
        return bad[0]
    if done.status != 0:
        return done.error()
    left_out = [line for line in lines if "skipp" in line.lower() and "stressor" in line]
    return left_out[0] if left_out else None
