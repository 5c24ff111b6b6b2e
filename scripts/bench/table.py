"""From samples to rows, and from rows to text."""

import statistics

GIB = 1 << 30


def row(link, workload, subject, samples):
    """The figures of one subject: medians, and the spread of the rate."""
    if workload == "sequential":
        unit, rates = "GB/s", [sample["bytes"] / sample["seconds"] / 1e9 for sample in samples]
    else:
        unit, rates = "files/s", [sample["operations"] / sample["seconds"] for sample in samples]

    def per_gib(name):
        return statistics.median(sample[name] * GIB / sample["bytes"] for sample in samples)

    def median_of(name):
        known = [sample[name] for sample in samples if sample.get(name) is not None]
        return statistics.median(known) if known else None

    gets, operations = median_of("gets"), median_of("operations")
    return {
        "link": link,
        "workload": workload,
        "subject": subject,
        "unit": unit,
        "rate": statistics.median(rates),
        "rate_min": min(rates),
        "rate_max": max(rates),
        "client_cpu_seconds_per_gib": per_gib("cpu_seconds"),
        "daemon_cpu_seconds_per_gib": per_gib("daemon_cpu_seconds"),
        "server_cpu_seconds_per_gib": per_gib("server_cpu_seconds"),
        "foreign_cpus": statistics.median(sample["foreign_cpu_seconds"] / sample["seconds"] for sample in samples),
        "peak_rss_bytes": median_of("peak_rss_bytes"),
        "gets_per_file": gets / operations if gets is not None else None,
        "samples": samples,
    }


def relate(rows):
    """Adds to every row its rate relative to raw on the same link and workload."""
    raw = {(row["link"], row["workload"]): row["rate"] for row in rows if row["subject"] == "raw"}
    for row in rows:
        base = raw.get((row["link"], row["workload"]))
        row["to_raw"] = row["rate"] / base if base else None


def text(rows):
    """The table for the terminal. CPU in seconds per GiB; "others" is how many processors other programs kept busy."""
    head = ["link", "workload", "subject", "rate", "", "min - max", "to raw", "CPU reader", "daemon", "server"]
    head += ["RSS MiB", "GETs/file", "others"]
    lines = [head]
    for row in sorted(rows, key=lambda row: (row["link"] != "loopback", row["workload"])):
        digits = 2 if row["unit"] == "GB/s" else 0
        lines.append(
            [
                row["link"],
                row["workload"],
                row["subject"],
                f"{row['rate']:.{digits}f}",
                row["unit"],
                f"{row['rate_min']:.{digits}f} - {row['rate_max']:.{digits}f}",
                number(row["to_raw"]),
                number(row["client_cpu_seconds_per_gib"]),
                number(row["daemon_cpu_seconds_per_gib"]),
                number(row["server_cpu_seconds_per_gib"]),
                number(row["peak_rss_bytes"] and row["peak_rss_bytes"] / (1 << 20), 0),
                number(row["gets_per_file"]),
                number(row["foreign_cpus"], 1),
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])

    def aligned(line):
        cells = zip(line, widths)
        return "  ".join(cell.rjust(width) if at > 2 else cell.ljust(width) for at, (cell, width) in enumerate(cells))

    return "\n".join(aligned(line).rstrip() for line in lines)


def number(value, digits=2):
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
