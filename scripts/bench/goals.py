"""What a workload must reach, as data: what is compared, with what, and how it came out."""

import dataclasses
import typing


@dataclasses.dataclass(frozen=True)
class Goal:
    """One bound of one subject's figure. `measure` gets the rows, and gives the figure or None if one is missing."""

    subject: str
    text: str
    measure: typing.Callable
    bound: float
    at_least: bool

    def judge(self, rows):
        """The result and whether it is met; both None if it was not measured."""
        try:
            value = self.measure(rows)
        except (KeyError, TypeError, ZeroDivisionError):
            return None, None
        if value is None:
            return None, None
        return value, value >= self.bound if self.at_least else value <= self.bound


class Rows:
    """The rows of one workload on one link, by task and subject; figures that are missing raise KeyError."""

    def __init__(self, rows, task):
        self._rows = rows
        self._task = task

    def has(self, subject):
        """Whether a subject was measured."""
        return (self._task, subject) in self._rows

    def of(self, subject, name, task=None):
        """A figure of a subject, of this goal's task if no other is named."""
        return self._rows[(task or self._task, subject)][name]


def times(subject, other, least, task=None):
    """At least so many times as fast as another, or as itself with another task."""
    what = other if task is None else f"{other}, {task}"

    def measure(rows):
        return rows.of(subject, "rate") / rows.of(other, "rate", task)

    return Goal(subject, f"≥ {least:g} × {what}", measure, least, True)


def times_both(subject, others, least):
    """At least so many times as fast as others would be one after the other."""

    def measure(rows):
        return rows.of(subject, "rate") * sum(1 / rows.of(other, "rate") for other in others)

    return Goal(subject, f"≥ {least:g} × {' then '.join(others)}", measure, least, True)


def cpu_above(subject, other, most):
    """At most so many CPU-seconds per GiB, reader and daemon, more than another."""

    def measure(rows):
        return rows.of(subject, "client_cpu") - rows.of(other, "client_cpu")

    return Goal(subject, f"≤ {most:g} CPU-s/GiB above {other}", measure, most, False)


def times_best(subject, others, least):
    """At least so many times as fast as the best of others."""

    def measure(rows):
        return rows.of(subject, "rate") / rows.of(best(rows, others), "rate")

    return Goal(subject, f"≥ {least:g} × the best of {', '.join(others)}", measure, least, True)


def cpu_above_best(subject, others, most):
    """At most so many CPU-seconds per GiB more than the fastest of others."""

    def measure(rows):
        return rows.of(subject, "client_cpu") - rows.of(best(rows, others), "client_cpu")

    return Goal(subject, f"≤ {most:g} CPU-s/GiB above the best of {', '.join(others)}", measure, most, False)


def best(rows, subjects):
    """The fastest of those that were measured."""
    measured = [subject for subject in subjects if rows.has(subject)]
    return max(measured, key=lambda subject: rows.of(subject, "rate"), default=None)


def sent(subject, most):
    """At most so many bytes over the link per byte that was written."""
    return Goal(subject, f"≤ {most:g} bytes sent per byte written", lambda rows: rows.of(subject, "sent_per_asked"), most, False)


def fetched(subject, most):
    """At most so many bytes over the link per byte that was asked for."""
    return Goal(subject, f"≤ {most:g} bytes fetched per byte asked", lambda rows: rows.of(subject, "fetched_per_asked"), most, False)


def requests_per_file(subject, most):
    """At most so many requests of any kind per file."""
    return Goal(subject, f"≤ {most:g} requests per file", lambda rows: rows.of(subject, "requests_per_operation"), most, False)


def only_lists(subject):
    """No request that is not a LIST, but for one: the HEAD that asks whether the directory's own name is an object."""

    def measure(rows):
        return rows.of(subject, "gets") + rows.of(subject, "heads") + rows.of(subject, "others")

    return Goal(subject, "≤ 1 request that is no LIST", measure, 1, False)


def latency(subject, other, most):
    """A median latency of at most so many times another's with one thread."""

    def measure(rows):
        return rows.of(subject, "latency_median") / rows.of(other, "latency_median")

    return Goal(subject, f"median ≤ {most:g} × one GET of {other}", measure, most, False)


def time_within(subject, first, share, second):
    """At most so much of one's time and all of another's."""

    def measure(rows):
        allowed = share * rows.of(first, "seconds") + rows.of(second, "seconds")
        return rows.of(subject, "seconds") / allowed

    return Goal(subject, f"time ≤ {share:g} × {first} + {second}", measure, 1, False)
