"""The benchmark, as a table: what is done over which link, by whom, and what must come out.

R1 reads one large object, R2 the same over the slow link, R3 four at once, R4 one by eight processes, R5 at random,
R6 and R7 small files, R8 names, R9 what was read before, R10 a mapping. W1 writes one large file, W2 four at once, W3 small
files, W4 changes a part of a large one, W5 renames a directory.
"""

import dataclasses

import uploads
from goals import (
    cpu_above,
    cpu_above_best,
    fetched,
    latency,
    only_lists,
    requests_per_file,
    sent,
    time_within,
    times,
    times_best,
    times_both,
)
from kernel import Local, Mount, Null
from tasks import HOT_BYTES, KIB, SHARDS, Files, Listing, Mapped, Random, Sequential, Shared
from wire import Curl, Raw, Sdk

SDKS = ("oss2", "alibabacloud-oss-v2", "osstorchconnector")
SUBJECTS = {
    "mount": Mount(),
    "mount, direct": Mount(direct=True),
    "mount, read-ahead 128": Mount(read_ahead=128),
    "mount, listed": Mount(before="listed"),
    "mount, prefetch list": Mount(prefetch_list=True),
    "mount, again": Mount(before="again"),
    "mount, disk cache": Mount(before="disk"),
    "raw": Raw(),
    "raw, one GET": Raw(one=True),
    "null": Null(),
    "null, direct": Null(direct=True),
    "null, again": Null(again=True),
    "local": Local(),
    "curl": Curl(),
    "curl, parallel": Curl(parallel=True),
    **{name: Sdk(name) for name in SDKS},
}
# Those that are measured less often, each within the box of a few seconds.
YARDSTICKS = {"curl", "curl, parallel", "local", *SDKS}


@dataclasses.dataclass(frozen=True)
class Workload:
    """One task over one link."""

    id: str
    title: str
    link: str
    task: object
    subjects: tuple
    goals: tuple = ()


def sequential(link):
    """The subjects and goals of R1, which those of R3 repeat. What uses no link is measured beside loopback only."""
    subjects = ("mount", "mount, direct", "raw", "curl", "curl, parallel", *SDKS)
    if link == "loopback":
        subjects += ("null", "null, direct", "local")
    if link == "cloud":
        return subjects, (times("mount", "raw", 0.9), times("mount, direct", "raw", 0.9), times("mount", "oss2", 10))
    return subjects, (
        times("mount", "raw", 0.65),
        times("mount, direct", "raw", 0.8),
        cpu_above("mount", "raw", 0.45),
        cpu_above("mount, direct", "raw", 0.20),
    )


def _workloads():
    one = Sequential("1 thread", ("big.bin",))
    four = Sequential("4 threads", tuple(f"shard-{number}.bin" for number in range(SHARDS)))
    subjects, goals = sequential("loopback")
    yield Workload("R1", "cold sequential, one object", "loopback", one, ("mount, read-ahead 128", *subjects), goals)
    yield Workload("R2", "cold sequential, one object", "cloud", one, *sequential("cloud"))
    for link in ("loopback", "cloud", "tls"):
        yield Workload("R3", "cold sequential, 4 objects", link, four, *sequential(link))

    shared = Shared("8 processes", 8)
    for link in ("loopback", "cloud"):
        yield Workload("R4", "one object at once", link, shared, ("mount", "null"), (fetched("mount", 1.02),))

    for size, block in (("4 KiB", 4 * KIB), ("128 KiB", 128 * KIB)):
        single = Random(f"{size} × 1", block, 1)
        many = Random(f"{size} × 16", block, 16)
        yield Workload(
            "R5", "random", "cloud", single, ("mount", "raw"), (latency("mount", "raw", 1.15), fetched("mount", 1.3))
        )
        scaled = times("mount", "mount", 14, single.name)
        yield Workload("R5", "random", "cloud", many, ("mount", "raw"), (scaled, fetched("mount", 1.3)))

    yield Workload(
        "R6",
        "small files",
        "cloud",
        Files("16 threads, shuffled", 16, True),
        ("mount", "mount, listed", "raw", "null", "curl", *SDKS),
        (
            times("mount", "raw", 0.9),
            times("mount, listed", "raw", 0.97),
            requests_per_file("mount", 1.02),
            requests_per_file("mount, listed", 1.02),
        ),
    )
    ordered, shuffled = Files("1 thread, in order", 1, False), Files("1 thread, shuffled", 1, True)
    in_order = (times("mount", "raw, one GET", 10), fetched("mount", 1.01))
    yield Workload("R7", "small files", "cloud", ordered, ("mount", "raw, one GET", "null", "curl", *SDKS), in_order)
    yield Workload(
        "R7",
        "small files",
        "cloud",
        shuffled,
        ("mount", "mount, prefetch list", "raw, one GET", "null"),
        (
            times("mount", "raw, one GET", 5),
            fetched("mount", 1.01),
            times("mount, prefetch list", "raw, one GET", 15),
            fetched("mount, prefetch list", 1.01),
        ),
    )
    for task in (Listing("ls -l"), Listing("find")):
        listing = (time_within("mount", "raw", 0.5, "null"), only_lists("mount"))
        yield Workload("R8", "names of 100,000 objects", "cloud", task, ("mount", "raw", "null", *SDKS), listing)

    second = Sequential("second epoch", ("model.safetensors",))
    yield Workload(
        "R9",
        "what was read before",
        "loopback",
        second,
        ("mount, again", "null, again", "mount, disk cache", "local"),
        (times("mount, again", "null, again", 1), times("mount, disk cache", "local", 0.9)),
    )
    hot = Random("4 KiB from memory", 4 * KIB, 1, direct=True, key="hot.bin", span=HOT_BYTES, reads_factor=500)
    hits = times("mount, again", "null, direct", 0.8)
    yield Workload("R9", "what was read before", "loopback", hot, ("mount, again", "null, direct"), (hits,))

    ordered, shuffled = Mapped("tensors in order", "file"), Mapped("tensors shuffled", "random")
    ceiling = (times("mount", "null", 0.8),)
    # On loopback three times one GET at a time is more than any mapping reaches, so the ceiling is the goal there too.
    for link, more, goals, shuffled_goals in (
        ("loopback", ("null", "local"), ceiling, ceiling),
        ("cloud", (), (times("mount", "raw", 0.9),), (times("mount", "raw, one GET", 3),)),
    ):
        tensors = "mmap of safetensors"
        yield Workload("R10", tensors, link, ordered, ("mount", "raw", *more), goals)
        yield Workload("R10", tensors, link, shuffled, ("mount", "raw, one GET", *more), shuffled_goals)


def _writing():
    uploaders = ("oss2", "alibabacloud-oss-v2")
    large_goals = (times_best("mount", uploaders, 0.9), cpu_above_best("mount", uploaders, 0.35), sent("mount", 1.01))
    one, four = uploads.Large("1 writer", 1), uploads.Large("4 writers", 4)
    for link in ("loopback", "cloud"):
        local = ("local",) if link == "loopback" else ()
        large = ("mount", "raw", *uploaders, *local)
        yield Workload("W1", "one large file, closed", link, one, large, large_goals)
        yield Workload("W2", "4 large files, closed", link, four, large, large_goals)
        for task in (uploads.Small("1 thread", 1), uploads.Small("16 threads", 16)):
            # A PUT each, and a listing a second: that is one in 45 where a file takes 20 ms.
            goals = [times("mount", "raw", 0.9), requests_per_file("mount", 1.05)]
            if local:
                # Where a PUT takes as long as the calls of a file, what can be reached is both, one after the other.
                goals.insert(1, times_both("mount", ("null", "raw"), 0.9))
            subjects = ("mount", "raw", *uploaders, *(("null", *local) if local else ()))
            yield Workload("W3", "new files of 100 KiB", link, task, subjects, tuple(goals))
        change = uploads.Changes("100 contiguous changes of 1 MiB")
        yield Workload("W4", "a change within a large file", link, change, ("mount",), (sent("mount", 1.2),))
        yield Workload("W5", "rename of a directory", link, uploads.Rename("small objects"), ("mount",))


WORKLOADS = (*_workloads(), *_writing())
