"""Runs the suites: see scripts/suites.sh. Each has a development server and a mount of its own."""

import argparse
import contextlib
import json
import pathlib
import shutil
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import applications  # noqa: E402
import fio  # noqa: E402
import fsx  # noqa: E402
import kills  # noqa: E402
import pjdfstest  # noqa: E402
import rig  # noqa: E402
import stress  # noqa: E402
from outcome import Outcome, Place  # noqa: E402

SUITES = {
    "pjdfstest": pjdfstest.suite,
    "fsx": fsx.suite,
    "fio": fio.suite,
    "stress-ng": stress.suite,
    "kills": kills.suite,
    "applications": applications.suite,
}


def arguments():
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="scripts/suites.sh", description="Runs file-system suites over real mounts.")
    parser.add_argument("--suite", action="append", choices=list(SUITES), help="may be repeated; all by default")
    parser.add_argument("--full", action="store_true", help="more seeds, operations and bytes, and longer")
    parser.add_argument("--only", action="append", default=[], help="a case of the suite, such as fsx's seed; may be repeated")
    parser.add_argument("--on", type=pathlib.Path, metavar="DIRECTORY", help="try this directory, instead of a mount")
    parser.add_argument("--mount-option", action="append", default=[], help="passed to rolefs mount, as --memory=1GiB")
    parser.add_argument("--json", type=pathlib.Path, metavar="PATH", help="write the outcomes there, too")
    parser.add_argument("--binaries", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--tools", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


class Mounted:
    """A mount that can be replaced by a fresh one of the same bucket."""

    def __init__(self, options, server, scratch):
        # Other users are let in, for pjdfstest tries what they may do; what memory cannot hold is staged on disk.
        staging = scratch / "staging"
        staging.mkdir()
        self._options = ["--allow-other", f"--staging-dir={staging}", *options.mount_option]
        self._binary = options.binaries / "rolefs"
        self._server = server
        self.path = scratch / "mnt"
        self.log = scratch / "mnt.log"
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        mount = rig.Mount.rolefs(self._binary, self._server, self.path, options=self._options)
        self._stack.enter_context(mount)
        return self

    def __exit__(self, *details):
        self._stack.__exit__(*details)

    def again(self):
        """Ends the mount, and mounts again."""
        self._stack.close()
        self.__enter__()


def run(name, options):
    """One suite in a place of its own."""
    logs = options.tools / "logs" / name
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(rig.temporary_directory("suite-")))
        # Other users look for their files below it.
        scratch.chmod(0o755)
        details = {"scratch": scratch, "logs": logs, "tools": options.tools, "full": options.full}
        details["only"] = tuple(options.only)
        if options.on:
            directory = options.on / name
            directory.mkdir(parents=True)
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            return SUITES[name](Place(directory=directory, remount=lambda: None, mounted=False, **details))
        server = stack.enter_context(rig.DevServer(options.binaries / "rolefs-dev", scratch, rig.dev_config()))
        mounted = Mounted(options, server, scratch)
        stack.callback(keep_log, mounted.log, logs)
        stack.enter_context(mounted)
        # Short: pjdfstest's paths of sockets have 108 bytes.
        directory = mounted.path / name[:3]
        directory.mkdir()
        return SUITES[name](Place(directory=directory, remount=mounted.again, mounted=True, **details))


def keep_log(log, logs):
    """Keeps the mount's log, also of a suite that broke."""
    with contextlib.suppress(OSError):
        shutil.copy(log, logs / "mount.log")


def main():
    """Runs what was asked for; the exit status is not 0 if a case failed."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    outcomes = {}
    for name in options.suite or SUITES:
        begun = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            outcome = run(name, options)
        except (rig.Failure, OSError) as error:
            outcome = Outcome(failed=[("the suite", str(error))])
        outcomes[name] = outcome
        for line in outcome.lines():
            print(line)
        seconds = time.monotonic() - begun
        print(f"{name}: {len(outcome.passed)} of {outcome.applicable}, {len(outcome.skipped)} skipped, {seconds:.0f} s", flush=True)
    if options.json:
        options.json.write_text(json.dumps({name: vars(outcome) for name, outcome in outcomes.items()}, indent=1))
    passed = sum(len(outcome.passed) for outcome in outcomes.values())
    failed = sum(len(outcome.failed) for outcome in outcomes.values())
    skipped = sum(len(outcome.skipped) for outcome in outcomes.values())
    refused = sum(len(outcome.refused) for outcome in outcomes.values())
    print(f"{passed} passed, {failed} failed, {refused} refused as they should be, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
