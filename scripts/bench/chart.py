"""The chart: bars for the workloads that say most, as SVG by hand, since a plotting library is 50 MB for rectangles."""

import html

# Workload, link and task of each panel, what it is called, and what is left out of it: null and local have no network
# in the way, and would make all else look alike.
PANELS = [
    ("R1", "loopback", "1 thread", "One large file, loopback"),
    ("R2", "cloud", "1 thread", "One large file, 20 ms and 100 MB/s per connection"),
    ("R3", "cloud", "4 threads", "Four large files, 20 ms and 100 MB/s per connection"),
    ("R3", "tls", "4 threads", "Four large files, loopback, HTTPS"),
    ("R6", "cloud", "16 threads, shuffled", "100 KiB files, 16 threads, shuffled, 20 ms"),
    ("R7", "cloud", "1 thread, in order", "100 KiB files, 1 thread, 20 ms"),
    ("R8", "cloud", "ls -l", "ls -l of 100,000 objects, 20 ms"),
    ("R10", "cloud", "tensors in order", "mmap of a safetensors file, 20 ms"),
]
LEFT_OUT = ("null", "local", "mount, read-ahead")

COLUMNS = 2
PANEL_WIDTH, BAR, GAP, TITLE, MARGIN = 520, 16, 6, 34, 24
NAMES, FIGURES = 150, 112
COLOURS = {"mount": "#d1495b", "raw": "#30638e", "other": "#9aa5b1"}
FONT = 'font-family="system-ui, sans-serif"'


def svg(rows):
    """The chart of the rows that there are; panels without a row are left out."""
    panels = [(title, unit_rows) for *key, title in PANELS if (unit_rows := _of(rows, *key))]
    height, parts = MARGIN, []
    for at in range(0, len(panels), COLUMNS):
        line = panels[at : at + COLUMNS]
        for column, (title, bars) in enumerate(line):
            parts += _panel(MARGIN + column * (PANEL_WIDTH + MARGIN), height, title, bars)
        height += TITLE + max(len(bars) for _, bars in line) * (BAR + GAP) + MARGIN
    width = MARGIN + COLUMNS * (PANEL_WIDTH + MARGIN)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    background = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, background, *parts, "</svg>"]) + "\n"


def _of(rows, workload, link, task):
    """The rows of a panel, the fastest first."""
    key = (workload, link, task)
    mine = [row for row in rows if (row["workload"], row["link"], row["task"]) == key]
    mine = [row for row in mine if not row["subject"].startswith(LEFT_OUT)]
    return sorted(mine, key=lambda row: -row["rate"])


def _panel(x, y, title, rows):
    yield f'<text x="{x}" y="{y + 14}" {FONT} font-size="14" font-weight="600" fill="#1f2933">{html.escape(title)}</text>'
    room = PANEL_WIDTH - NAMES - FIGURES
    most = max(row["rate_max"] for row in rows) or 1
    for number, row in enumerate(rows):
        top = y + TITLE - 8 + number * (BAR + GAP)
        middle = top + BAR - 4
        kind = row["subject"].split(",")[0]
        colour = COLOURS.get(kind, COLOURS["other"])
        length = max(1.0, room * row["rate"] / most)
        left = x + NAMES
        name = html.escape(row["subject"])
        yield f'<text x="{left - 8}" y="{middle}" {FONT} font-size="12" fill="#1f2933" text-anchor="end">{name}</text>'
        yield f'<rect x="{left}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>'
        if row["rate_max"] > row["rate_min"]:
            low, high = (left + room * row[name] / most for name in ("rate_min", "rate_max"))
            at = top + BAR / 2
            yield f'<path d="M{low:.1f} {at}H{high:.1f}" stroke="#1f2933" stroke-width="1.5"/>'
        figure = _figure(row)
        end = max(left + length, left + room * row["rate_max"] / most)
        yield f'<text x="{end + 6:.1f}" y="{middle}" {FONT} font-size="12" fill="#52606d">{figure}</text>'


def _figure(row):
    digits = 2 if row["unit"] == "GB/s" else 0
    return f"{row['rate']:,.{digits}f} {row['unit']}"
