"""What came out of a suite, and how programs are run for it. Standard library only."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import time

# Colours and other escape sequences of a terminal.
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass
class Outcome:
    """Cases of one suite: names of those that passed; names and reasons of the others.

    Refused are those that need what a mount of objects does not have and README says so: they did not pass, and are no defect.
    """

    passed: list = dataclasses.field(default_factory=list)
    failed: list = dataclasses.field(default_factory=list)
    refused: list = dataclasses.field(default_factory=list)
    skipped: list = dataclasses.field(default_factory=list)

    def add(self, name, error):
        """One case; `error` is falsy if it passed."""
        if error:
            self.failed.append((name, error))
        else:
            self.passed.append(name)

    def expect(self, name, reason):
        """A case that failed is one of those refused, for this reason."""
        self.failed = [case for case in self.failed if case[0] != name]
        self.refused.append((name, reason))

    def extend(self, other):
        """Adds the cases of another run."""
        self.passed += other.passed
        self.failed += other.failed
        self.refused += other.refused
        self.skipped += other.skipped

    @property
    def applicable(self):
        """How many cases were run."""
        return len(self.passed) + len(self.failed) + len(self.refused)

    def lines(self):
        """The report: a line for each case that did not pass."""
        for what, cases in (("FAILED", self.failed), ("refused", self.refused), ("skipped", self.skipped)):
            for name, reason in cases:
                yield f"  {what} {name}: {reason}"


@dataclasses.dataclass
class Place:
    """Where a suite works and what it may use."""

    # Directory under trial; empty, on the mount if there is one.
    directory: pathlib.Path
    # A directory of a local file system, for what a suite needs beside.
    scratch: pathlib.Path
    # Directory of logs that stay.
    logs: pathlib.Path
    # Directory with `bin/fsx` and `bin/pjdfstest`.
    tools: pathlib.Path
    # Whether the suite is run in full.
    full: bool
    # Names of cases to run, all if empty.
    only: tuple
    # Ends the mount and mounts the bucket again: what is read then was stored.
    remount: callable
    # Whether `directory` is below a mount of its own, that may be made read-only for a while.
    mounted: bool


@dataclasses.dataclass
class Done:
    """A program that ended, or was ended because it took too long."""

    status: int | None
    output: str
    seconds: float

    def error(self):
        """Why this is no success, in one line; `None` if it is one."""
        if self.status == 0:
            return None
        last = next((line.strip() for line in reversed(self.output.splitlines()) if line.strip()), "no output")
        if self.status is None:
            return f"not done after {self.seconds:.0f} s: {last}"
        what = f"signal {-self.status}" if self.status < 0 else f"status {self.status}"
        return f"{what}: {last}"


def run(command, seconds, log=None, **options):
    """Runs a program in a process group of its own; what is left of that after `seconds` is killed."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        errors="replace",
        **options,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        status = process.returncode
    except subprocess.TimeoutExpired:
        output, status = _killed(process), None
    finally:
        # A program that ends may leave children behind that keep the mount busy.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    output = ESCAPES.sub("", output)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as file:
            file.write(f"$ {' '.join(str(part) for part in command)}\n{output}\n")
    return Done(status, output, time.monotonic() - begun)


def _killed(process):
    """Kills a process group and returns what it said; one that the kernel holds is left to the end of the mount."""
    os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=10)[0]
    except subprocess.TimeoutExpired:
        return f"process {process.pid} cannot be killed"
