"""The process of a mount is killed while programs write, again and again: tests/it/kills.rs, with more kills."""

import os
import re

from outcome import Outcome, run

KILLS, KILLS_SHORT = 100, 25
SECONDS = 1800
TEST = "kills::a_killed_mount_has_stored_what_it_said_and_the_rest_is_recovered"


def suite(place):
    """One case; `only` holds the seed to begin with."""
    outcome = Outcome()
    if not place.mounted:
        outcome.skipped.append(("kills", "a directory has no process to be killed"))
        return outcome
    kills = KILLS if place.full else KILLS_SHORT
    environment = {**os.environ, "ROLEFS_KILLS": str(kills)}
    if place.only:
        environment["ROLEFS_SEED"] = place.only[0]
    log = place.logs / "kills.log"
    command = ["cargo", "test", "--quiet", "--test", "it", "--", TEST, "--exact", "--nocapture"]
    done = run(command, SECONDS, log, env=environment)
    error = done.error()
    seeds = re.findall(r"^ROLEFS_SEED=(\d+)$", done.output, re.MULTILINE)
    if error and seeds:
        error = f"{error}; again with --only {seeds[-1]}, said in {log}"
    outcome.add(f"{kills} kills", error)
    return outcome
