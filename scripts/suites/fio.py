"""fio --verify: blocks with checksums are written, read back, and read again from the bucket by a fresh mount."""

from outcome import Outcome, run

SECONDS = 1200
# Name, options, and megabytes of each file in full and short.
JOBS = [
    ("sequential, 1 MiB", ["--rw=write", "--bs=1M"], 1024, 128),
    ("sequential, 4 files", ["--rw=write", "--bs=256k", "--numjobs=4"], 128, 16),
    ("sequential, O_DIRECT", ["--rw=write", "--bs=1M", "--direct=1"], 512, 64),
    ("random, 4 KiB", ["--rw=randwrite", "--bs=4k"], 128, 16),
    ("random, 64 KiB", ["--rw=randwrite", "--bs=64k"], 512, 64),
    ("random, O_DIRECT", ["--rw=randwrite", "--bs=4k", "--direct=1"], 64, 8),
    ("random, mmap", ["--rw=randwrite", "--bs=4k", "--ioengine=mmap"], 64, 8),
    ("random, overwritten with fsync", ["--rw=randwrite", "--bs=64k", "--overwrite=1", "--fsync=64"], 128, 16),
]


def suite(place):
    """Two cases for each job: as written, and as stored."""
    outcome = Outcome()
    jobs = [(number, *job) for number, job in enumerate(JOBS) if not place.only or job[0] in place.only]
    written = [job for job in jobs if _case(place, outcome, *job)]
    place.remount()
    for job in written:
        _case(place, outcome, *job, again=True)
    return outcome


def _case(place, outcome, number, name, options, full, short, again=False):
    """Runs one job; tells whether it passed."""
    # psync unless the job says otherwise: the last one counts.
    command = ["fio", f"--name=job{number}", f"--directory={place.directory}", "--ioengine=psync", *options]
    command += [f"--size={full if place.full else short}M", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1"]
    # No job is forked off: what it wrote is stored when it ends. Its state file would be left in this directory.
    command += ["--thread", "--end_fsync=1", "--verify_state_save=0", "--output-format=terse"]
    command += ["--verify_only=1"] if again else []
    done = run(command, SECONDS, place.logs / "fio.log", cwd=place.scratch)
    lines = [line for line in done.output.splitlines() if line.startswith(("fio:", "verify:"))]
    error = done.error() and (lines[0] if lines else done.error())
    outcome.add(f"{name}{', from the bucket' if again else ''}", error)
    return not error
