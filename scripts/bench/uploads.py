"""W1 to W5: what is written, by whom. Every run has a server of its own, whose empty bucket is in memory: nobody overwrites
what another has left, and no disk is measured."""

import concurrent.futures
import contextlib
import dataclasses
import json
import pathlib
import sys

import links
import meter
import rig
from bench import Bench, Skip
from tasks import FILE_BYTES, MIB

# Bytes of one part, the mount's and those that raw and the SDKs are told to send.
PART_BYTES = 8 * MIB
# One PUT at a time over the slow link: 20 ms, and 1 ms for 100 KiB.
SLOW_PUTS_PER_SECOND = 45
# W4: changes of 1 MiB, one after the other.
CHANGES = 100


@dataclasses.dataclass(frozen=True)
class Large:
    """New large files, a thread each, closed at the end."""

    name: str
    files: int
    unit = "GB/s"

    def size(self, scale):
        """Bytes of one of the files."""
        return scale.model if self.files == 1 else scale.shard

    def asked(self, scale):
        return self.size(scale) * self.files

    def keys(self):
        return [f"new-{number}.bin" for number in range(self.files)]

    def prepare(self, bench, root):
        """What is there before."""

    def writer(self, bench, root):
        """The arguments of `rolefs-bench` that do it below `root`."""
        return ["write", "sequential", *(root / key for key in self.keys()), "--size", self.size(bench.scale)]


@dataclasses.dataclass(frozen=True)
class Small:
    """New files of 100 KiB in one directory, each created, written and closed."""

    name: str
    threads: int
    unit = "files/s"

    def asked(self, scale):
        return scale.files * FILE_BYTES

    def prepare(self, bench, root):
        (root / "new").mkdir()

    def writer(self, bench, root):
        command = ["write", "small", root / "new", "--count", bench.scale.files, "--size", FILE_BYTES]
        return [*command, "--threads", self.threads, "--seconds", bench.scale.files_seconds]


@dataclasses.dataclass(frozen=True)
class Changes:
    """Contiguous changes in the middle of a large file that is stored."""

    name: str
    unit = "GB/s"

    def asked(self, scale):
        return CHANGES * MIB

    def prepare(self, bench, root):
        pass

    def objects(self, bench):
        """What is stored before anything is mounted."""
        block = bytes(PART_BYTES)
        yield "old.bin", (bench.scale.model, (block for _ in range(bench.scale.model // PART_BYTES)))

    def writer(self, bench, root):
        return ["write", "changes", root / "old.bin", "--count", CHANGES, "--block", MIB]


@dataclasses.dataclass(frozen=True)
class Rename:
    """A directory of many small objects gets another name: one rename(2)."""

    name: str
    unit = "entries/s"

    def asked(self, scale):
        return None

    def prepare(self, bench, root):
        pass

    def objects(self, bench):
        for number in range(bench.scale.files):
            yield f"from/{number:06}.bin", (6, [f"{number:06}".encode()])

    def writer(self, bench, root):
        return ["write", "rename", root / "from", root / "to"]


# Connections by which many small objects are made.
LANES = 16

TASKS = Large | Small | Changes | Rename


@contextlib.contextmanager
def empty(bench, task):
    """The same bench with a server of its own, that has what the task needs and nothing else."""
    with rig.temporary_directory("rolefs-bench-write-") as directory:
        directory = pathlib.Path(directory)
        binary = bench.options.binaries / "rolefs-dev"
        server, environment = links.server(bench.link, binary, directory, memory=True)
        with server:
            mine = Bench(bench.options, bench.scale, bench.link, server, environment, directory)
            if isinstance(task, Rename):
                # One after the other they would take minutes over the slow link.
                objects = list(task.objects(mine))
                with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
                    list(pool.map(lambda lane: server.put_all(rig.BUCKET, objects[lane::LANES]), range(LANES)))
            elif hasattr(task, "objects"):
                server.put_all(rig.BUCKET, task.objects(mine))
            yield mine


def through_a_mount(bench, task, mounted, counters):
    """The task through a mount. `mounted` makes one, `counters` reads what it asked of OSS once it has ended."""
    with empty(bench, task) as mine:
        with mounted(mine, mine.options.mount_option) as mount:
            pass
        idle = counters(mount)
        with mounted(mine, mine.options.mount_option) as mount:
            task.prepare(mine, mount.path)
            sample = mine.measure(task.writer(mine, mount.path), mount.pid)
        spent = {name: value - idle[name] for name, value in counters(mount).items()}
    if isinstance(task, Rename):
        sample["operations"] = bench.scale.files
    return sample | spent


def into_nothing(bench, task):
    """The task through a FUSE file system that forgets what it gets: the calls alone."""
    if not isinstance(task, Small):
        raise Skip("what it costs is not the calls")
    path = bench.directory / "null"
    with rig.Mount([bench.yardstick, "null", "--writable", path], path, ends_with_its_mount=False) as mount:
        return bench.measure(task.writer(bench, mount.path), mount.pid)


def locally(bench, task):
    """The task in a local directory: no network, and nothing is stored but in the page cache."""
    if hasattr(task, "objects"):
        raise Skip("not what is done to a local file")
    with rig.temporary_directory("rolefs-bench-local-") as directory:
        root = pathlib.Path(directory)
        task.prepare(bench, root)
        return bench.measure(task.writer(bench, root))


def raw(bench, task):
    """The same bytes by the mount's HTTP client in plain PUTs: of parts, as if each were an object, or of small objects."""
    if isinstance(task, Large):
        size, in_flight = PART_BYTES, bench.link.in_flight
        keys = [f"part-{number}" for number in range(task.asked(bench.scale) // PART_BYTES)]
    elif isinstance(task, Small):
        size, in_flight = FILE_BYTES, (task.threads,)
        count = bench.scale.files
        if "--first-byte" in bench.link.options:
            # One after the other over the slow link: as many as fit into the time that the others have.
            count = min(count, SLOW_PUTS_PER_SECOND * task.threads * bench.scale.files_seconds)
        keys = [f"new/{number:06}.bin" for number in range(count)]
    else:
        raise Skip("no file system, no change")
    samples = []
    for number in in_flight:
        with empty(bench, task) as mine:
            urls = mine.list_of("puts", [mine.server.url("PUT", rig.BUCKET, key) for key in keys])
            command = ["raw", "put", "--list", urls, "--size", size, "--in-flight", number]
            samples.append(mine.measure(command) | {"in_flight": number})
    best = max(samples, key=lambda sample: sample["bytes"] / sample["seconds"])
    return best | {"puts": len(keys), "sent": best["bytes"]}


def by_sdk(bench, task, client):
    """The same by a Python client, in `sdk_worker.py`: its upload of a file with as many connections as raw, or its put
    of small objects."""
    if client == "osstorchconnector" or not isinstance(task, Large | Small):
        raise Skip("not what the SDK is for")
    with empty(bench, task) as mine:
        work = {"client": client, "endpoint": mine.server.endpoint, "region": rig.REGION, "bucket": rig.BUCKET}
        work |= {"id": rig.ADMIN_ID, "secret": rig.ADMIN_SECRET, "seconds": bench.scale.files_seconds}
        if isinstance(task, Large):
            source = mine.directory / "source.bin"
            mine.measure(["write", "sequential", source, "--size", task.size(bench.scale)])
            connections = max(1, bench.link.in_flight[-1] // task.files)
            work |= {"kind": "upload", "keys": task.keys(), "threads": task.files, "source": str(source)}
            work |= {"connections": connections, "part_bytes": PART_BYTES}
        else:
            keys = [f"new/{number:06}.bin" for number in range(bench.scale.files)]
            work |= {"kind": "put", "keys": keys, "threads": task.threads, "size": FILE_BYTES}
            work["seconds"] = bench.scale.box_seconds
        job = mine.directory / "sdk.json"
        job.write_text(json.dumps(work))
        worker = pathlib.Path(__file__).with_name("sdk_worker.py")
        sample = meter.run([sys.executable, worker, job], mine.server.pid, None, mine.environment)
    if "skip" in sample:
        raise Skip(sample["skip"])
    return sample
