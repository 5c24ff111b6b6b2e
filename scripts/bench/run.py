"""Runs the benchmark: see scripts/bench.sh. Standard library only; the SDKs run in `sdk_worker.py`.

The subjects of one workload are measured in turn, repetition by repetition, so that a disturbance of the machine meets
all of them.
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

import chart  # noqa: E402
import container  # noqa: E402
import data  # noqa: E402
import links  # noqa: E402
import meter  # noqa: E402
import rig  # noqa: E402
import table  # noqa: E402
import uploads  # noqa: E402
from bench import Bench, Skip  # noqa: E402
from tasks import GIB, SCALES, Listing  # noqa: E402
from workloads import SUBJECTS, WORKLOADS, YARDSTICKS  # noqa: E402

# About what a run needs at its peak besides the page cache of the objects: the mount's budget, and the page cache of
# what is read through it.
TOUCHED_BYTES = 6 * GIB


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description="Measures a mount beside what could be reached.")
    parser.add_argument("--quick", action="store_true", help="less of everything, once, and of reading only unless workloads are named: below five minutes")
    parser.add_argument("--workload", action="append", help="R1 to R10, W1 to W5; may be repeated, or a list with commas")
    parser.add_argument("--link", action="append", help="of " + ", ".join(links.LINKS))
    parser.add_argument("--subject", action="append", help="; ".join(SUBJECTS) + ' (a list is split at ";")')
    parser.add_argument("--repetitions", type=int, help="of the mount, raw and null; default 3, with --quick 1")
    parser.add_argument("--mount-option", action="append", default=[], help="passed to rolefs mount, as --memory=1GiB")
    parser.add_argument("--read-ahead", type=int, metavar="KIB", help="the kernel's read-ahead of every mount, such as 128")
    parser.add_argument("--no-container", action="store_true", help="readers of large files may use all memory")
    parser.add_argument("--chart", type=pathlib.Path, help="write the chart there, too")
    parser.add_argument("--readme", type=pathlib.Path, help="write the goals and their results into this README")
    parser.add_argument("--binaries", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    ids = {workload.id for workload in WORKLOADS}
    if options.quick and not options.workload:
        # Five minutes are not enough for writing too.
        options.workload = sorted(id_ for id_ in ids if id_.startswith("R"))
    options.workload = _chosen(parser, "workload", options.workload, ",", ids)
    options.link = _chosen(parser, "link", options.link, ",", set(links.LINKS))
    options.subject = _chosen(parser, "subject", options.subject, ";", set(SUBJECTS))
    return options


def _chosen(parser, name, values, separator, known):
    """What was asked for, all of it if nothing was."""
    chosen = {part.strip() for value in values or [] for part in value.split(separator)} or known
    if unknown := chosen - known:
        parser.error(f"--{name}: no such thing as {', '.join(sorted(unknown))}")
    return chosen


class Run:
    """All measurements of one call: samples and reasons for missing ones by workload and subject."""

    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.scale = SCALES["quick" if options.quick else "full"]
        self.repetitions = options.repetitions or self.scale.repetitions
        self.workloads = [entry for entry in WORKLOADS if entry.id in options.workload and entry.link in options.link]
        # Words that put a command into a container, if there is one.
        self.container = []
        self.samples = {}
        self.skipped = {}
        self.failed = False

    def make_data(self):
        """Uploads the objects, over plain loopback."""
        tasks = [workload.task for workload in self.workloads if not isinstance(workload.task, Listing | uploads.TASKS)]
        if not tasks:
            return
        say("makes the data")
        header = data.safetensors_header(self.scale.model)
        (self.directory / "model.header").write_bytes(header)
        server, _ = links.server(links.LINKS["loopback"], self.options.binaries / "rolefs-dev", self.directory)
        with server:
            server.put_all(rig.BUCKET, data.objects(self.scale, header, tasks))
        data.link_local_files(self.directory / "objects", self.directory / "local")

    def measure(self):
        """Everything, server by server."""
        for name, link in links.LINKS.items():
            for listings in (False, True):
                mine = [entry for entry in self.workloads if entry.link == name]
                mine = [entry for entry in mine if isinstance(entry.task, Listing) == listings]
                if mine:
                    self._measure_on(link, mine, self.scale.many if listings else 0)

    def _measure_on(self, link, workloads, fill):
        directory = self.directory / "names" if fill else self.directory
        directory.mkdir(exist_ok=True)
        server, environment = links.server(link, self.options.binaries / "rolefs-dev", directory, fill)
        with server:
            bench = Bench(self.options, self.scale, link, server, environment, directory)
            for workload in workloads:
                for repetition in range(self.repetitions):
                    for subject in workload.subjects:
                        if subject in self.options.subject:
                            self._measure(bench, workload, subject, repetition)

    def _measure(self, bench, workload, subject, repetition):
        # Writing takes as long as all of reading: once, unless more is asked for.
        once = workload.id.startswith("W") and not self.options.repetitions
        often = self.scale.yardstick_repetitions if subject in YARDSTICKS or once else self.repetitions
        if repetition >= often or subject in self.skipped.get(workload, {}):
            return
        what = f"{workload.id} {workload.link} {workload.task.name}: {subject}"
        say(f"{what} {repetition + 1}/{often}")
        bench.before = self.container if workload.id in container.WORKLOADS else []
        if bench.before:
            # What was touched at the start may have gone back to the host: a balloon reports memory that is free for seconds.
            meter.touch_memory(container.LIMIT_BYTES)
        try:
            sample = SUBJECTS[subject].run(bench, workload.task)
        except Skip as reason:
            self.skipped.setdefault(workload, {})[subject] = str(reason)
            return
        except rig.Failure as failure:
            # One that breaks must not cost the figures of the others; the run fails at its end.
            say(f"FAILED: {failure}")
            self.skipped.setdefault(workload, {})[subject] = f"FAILED: {failure}".splitlines()[0]
            self.failed = True
            return
        self.samples.setdefault((workload, subject), []).append(sample)

    def rows(self):
        """In the order of the table."""
        rows = [
            table.row(workload, subject, self.samples[workload, subject], self.scale)
            for workload in self.workloads
            for subject in workload.subjects
            if (workload, subject) in self.samples
        ]
        table.relate(rows)
        return rows


def memory_budget(mount_options):
    """Bytes of the mount's budget: what --memory says, else its default, as README tells it."""
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": GIB}
    for option in mount_options:
        name, _, size = option.partition("=")
        if name == "--memory":
            return int(float(size[:-3]) * units[size[-3:]])
    limits = [meter.memory_bytes()]
    with contextlib.suppress(OSError, ValueError):
        limits.append(int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(4 * GIB, min(limits) // 8)


def say(text):
    print(f"== {text}", flush=True)


def main():
    options = arguments()
    # A terminal's Ctrl-C and a supervisor's SIGTERM both unwind, so that mounts and servers are taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.time()
    with contextlib.ExitStack() as stack:
        run = Run(options, pathlib.Path(stack.enter_context(rig.temporary_directory("rolefs-bench-"))))
        run.make_data()
        # Afterwards: else the page cache of the objects takes what was touched.
        say("touches memory")
        meter.touch_memory(TOUCHED_BYTES)
        if not options.no_container:
            run.container = stack.enter_context(container.container())
        run.measure()
    rows = run.rows()
    judged = [*table.judge(rows, run.workloads), table.judge_memory(rows, memory_budget(options.mount_option))]
    print("\n" + table.text(rows, judged, run.workloads, run.skipped))
    written = write(options, run, rows, judged, started)
    if options.chart:
        options.chart.write_text(chart.svg(rows))
    if options.readme:
        options.readme.write_text(table.with_goals(options.readme.read_text(), judged))
    print(f"written: {written} ({time.time() - started:.0f} s)")
    return 1 if run.failed else 0


def write(options, run, rows, judged, started):
    """One JSON file per run, and the chart beside it."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "bench"
    target.mkdir(parents=True, exist_ok=True)
    path = target / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime(started))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "processor": platform.machine()}
    shown = {name: sorted(value) if isinstance(value, set) else value for name, value in vars(options).items()}
    skipped = [
        {"workload": workload.id, "link": workload.link, "subject": subject, "why": why}
        for workload, subjects in run.skipped.items()
        for subject, why in subjects.items()
    ]
    content = {"commit": commit, "machine": machine, "options": shown, "goals": judged, "skipped": skipped, "rows": rows}
    path.write_text(json.dumps(content, indent=1, default=str) + "\n")
    path.with_suffix(".svg").write_text(chart.svg(rows))
    return path


if __name__ == "__main__":
    try:
        sys.exit(main())
    except rig.Failure as failure:
        sys.exit(f"bench: {failure}")
