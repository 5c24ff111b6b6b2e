"""Subjects that are read through the kernel: the mount, null, and local files."""

import contextlib
import dataclasses
import os
import shutil

import rig
import uploads
from bench import Skip
from tasks import HOT_BYTES, Files, Listing, Mapped, Random, Sequential

COUNTERS = {
    "gets": "rolefs_oss_get_requests_total",
    "heads": "rolefs_oss_head_requests_total",
    "lists": "rolefs_oss_list_requests_total",
    "puts": "rolefs_oss_put_requests_total",
    "parts": "rolefs_oss_part_requests_total",
    "copies": "rolefs_oss_copy_requests_total",
    "deletes": "rolefs_oss_delete_requests_total",
    "others": "rolefs_oss_other_requests_total",
    "sent": "rolefs_oss_bytes_sent_total",
    "fetched": "rolefs_oss_bytes_received_total",
}
CACHE_SIZE = "20GiB"


@dataclasses.dataclass(frozen=True)
class Mount:
    """A new mount for every run: the kernel drops a FUSE file system's pages and names with its superblock.

    `drop_caches` would do harm instead: it would also take the objects from the page cache out of which the server
    sends them.
    """

    direct: bool = False
    # KiB; the mount raises the kernel's 128 where /sys is writable, which it is not in many containers.
    read_ahead: int = 0
    # What happens before: nothing ("cold"), a listing by another process, as a training script does, the same once
    # before in the same mount ("again"), or in an earlier mount with the same disk cache ("disk").
    before: str = "cold"
    prefetch_list: bool = False

    def run(self, bench, task):
        if isinstance(task, uploads.TASKS):
            return uploads.through_a_mount(bench, task, mounted, counted)
        before = idle(bench)
        options = list(bench.options.mount_option)
        if self.prefetch_list:
            bench.need_option("--prefetch-list")
            names = [f"small/{name}" for name in task.names(bench.scale)]
            options += ["--prefetch-list", bench.list_of("prefetch", names)]
        cache = bench.directory / "cache"
        if self.before == "disk":
            bench.need_option("--cache-dir")
            shutil.rmtree(cache, ignore_errors=True)
            options += ["--cache-dir", cache, "--cache-size", CACHE_SIZE]
            with self._mounted(bench, options) as mount:
                read(bench, task, mount)
        with self._mounted(bench, options) as mount:
            if self.before == "listed":
                # Costs no read; what it teaches the file system is the point.
                os.listdir(mount.path / "small")
            if self.before == "again":
                warm(bench, task, mount, self.direct)
                sample = settled(lambda: read(bench, task, mount, direct=self.direct))
            else:
                sample = read(bench, task, mount, direct=self.direct)
        if self.before != "again":
            sample |= counters(mount, before)
        shutil.rmtree(cache, ignore_errors=True)
        return sample

    @contextlib.contextmanager
    def _mounted(self, bench, options):
        with mounted(bench, options) as mount:
            if read_ahead := self.read_ahead or bench.options.read_ahead:
                device = os.stat(mount.path).st_dev
                path = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
                with open(path, "w") as file:
                    file.write(str(read_ahead))
            yield mount


@dataclasses.dataclass(frozen=True)
class Null:
    """A FUSE file system that answers from memory: what is left to gain on the kernel's side."""

    direct: bool = False
    again: bool = False

    def run(self, bench, task):
        if isinstance(task, uploads.TASKS):
            return uploads.into_nothing(bench, task)
        path = bench.directory / "null"
        stands_in = getattr(task, "keys", ()) == Mapped.keys
        size = bench.scale.model if stands_in else bench.scale.big
        command = [bench.yardstick, "null", "--size", size, "--shards", 4, "--shard-size", bench.scale.shard]
        if isinstance(task, Listing):
            command += ["--files", bench.scale.many, "--file-size", 6]
        else:
            command += ["--files", bench.scale.files, "--file-size", "100KiB"]
        command += ["--direct"] if self.direct else []
        with rig.Mount([*command, path], path, ends_with_its_mount=False) as mount:
            if isinstance(task, Listing):
                path = mount.path / "small"
                program = task.program("")
                return listing(bench, bench.measure_program([*program[:-1], path], mount.pid))
            arguments = [str(argument) for argument in task.reader(bench, mount.path)]
            arguments = [argument.replace("/hot.bin", "/big.bin") for argument in arguments]
            arguments = [argument.replace("/model.safetensors", "/big.bin") for argument in arguments]
            if isinstance(task, Mapped):
                arguments += ["--header", bench.directory / "model.header"]
            if self.again:
                bench.measure(arguments, mount.pid)
                return settled(lambda: bench.measure(arguments, mount.pid))
            return bench.measure(arguments, mount.pid)


@dataclasses.dataclass(frozen=True)
class Local:
    """The server's own files, hot in the page cache: what a copy on a fast local disk would be."""

    def run(self, bench, task):
        if isinstance(task, uploads.TASKS):
            return uploads.locally(bench, task)
        if isinstance(task, Listing):
            raise Skip("the names are in the server's memory only")
        return settled(lambda: bench.measure(task.reader(bench, bench.directory / "local")))


def mounted(bench, options=()):
    return rig.Mount.rolefs(
        bench.rolefs, bench.server, bench.directory / "mount", options=options, more=bench.environment
    )


def settled(measure):
    """The middle one of three runs that change nothing: from memory each takes but a moment, which is easily disturbed."""
    samples = sorted((measure() for _ in range(3)), key=lambda sample: sample["seconds"])
    return samples[1]


def read(bench, task, mount, direct=False):
    """The task, through a mount."""
    if isinstance(task, Listing):
        return listing(bench, bench.measure_program(task.program(mount.path), mount.pid))
    arguments = task.reader(bench, mount.path)
    if direct and not (isinstance(task, Random) and task.direct):
        if not isinstance(task, Sequential | Files):
            raise Skip("no O_DIRECT here")
        arguments = [*arguments, "--direct"]
    return bench.measure(arguments, mount.pid)


def warm(bench, task, mount, direct):
    """Brings what the task reads into the cache that is to answer."""
    if isinstance(task, Random):
        # Twice and past the page cache: what has proven to be read again stays in the mount's own memory.
        for _ in range(2):
            command = ["read", "sequential", mount.path / task.key, "--block", "1MiB", "--direct"]
            assert task.span == HOT_BYTES, "the object is as large as what is read of it"
            bench.measure(command, mount.pid)
    else:
        read(bench, task, mount, direct)


def listing(bench, sample):
    """`ls` and `find` write no report: it is known what they found."""
    return sample | {"operations": bench.scale.many, "bytes": 0}


def counters(mount, idle_counts):
    """What a mount asked of OSS, apart from what every mount asks before anything is read."""
    return {name: value - idle_counts[name] for name, value in counted(mount).items()}


def counted(mount):
    """What a mount that has ended asked of OSS in all."""
    values = rig.metrics(mount.stats)
    return {name: values[metric] for name, metric in COUNTERS.items() if metric in values}


def idle(bench):
    """What a mount asks that nobody uses: counted once per server."""
    if not hasattr(bench, "idle_counts"):
        with mounted(bench, bench.options.mount_option) as mount:
            os.stat(mount.path)
        values = rig.metrics(mount.stats)
        bench.idle_counts = {name: values.get(metric, 0) for name, metric in COUNTERS.items()}
    return bench.idle_counts
