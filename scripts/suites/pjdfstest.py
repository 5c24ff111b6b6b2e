"""pjdfstest, the conformance suite for system calls on names, in its Rust port."""

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
    done = run(command, SECONDS, place.logs / "pjdfstest.log")
    outcome = read(done.output)
    # A case that fails may leave a file open for writing in the runner; the cases that make the mount read-only then
    # find it busy. A new runner has nothing open.
    busy = [name for name, reason in outcome.failed if "mount point is busy" in reason]
    if busy:
        again = run([*command[: command.index("--")], "--exact", "--", *(CRATE + name for name in busy)], SECONDS, place.logs / "pjdfstest.log")
        outcome.failed = [(name, reason) for name, reason in outcome.failed if name not in busy]
        outcome.extend(read(again.output))
    if done.status != 0 and not outcome.failed:
        outcome.add("the runner", done.error())
    return outcome


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
