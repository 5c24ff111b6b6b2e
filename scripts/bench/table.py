"""From samples to rows, and from rows to text."""

import statistics

import goals
import price

GIB = 1 << 30
TIB = 1 << 40
PARTS = ("reader", "daemon", "server")
READS = ("gets", "heads", "lists")
WRITES = ("puts", "parts", "copies", "deletes")


def row(workload, subject, samples, scale):
    """The figures of one subject: medians, and the spread of the rate."""
    unit = workload.task.unit
    if unit == "GB/s":
        rates = [sample["bytes"] / sample["seconds"] / 1e9 for sample in samples]
    else:
        rates = [sample["operations"] / sample["seconds"] for sample in samples]

    def median(figure):
        values = [value for value in map(figure, samples) if value is not None]
        return statistics.median(values) if values else None

    def relative(name):
        if unit == "GB/s":
            return median(lambda sample: sample[name] * GIB / sample["bytes"])
        return median(lambda sample: sample[name] * 1e6 / max(1, sample["operations"]))

    made = {
        "workload": workload.id,
        "title": workload.title,
        "link": workload.link,
        "task": workload.task.name,
        "subject": subject,
        "unit": unit,
        "rate": statistics.median(rates),
        "rate_min": min(rates),
        "rate_max": max(rates),
        "seconds": median(lambda sample: sample["seconds"]),
        "latency_median": median(lambda sample: sample.get("latency_median_seconds")),
        "latency_99": median(lambda sample: sample.get("latency_99_seconds")),
        "foreign_cpus": median(lambda sample: sample["foreign_cpu_seconds"] / sample["seconds"]),
        "reader_rss_bytes": median(lambda sample: sample.get("peak_rss_bytes")),
        "daemon_rss_bytes": median(lambda sample: sample.get("daemon_rss_bytes")),
    }
    for who, prefix in zip(PARTS, ("", "daemon_", "server_")):
        for part in ("user", "system"):
            made[f"{who}_{part}_cpu"] = relative(f"{prefix}{part}_seconds")
    made["cpu_unit"] = "s/GiB" if unit == "GB/s" else "µs each"
    made["client_cpu"] = sum(made[f"{who}_{part}_cpu"] for who in ("reader", "daemon") for part in ("user", "system"))
    return made | requests(workload, samples, median, scale) | {"samples": samples}


def requests(workload, samples, median, scale):
    """What was asked of OSS, and what it would cost at scale; None where nobody counted."""
    made = {name: median(lambda sample, name=name: sample.get(name)) for name in (*READS, *WRITES, "others", "fetched", "sent")}
    counted = None not in (made["gets"], made["heads"], made["lists"])
    every = sum(made[name] or 0 for name in (*READS, *WRITES, "others")) if counted else None
    operations = median(lambda sample: sample["operations"])
    moved = median(lambda sample: sample["bytes"])
    # Yardsticks may have done less than the whole task; what they read is what they asked for.
    asked = min(workload.task.asked(scale) or 0, moved)
    made["fetched_per_asked"] = made["fetched"] / asked if asked and made["fetched"] is not None else None
    made["sent_per_asked"] = made["sent"] / moved if moved and made["sent"] is not None else None
    made["requests_per_operation"] = every / operations if counted and operations else None
    # Writing is of the class of listing.
    dear = sum(made[name] or 0 for name in ("lists", *WRITES))
    cost = price.of_requests(made["gets"], made["heads"], dear) if counted else None
    if cost is None:
        made["cost_cny"] = made["cost_text"] = None
    elif workload.task.unit == "GB/s":
        made["cost_cny"], made["cost_text"] = cost, f"{cost * TIB / (asked or moved):.2g}/TiB"
    else:
        made["cost_cny"], made["cost_text"] = cost, f"{cost * 1e6 / operations:.2g}/million"
    return made


def relate(rows):
    """Adds to every row its rate relative to raw on the same link and task, if need be raw with one GET at a time."""

    def key(row):
        return row["workload"], row["link"], row["task"]

    raw = {key(row): row["rate"] for row in rows if row["subject"] == "raw, one GET"}
    raw |= {key(row): row["rate"] for row in rows if row["subject"] == "raw"}
    for row in rows:
        base = raw.get(key(row))
        row["to_raw"] = row["rate"] / base if base else None


def judge(rows, workloads):
    """The goals of the workloads that were measured, with their results."""
    judged = []
    for workload in workloads:
        mine = {
            (row["task"], row["subject"]): row
            for row in rows
            if (row["workload"], row["link"]) == (workload.id, workload.link)
        }
        for goal in workload.goals:
            value, met = goal.judge(goals.Rows(mine, workload.task.name))
            judged.append(
                {
                    "workload": workload.id,
                    "link": workload.link,
                    "task": workload.task.name,
                    "subject": goal.subject,
                    "goal": goal.text,
                    "result": value,
                    "met": met,
                }
            )
    return judged


def judge_memory(rows, budget):
    """The goal of all workloads together: the mount stays within its budget and 96 MiB."""
    most = max((row["daemon_rss_bytes"] for row in rows if row["subject"].startswith("mount")), default=None)
    allowed = budget + (96 << 20)
    where = {"workload": "all", "link": "-", "task": "-", "subject": "mount"}
    text = f"peak RSS ≤ {allowed >> 20} MiB (budget + 96)"
    result = most and most / (1 << 20)
    return where | {"goal": text, "result": result, "met": None if most is None else most <= allowed}


HEAD = ["subject", "rate", "", "min - max", "to raw", "latency", "CPU reader u + k", "daemon u + k", "server u + k"]
HEAD += ["RSS MiB", "GETs", "HEADs", "LISTs", "fetched", "writes", "sent", "CNY", "others"]


def text(rows, judged, workloads, skipped):
    """The tables for the terminal.

    CPU in seconds per GiB, or in µs per file, read or name, in the program ("u") and in the kernel ("k"); RSS of the daemon, or of the reader where there is none;
    "fetched" per byte asked; "writes" are requests that change the bucket, "sent" is per byte written; CNY for the requests per TiB or per million files, reads or names; "others" is how many
    processors other programs kept busy.
    """
    blocks = []
    for workload in workloads:
        mine = [row for row in rows if _is_of(row, workload)]
        said = [f"  {subject}: {why}" for subject, why in skipped.get(workload, {}).items()]
        if not mine and not said:
            continue
        lines = [HEAD, *[_cells(row) for row in mine]]
        block = [f"{workload.id}  {workload.title}, {workload.task.name}, {workload.link}", *_aligned(lines)]
        block += _verdicts(goal for goal in judged if _is_of(goal, workload))
        blocks.append("\n".join(block + said))
    blocks.append("\n".join(["all workloads", *_verdicts(goal for goal in judged if goal["workload"] == "all")]))
    counts = {verdict: sum(_verdict(goal["met"]) == verdict for goal in judged) for verdict in ("met", "MISSED", "not measured")}
    blocks.append("goals: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return "\n\n".join(blocks)


def _is_of(entry, workload):
    return (entry["workload"], entry["link"], entry["task"]) == (workload.id, workload.link, workload.task.name)


def _verdicts(results):
    cells = [[goal["subject"], goal["goal"], number(goal["result"]), _verdict(goal["met"])] for goal in results]
    return _aligned([["  goal of", "", "result", ""], *cells], left=2) if cells else []


def _verdict(met):
    return "not measured" if met is None else "met" if met else "MISSED"


def _cells(row):
    digits = 2 if row["unit"] == "GB/s" else 0
    rss = row["daemon_rss_bytes"] or row["reader_rss_bytes"]
    counts = [number(row[name], 0) for name in ("gets", "heads", "lists")]
    writes = [row[name] for name in WRITES if row[name] is not None]
    cpu = [_pair(row[f"{who}_user_cpu"], row[f"{who}_system_cpu"], 2 if row["cpu_unit"] == "s/GiB" else 1) for who in PARTS]
    spread = "-" if row["rate_min"] == row["rate_max"] else f"{row['rate_min']:.{digits}f} - {row['rate_max']:.{digits}f}"
    latency = "-" if row["latency_median"] is None else f"{row['latency_median'] * 1e3:.2f} ms"
    return [
        *(row["subject"], f"{row['rate']:.{digits}f}", row["unit"], spread, number(row["to_raw"]), latency),
        *(*cpu, number(rss and rss / (1 << 20), 0), *counts, number(row["fetched_per_asked"])),
        *(number(sum(writes), 0) if any(writes) else "-", number(row["sent_per_asked"] or None)),
        *(row["cost_text"] or "-", number(row["foreign_cpus"], 1)),
    ]


def _pair(user, system, digits):
    return "-" if user is None else f"{user:.{digits}f} + {system:.{digits}f}"


def _aligned(lines, left=1):
    if not lines:
        return []
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  " + "  ".join(_padded(line, widths, left)).rstrip() for line in lines]


def _padded(line, widths, left):
    for at, (cell, width) in enumerate(zip(line, widths)):
        yield cell.ljust(width) if at < left else cell.rjust(width)


GOALS_BEGIN, GOALS_END = "<!-- goals: scripts/bench.sh --readme -->\n", "<!-- end of goals -->\n"


def markdown(judged):
    """The goals and their results, as README shows them."""
    lines = ["| | link | task | subject | goal | result | |", "|---|---|---|---|---|---|---|"]
    for goal in judged:
        where = [goal["workload"], goal["link"], goal["task"], goal["subject"]]
        verdict = {"MISSED": "**missed**"}.get(_verdict(goal["met"]), _verdict(goal["met"]))
        result = "-" if goal["result"] is None else f"{goal['result']:,.4g}"
        lines.append("| " + " | ".join([*where, goal["goal"], result, verdict]) + " |")
    return "\n".join(lines) + "\n"


def with_goals(readme, judged):
    """The text of README with these goals between its two marks.

    Raises ValueError if a mark is missing.
    """
    before, rest = readme[: readme.index(GOALS_BEGIN) + len(GOALS_BEGIN)], readme[readme.index(GOALS_BEGIN) :]
    return before + "\n" + markdown(judged) + "\n" + rest[rest.index(GOALS_END) :]


def number(value, digits=2):
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
