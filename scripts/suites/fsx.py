"""fsx, the file-system exerciser: random operations on one file, every read checked against memory."""

from outcome import Outcome, run

# Operations and seeds in full, and short.
OPERATIONS, SEEDS = 10_000, 20
OPERATIONS_SHORT, SEEDS_SHORT = 600, 4
SECONDS = 1200
# Every so many seeds the file is large: it is stored in parts, of which unchanged ones are copied.
LARGE_EVERY = 4
SMALL = {"flen": 256 << 10, "max": 64 << 10}
LARGE = {"flen": 24 << 20, "max": 1 << 20}
# Everything that fsx knows. Reads, writes and mmap as often as by its defaults, what stores the file seldom.
WEIGHTS = {
    "close_open": 1,
    "read": 10,
    "write": 10,
    "mapread": 10,
    "mapwrite": 10,
    "invalidate": 1,
    "truncate": 10,
    "fsync": 1,
    "fdatasync": 1,
    "posix_fallocate": 1,
    "punch_hole": 1,
    "sendfile": 1,
    "posix_fadvise": 1,
    "copy_file_range": 1,
}


def suite(place):
    """A case for each seed; `only` holds seeds."""
    outcome = Outcome()
    operations, seeds = (OPERATIONS, SEEDS) if place.full else (OPERATIONS_SHORT, SEEDS_SHORT)
    for seed in [int(name) for name in place.only] or range(1, seeds + 1):
        size = LARGE if seed % LARGE_EVERY == 0 else SMALL
        config = place.scratch / f"fsx-{seed}.toml"
        weights = "\n".join(f"{name} = {weight}" for name, weight in WEIGHTS.items())
        config.write_text(f"flen = {size['flen']}\n[opsize]\nmax = {size['max']}\n[weights]\n{weights}\n")
        log = place.logs / f"fsx-{seed}.log"
        command = [place.tools / "bin/fsx", "-f", config, "-N", operations, "-S", seed, "-P", place.scratch]
        done = run([*command, place.directory / f"fsx-{seed}"], SECONDS, log)
        outcome.add(f"seed {seed} ({size['flen'] >> 10} KiB, {operations} operations)", error_of(done, log))
    return outcome


def error_of(done, log):
    """What fsx says first is what it found; the list of its operations follows."""
    if done.status == 0:
        return None
    first = next((line.strip() for line in done.output.splitlines() if line.strip()), None)
    return f"{first}; operations in {log}" if done.status is not None and first else done.error()
