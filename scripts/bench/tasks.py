"""What there is to do, whoever does it: the same bytes, names and order for every subject."""

import dataclasses
import pathlib
import random

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SHARDS = 4
FILE_BYTES = 100 * KIB
SEED = 1
# One in-memory file of this size is read at random where memory is what answers.
HOT_BYTES = 64 * MIB


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything a run reads."""

    big: int
    shard: int
    model: int
    files: int
    many: int
    random_reads: int
    repetitions: int
    yardstick_repetitions: int
    box_seconds: float
    # Bound of a run over small files: a file system that reads them one by one over the slow link must not hold up all.
    files_seconds: int


SCALES = {
    "quick": Scale(GIB, 256 * MIB, 512 * MIB, 2000, 100_000, 60, 1, 1, 1.5, 15),
    "full": Scale(4 * GIB, GIB, 2 * GIB, 10_000, 100_000, 200, 3, 1, 5, 40),
}


@dataclasses.dataclass(frozen=True)
class Sequential:
    """Whole large objects, one thread each, in reads of 1 MiB."""

    name: str
    keys: tuple
    unit = "GB/s"

    def size(self, scale):
        """Bytes of one of the objects."""
        return {"big.bin": scale.big, "model.safetensors": scale.model}.get(self.keys[0], scale.shard)

    def asked(self, scale):
        """Bytes of all of it."""
        return self.size(scale) * len(self.keys)

    def reader(self, bench, root):
        """The arguments of `rolefs-bench` that do it below `root`."""
        if len(self.keys) == 1:
            return ["read", "sequential", root / self.keys[0], "--block", "1MiB"]
        names = bench.list_of(self.name, self.keys)
        return ["read", "small", root, "--list", names, "--threads", len(self.keys), "--block", "1MiB"]


@dataclasses.dataclass(frozen=True)
class Shared:
    """One object, by several processes at once, each all of it."""

    name: str
    processes: int
    unit = "GB/s"
    keys = ("shard-0.bin",)

    def size(self, scale):
        return scale.shard

    def asked(self, scale):
        # What must be fetched is the object once; how often it is read is the readers' affair.
        return scale.shard

    def reader(self, _bench, root):
        return ["read", "processes", root / self.keys[0], "--processes", self.processes]


@dataclasses.dataclass(frozen=True)
class Files:
    """Small files, each opened, read and closed."""

    name: str
    threads: int
    shuffled: bool
    unit = "files/s"

    def names(self, scale):
        """The names below `small`, in the order of reading."""
        names = [f"{number:06}.bin" for number in range(scale.files)]
        if self.shuffled:
            random.Random(SEED).shuffle(names)
        return names

    def asked(self, scale):
        return scale.files * FILE_BYTES

    def reader(self, bench, root):
        names = bench.list_of(self.name, self.names(bench.scale))
        command = ["read", "small", root / "small", "--list", names, "--threads", self.threads]
        return [*command, "--block", "128KiB", "--seconds", bench.scale.files_seconds]


@dataclasses.dataclass(frozen=True)
class Random:
    """Blocks of one large object at random places, each read timed."""

    name: str
    block: int
    threads: int
    direct: bool = False
    key: str = "big.bin"
    span: int = 0
    reads_factor: int = 1
    unit = "reads/s"

    def count(self, scale):
        return scale.random_reads * self.threads * self.reads_factor

    def asked(self, scale):
        return self.count(scale) * self.block

    def reader(self, bench, root):
        command = ["read", "random", root / self.key, "--block", self.block, "--threads", self.threads]
        command += ["--count", self.count(bench.scale), "--seed", SEED]
        command += ["--direct"] if self.direct else []
        return [*command, "--span", self.span] if self.span else command


@dataclasses.dataclass(frozen=True)
class Mapped:
    """Every page of a safetensors file through a mapping."""

    name: str
    order: str
    unit = "GB/s"
    keys = ("model.safetensors",)

    def size(self, scale):
        return scale.model

    def asked(self, scale):
        return scale.model

    def reader(self, bench, root):
        return ["read", "mmap", root / self.keys[0], "--order", self.order, "--seed", SEED]


@dataclasses.dataclass(frozen=True)
class Listing:
    """All names of a large directory, with their attributes (`ls -l`) or without (`find`)."""

    name: str
    unit = "entries/s"
    prefix = "many/"

    def asked(self, scale):
        return None

    def program(self, root):
        """The command, which is one that everybody has."""
        directory = pathlib.Path(root) / "many"
        return ["ls", "-l", directory] if self.name == "ls -l" else ["find", directory]
