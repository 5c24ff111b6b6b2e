"""Runs the benchmark: see scripts/bench.sh. Standard library only.

The subjects of one workload are measured in turn, repetition by repetition, so that a disturbance of the machine meets
all of them. A cold run means a new mount: the kernel drops a FUSE file system's pages and names with its superblock.
`drop_caches` would do harm instead: it would also take the objects from the page cache out of which the server sends them.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import rig  # noqa: E402
import table  # noqa: E402

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
FILE_BYTES = 100 * KIB
LINKS = {"loopback": [], "cloud": ["--first-byte", "20ms", "--bandwidth", "100MB"]}
WORKLOADS = ["sequential", "small-16", "small-1"]
SUBJECTS = ["raw", "mount", "null"]
SEED = 1


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description="Measures a mount beside raw and null.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer files over the slow link")
    size.add_argument("--full", action="store_true", help="4 GiB and five repetitions")
    parser.add_argument("--repetitions", type=int, help="default 3, with --full 5")
    parser.add_argument("--files", type=int, default=2000, help="small files, default 2000")
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help="of raw,mount,null")
    parser.add_argument("--links", default=",".join(LINKS), help="of loopback,cloud")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="of " + ",".join(WORKLOADS))
    parser.add_argument("--mount-option", action="append", default=[], help="passed to rolefs mount, as --memory=1GiB")
    parser.add_argument("--binaries", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.repetitions = options.repetitions or (5 if options.full else 3)
    options.big_bytes = 4 * GIB if options.full else GIB
    for name, known in (("subjects", SUBJECTS), ("links", list(LINKS)), ("workloads", WORKLOADS)):
        chosen = getattr(options, name).split(",")
        if unknown := set(chosen) - set(known):
            parser.error(f"--{name}: no such thing as {', '.join(sorted(unknown))}")
        setattr(options, name, chosen)
    return options


class Bench:
    """One server on one link, with the data, and the ways to measure on it."""

    def __init__(self, options, server, directory):
        self.options = options
        self.server = server
        self.directory = directory
        self.yardstick = options.binaries / "rolefs-bench"
        self.names = directory / "names"
        self.urls = directory / "urls"

    def prepare_urls(self):
        """The lists that the readers go by: the same files in the same order for every subject."""
        names = [f"{number:06}.bin" for number in range(self.options.files)]
        self.names.write_text("\n".join(names) + "\n")

    def files(self, link, threads):
        """How many small files one run reads: one thread over the slow link gets 47 a second at the very best."""
        return min(self.options.files, 150) if self.options.quick and link == "cloud" and threads == 1 else self.options.files

    def raw(self, workload, count):
        """Over HTTP, without a file system."""
        if workload == "sequential":
            url = self.server.url("GET", rig.BUCKET, "big.bin")
            command = ["raw", "sequential", "--url", url, "--size", str(self.options.big_bytes), "--connections", "16"]
        else:
            names = self.names.read_text().split()[:count]
            self.urls.write_text("".join(self.server.url("GET", rig.BUCKET, f"small/{name}") + "\n" for name in names))
            command = ["raw", "small", "--list", self.urls, "--in-flight", threads_of(workload)]
        yield "raw", self.measure(command)

    def null(self, workload, count):
        """Through FUSE, from memory."""
        command = [self.yardstick, "null", "--size", self.options.big_bytes, "--files", self.options.files]
        command += ["--file-size", FILE_BYTES, self.directory / "null"]
        with rig.Mount(command, self.directory / "null", ends_with_its_mount=False) as mount:
            yield "null", self.measure(self.read(mount, workload, count), mount.pid)

    def mount(self, workload, count):
        """Through the mount: cold; then what a second look at it costs."""
        with self.mounted() as mount:
            cold = self.measure(self.read(mount, workload, count), mount.pid)
        cold["gets"] = rig.metrics(mount.stats).get("rolefs_oss_get_requests_total")
        cold["heads"] = rig.metrics(mount.stats).get("rolefs_oss_head_requests_total")
        yield "mount", cold
        with self.mounted() as mount:
            if workload == "sequential":
                self.measure(self.read(mount, workload, count), mount.pid)
                yield "mount, again", self.measure(self.read(mount, workload, count), mount.pid)
            else:
                # Listed by another process first, as a training script does, which costs no read.
                os.listdir(mount.path / "small")
                yield "mount, listed", self.measure(self.read(mount, workload, count), mount.pid)

    def mounted(self):
        return rig.Mount.rolefs(
            self.options.binaries / "rolefs", self.server, self.directory / "mount", options=self.options.mount_option
        )

    def read(self, mount, workload, count):
        """The reader's arguments."""
        if workload == "sequential":
            return ["read", "sequential", mount.path / "big.bin", "--threads", "1", "--block", "1MiB"]
        small = ["read", "small", mount.path / "small", "--list", self.names, "--count", count]
        return [*small, "--threads", threads_of(workload), "--shuffle", SEED, "--block", "128KiB"]

    def measure(self, command, daemon=None):
        """One run of the yardstick: its report, with what daemon and server spent meanwhile."""
        busy, server_cpu = busy_seconds(), rig.cpu_seconds(self.server.pid)
        daemon_cpu = rig.cpu_seconds(daemon) if daemon else 0.0
        done = subprocess.run(
            [str(part) for part in [self.yardstick, *command]],
            stdout=subprocess.PIPE,
            check=False,
            timeout=1800,
            text=True,
        )
        if done.returncode != 0:
            raise rig.Failure(f"{' '.join(str(part) for part in command[:2])} failed")
        sample = json.loads(done.stdout)
        sample["server_cpu_seconds"] = rig.cpu_seconds(self.server.pid) - server_cpu
        sample["daemon_cpu_seconds"] = rig.cpu_seconds(daemon) - daemon_cpu if daemon else 0.0
        ours = sum(sample[name] for name in ("cpu_seconds", "server_cpu_seconds", "daemon_cpu_seconds"))
        sample["foreign_cpu_seconds"] = max(0.0, busy_seconds() - busy - ours)
        if daemon:
            sample["peak_rss_bytes"] = rig.peak_rss_bytes(daemon)
        return sample


def threads_of(workload):
    return int(workload.rsplit("-", 1)[1])


def busy_seconds():
    """CPU-seconds that all processors of the machine were busy so far (proc(5), /proc/stat)."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def data(options):
    """The objects: incompressible, and each block of its own."""
    block = bytearray(os.urandom(8 * MIB))

    def big():
        for number in range(options.big_bytes // len(block)):
            block[:8] = number.to_bytes(8, "little")
            yield bytes(block)

    yield "big.bin", (options.big_bytes, big())
    for number in range(options.files):
        body = number.to_bytes(8, "little") + bytes(block[number + 8 : number + FILE_BYTES])
        yield f"small/{number:06}.bin", (FILE_BYTES, [body])


def measure_all(options, directory):
    """Samples by link, workload and subject."""
    samples = {}
    print("== makes the data", flush=True)
    with rig.DevServer(options.binaries / "rolefs-dev", directory, rig.dev_config()) as server:
        server.put_all(rig.BUCKET, data(options))
    for link in options.links:
        with rig.DevServer(options.binaries / "rolefs-dev", directory, rig.dev_config(), LINKS[link]) as server:
            bench = Bench(options, server, directory)
            bench.prepare_urls()
            # Brings the objects into the page cache and every program into memory; not counted.
            for workload in options.workloads:
                list(bench.raw(workload, bench.files(link, threads_of(workload)) if "-" in workload else 0))
            for repetition in range(options.repetitions):
                for workload in options.workloads:
                    count = bench.files(link, threads_of(workload)) if "-" in workload else 0
                    for subject in options.subjects:
                        print(f"== {link} {workload} {subject} {repetition + 1}/{options.repetitions}", flush=True)
                        for name, sample in getattr(bench, subject)(workload, count):
                            samples.setdefault((link, workload, name), []).append(sample)
    return samples


def main():
    options = arguments()
    # A terminal's Ctrl-C and a supervisor's SIGTERM both unwind, so that mounts and servers are taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.time()
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(rig.temporary_directory("rolefs-bench-")))
        samples = measure_all(options, directory)
    rows = [table.row(*key, runs) for key, runs in samples.items()]
    table.relate(rows)
    print(table.text(rows))
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "bench"
    target.mkdir(parents=True, exist_ok=True)
    path = target / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime(started))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "processor": platform.machine()}
    shown = {name: value for name, value in vars(options).items() if name != "binaries"}
    path.write_text(json.dumps({"commit": commit, "machine": machine, "options": shown, "rows": rows}, indent=1) + "\n")
    print(f"written: {path} ({time.time() - started:.0f} s)")


if __name__ == "__main__":
    try:
        main()
    except rig.Failure as failure:
        sys.exit(f"bench: {failure}")
