"""pjdfstest, the conformance suite for system calls on names, in its Rust port."""

import os
import re

from outcome import Outcome, run

SECONDS = 1800
# Linux has these; chflags, st_birthtime in stat(2) and NFSv4 ACLs it has not.
FEATURES = ["posix_fallocate", "rename_ctime", "utime_now", "utimensat"]
# Users of every Debian, so that none need be made.
USERS = [("nobody", "nogroup"), ("daemon", "daemon")]
# In front of the names that it takes, not of those that it prints.
CRATE = "pjdfstest::tests::"
# How long a case waits for a time stamp to change.
NAP_SECONDS = 0.01
# Names of cases that need what a mount of objects does not have, as README says; what else they would try is not known.
REFUSED = {
    r"link::(changed_ctime_success|share_metadata|remove_link)::": "hard links",
    r"unlink::(unchanged_ctime_failed|update_ctime_success)::": "hard links",
    r"rename::(preserve_metadata|to_multiply_linked)::": "hard links",
    r".*::enametoolong_path$": "a path of 4095 bytes, and a key has 1023",
    r"rename::updates_link_parent$": "links of a directory are not counted",
}
CASE = re.compile(r"^(\S+::\S+)\s+(ok|FAILED|skipped)\s*$")


def suite(place):
    """Runs all cases, or those whose names contain a given one."""
    config = place.scratch / "pjdfstest.toml"
    users = ", ".join(f'["{user}", "{group}"]' for user, group in USERS)
    lines = ["[features]", *(f"{feature} = {{}}" for feature in FEATURES)]
    lines += ["[settings]", f"naptime = {NAP_SECONDS}", f"allow_remount = {str(place.mounted).lower()}"]
    lines += ["[dummy_auth]", f"entries = [{users}]"]
    config.write_text("\n".join(lines) + "\n")
    second = place.scratch / "second"
    second.mkdir(exist_ok=True)
    place.directory.chmod(0o755)
    command = [place.tools / "bin/pjdfstest", "--configuration-file", config, "--path", place.directory]
    command += ["--secondary-fs", second, "--", *place.only]
    environment = without_helpers(place.scratch / "bin")
    done = run(command, SECONDS, place.logs / "pjdfstest.log", env=environment)
    outcome = read(done.output)
    # A case that fails may leave a file open for writing in the runner; the cases that make the mount read-only then
    # find it busy. A new runner has nothing open.
    busy = [name for name, reason in outcome.failed if "mount point is busy" in reason]
    if busy:
        command = [*command[: command.index("--")], "--exact", "--", *(CRATE + name for name in busy)]
        again = run(command, SECONDS, place.logs / "pjdfstest.log", env=environment)
        outcome.failed = [(name, reason) for name, reason in outcome.failed if name not in busy]
        outcome.extend(read(again.output))
    if done.status != 0 and not outcome.failed:
        outcome.add("the runner", done.error())
    for name, _ in list(outcome.failed) if place.mounted else ():
        reasons = [reason for pattern, reason in REFUSED.items() if re.match(pattern, name)]
        if reasons:
            outcome.expect(name, reasons[0])
    return outcome


def without_helpers(directory):
    """An environment whose mount(8) asks the kernel itself: mount.fuse, where it is installed, would begin another mount to
    make one read-only."""
    directory.mkdir()
    path = os.environ["PATH"]
    program = directory / "mount"
    program.write_text(f'#!/bin/sh\nPATH="{path}" exec mount --internal-only "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}:{path}"}


def read(text):
    """Outcome of a run by what it printed: a line for each case, reasons on indented lines below it."""
    outcome = Outcome()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not (match := CASE.match(line)):
            continue
        name, verdict = match.groups()
        if verdict == "ok":
            outcome.add(name, None)
            continue
        reasons = []
        for below in lines[number + 1 :]:
            if CASE.match(below) or below.strip().startswith(("Backtrace", "Stack backtrace", "Summary")):
                break
            if below.strip():
                reasons.append(below.strip())
        reason = "; ".join(reasons) or "no reason given"
        if verdict == "skipped":
            outcome.skipped.append((name, reason))
        else:
            outcome.add(name, reason)
    return outcome
