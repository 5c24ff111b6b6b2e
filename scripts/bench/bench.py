"""What every subject needs to know: one server on one link, and the files that are made for the run."""

import functools
import subprocess

import meter
import rig


class Skip(Exception):
    """A subject cannot do a task; the text says why."""


class Bench:
    """One server on one link."""

    def __init__(self, options, scale, link, server, environment, directory):
        self.options = options
        self.scale = scale
        self.link = link
        self.server = server
        self.environment = environment
        self.directory = directory
        self.yardstick = options.binaries / "rolefs-bench"
        self.rolefs = options.binaries / "rolefs"
        # Words before every command that reads through the kernel's page cache.
        self.before = []

    def list_of(self, name, lines):
        """A file with these lines."""
        path = self.directory / f"{name.replace(' ', '-').replace('/', '-')}.list"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def url(self, key):
        """Where an object can be read without signing."""
        return self.server.url("GET", rig.BUCKET, key)

    def measure(self, command, daemon=None):
        """A run of `rolefs-bench`."""
        before = self.before if daemon else []
        return meter.run([*before, self.yardstick, *command], self.server.pid, daemon, self.environment)

    def measure_worker(self, command):
        """A run of another program that prints the same report, if it ends in time."""
        timeout = 3 * self.scale.box_seconds + 10
        try:
            return meter.run(command, self.server.pid, None, self.environment, timeout=timeout)
        except rig.Failure:
            raise Skip(f"failed, or did not end within {timeout:.0f} s") from None

    def measure_program(self, command, daemon=None):
        """A run of any other program."""
        return meter.run(command, self.server.pid, daemon, self.environment, reports=False)

    @functools.cached_property
    def mount_help(self):
        """What `rolefs mount --help` says: options that are not there are not measured."""
        done = subprocess.run([self.rolefs, "mount", "--help"], capture_output=True, text=True, check=False)
        return done.stdout

    def need_option(self, name):
        """Skips if this build of rolefs has no such option."""
        if name not in self.mount_help:
            raise Skip(f"this build has no {name}")
