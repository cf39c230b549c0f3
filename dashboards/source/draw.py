#!/usr/bin/env python3
"""Draws the dashboards' JSON with a Prometheus' answers, one PNG a page: for docs/, and for looking at a change where
there is no Grafana. It asks what the panels ask, over the time that is named, and keeps to their places, units,
thresholds and names. It is not Grafana: no heat maps, no tables, only the kinds of panels that the pages use.

Called by `loadtest pictures`. Needs the packages of requirements-draw.txt.
"""

import argparse
import io
import json
import math
import pathlib
import re
import textwrap
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)
from matplotlib.patches import Rectangle  # noqa: E402
from PIL import Image  # noqa: E402

HERE = pathlib.Path(__file__).parent.parent
PIXELS = 110            # an inch
COLUMN, LINE = 0.58, 0.34  # inches of a unit of the grid
HEAD = 2.3              # units above it, for title and description
RATE_INTERVAL = "10s"   # Prometheus scrapes every second in the laboratory
STEP = 1
LINES = ["#73BF69", "#5794F2", "#FF9830", "#F2495C", "#B877D9", "#E0B400", "#8AB8FF", "#37872D", "#C4162A", "#A352CC",
         "#1F60C4", "#FA6400", "#8F3BB8", "#96D98D", "#FFB357"]
NAMED = {"green": "#56A64B", "orange": "#FF780A", "red": "#E02F44", "blue": "#3274D9"}
INK, GREY, PALE = "#24292E", "#6B7280", "#D8DCE2"

plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 7, "text.color": INK, "axes.edgecolor": PALE,
                     "xtick.color": GREY, "ytick.color": GREY})


class Prometheus:
    def __init__(self, url, start, end):
        self.url, self.start, self.end = url, start, end

    def ask(self, call, **parameters):
        with urllib.request.urlopen(f"{self.url}/api/v1/{call}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def meant(self, expr):
        expr = expr.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", f"{self.end - self.start}s")
        return re.sub(r"\$(instance|route|authorizer)", ".+", expr)

    def lines(self, expr):
        found = self.ask("query_range", query=self.meant(expr), start=self.start, end=self.end, step=STEP)["result"]
        return [(one["metric"], [(float(at), float(value)) for at, value in one["values"]]) for one in found]

    def numbers(self, expr):
        found = self.ask("query", query=self.meant(expr), time=self.end)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def exemplars(self, expr):
        series = self.ask("query_exemplars", query=self.meant(expr), start=self.start, end=self.end)
        return [(float(one["timestamp"]), float(one["value"])) for each in series for one in each["exemplars"]]


def legend(target, labels):
    text = target["legendFormat"]
    if text == "__auto":
        return ", ".join(f"{name}={value}" for name, value in labels.items() if name != "__name__")
    text = re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), text)
    # The laboratory's address says nothing; its instance has a name.
    return re.sub(r"127\.0\.0\.1:\d+", "minio-eu1", text)


def rounded(value):
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text)


def scaled(value, steps):
    for size, unit in steps:
        if abs(value) >= size:
            return f"{rounded(value / size)} {unit}"
    size, unit = steps[-1]
    return f"{rounded(value / size)} {unit}"


SECONDS = [(86400 * 365, "years"), (86400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")]
BYTES = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")]
MANY = [(1e9, "G"), (1e6, "M"), (1e3, "k")]


def said(value, unit):
    if math.isnan(value) or math.isinf(value):
        return "–" if math.isnan(value) else "no end"
    if value == 0:
        return {"s": "0 s", "bytes": "0 B", "Bps": "0 B/s", "percentunit": "0 %", "ops": "0 /s"}.get(unit, "0")
    if unit == "s":
        return scaled(value, SECONDS)
    if unit in ("bytes", "Bps"):
        return scaled(value, BYTES) + ("/s" if unit == "Bps" else "")
    if unit == "percentunit":
        return f"{rounded(value * 100)} %"
    text = next((f"{rounded(value / size)} {letter}" for size, letter in MANY if abs(value) >= size), rounded(value))
    return f"{text} /s" if unit == "ops" else text


def ticks(top, unit):
    """Round numbers of the unit that people read: minutes and mebibytes, not thousands."""
    sizes = {"s": SECONDS, "bytes": BYTES, "Bps": BYTES}.get(unit, [(1, "")])
    size = next((size for size, _ in sizes if top >= 2 * size), sizes[-1][0])
    each = 10 ** math.floor(math.log10(top / size)) * size
    step = next(each * share for share in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5) if top / (each * share) < 5)
    return [number * step for number in range(int(top / step) + 1)]


def limits(panel):
    return panel["fieldConfig"]["defaults"]["thresholds"]["steps"]


def colour_of(panel, value):
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings", []):
        exact = mapping["options"].get(rounded(value)) if mapping["type"] == "value" else None
        if exact:
            return NAMED[exact["color"]]
    reached = [step["color"] for step in limits(panel) if step["value"] is None or value >= step["value"]]
    return NAMED[reached[-1]]


def text_of(panel, value):
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings", []):
        if mapping["type"] == "value" and rounded(value) in mapping["options"]:
            return mapping["options"][rounded(value)]["text"]
        if mapping["type"] == "special" and math.isnan(value):
            return mapping["options"]["result"]["text"]
    return said(value, defaults["unit"])


class Page:
    def __init__(self, page, prometheus):
        self.page, self.prometheus = page, prometheus
        self.height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in page["panels"]) + HEAD
        self.figure = plt.figure(figsize=(24 * COLUMN, self.height * LINE), dpi=PIXELS, facecolor="#F4F5F7")

    def box(self, position):
        """Left, bottom, width, height as shares of the figure, from the top-left units of the grid."""
        left, top = position["x"] / 24, (position["y"] + HEAD) / self.height
        width, height = position["w"] / 24, position["h"] / self.height
        gap = 0.0025
        return left + gap, 1 - top - height + gap / 2, width - 2 * gap, height - gap

    def drawn(self):
        self.figure.text(0.008, 1 - 0.8 / self.height, self.page["title"], fontsize=13, fontweight="bold", va="center")
        self.figure.text(0.008, 1 - 1.7 / self.height, self.page["description"], fontsize=8, color=GREY, va="center")
        for panel in self.page["panels"]:
            if panel["type"] == "row":
                left, bottom, _, height = self.box(panel["gridPos"])
                self.figure.text(left + 0.004, bottom + height / 2, panel["title"], fontsize=9, fontweight="bold", va="center")
                continue
            left, bottom, width, height = box = self.box(panel["gridPos"])
            self.figure.add_artist(Rectangle((left, bottom), width, height, facecolor="white", edgecolor=PALE, lw=0.8, zorder=-9))
            self.figure.text(left + 0.005, bottom + height - 0.55 / self.height, panel["title"], fontsize=7.5,
                             fontweight="bold", va="center")
            {"timeseries": self.lines, "stat": self.numbers, "bargauge": self.bars}[panel["type"]](panel, box)
        return self.figure

    def axes(self, box, left=0.0, bottom=0.0, right=0.0, top=1.1):
        """Inside a panel; margins in shares of the figure's width and in units of the grid."""
        x, y, width, height = box
        unit = 1 / self.height
        return self.figure.add_axes((x + left, y + bottom * unit, width - left - right, height - (bottom + top) * unit))

    def lines(self, panel, box):
        defaults = panel["fieldConfig"]["defaults"]
        custom, unit = defaults["custom"], defaults["unit"]
        series, points = [], []
        for target in panel["targets"]:
            found = [(legend(target, labels), values) for labels, values in self.prometheus.lines(target["expr"])]
            series += sorted((name, [(at, value) for at, value in values if math.isfinite(value)]) for name, values in found)
            points += self.prometheus.exemplars(target["expr"]) if target.get("exemplar") else []
        series = [(name, values) for name, values in series if values]
        rows = legend_rows([name for name, _ in series], box[2])
        axes = self.axes(box, left=0.042, bottom=1.0 + 0.62 * len(rows), right=0.006)
        self.plot(axes, series, custom["stacking"]["mode"] == "normal", custom["fillOpacity"] / 100)
        highest = max((value for _, values in series for _, value in values), default=1)
        if points:
            axes.plot(*zip(*points), linestyle="none", marker="D", markersize=2.2, color="#8AB8FF", markeredgecolor="#1F60C4",
                      markeredgewidth=0.3, alpha=0.6, zorder=1)
        if custom["thresholdsStyle"]["mode"] == "dashed":
            for step in limits(panel):
                if step["value"] is not None and step["value"] <= highest * 1.6:
                    axes.axhline(step["value"], color=NAMED[step["color"]], linestyle=(0, (4, 3)), lw=0.8)
        self.scale(axes, unit, defaults)
        for number, row in enumerate(rows):
            x = box[0] + 0.006
            y = box[1] + (0.42 + 0.62 * (len(rows) - 1 - number)) / self.height
            for place, name in row:
                colour = LINES[[name for name, _ in series].index(name) % len(LINES)]
                self.figure.add_artist(Rectangle((x + place, y - 0.05 / self.height), 0.006, 0.1 / self.height, color=colour))
                self.figure.text(x + place + 0.008, y, name, fontsize=6, color=GREY, va="center")

    def plot(self, axes, series, stack, fill):
        times = sorted({at for _, values in series for at, _ in values})
        below = {at: 0.0 for at in times}
        for number, (_, values) in enumerate(series):
            colour = LINES[number % len(LINES)]
            for part in parts(values):
                xs = [at for at, _ in part]
                floor = [below[at] for at in xs] if stack else [0] * len(xs)
                ys = [value + base for (_, value), base in zip(part, floor)]
                axes.fill_between(xs, floor, ys, color=colour, alpha=fill, lw=0, zorder=2)
                axes.plot(xs, ys, color=colour, lw=1, marker="o" if len(part) == 1 else None, markersize=2, zorder=3)
            if stack:
                for at, value in values:
                    below[at] += value

    def scale(self, axes, unit, defaults):
        start, end = self.prometheus.start, self.prometheus.end
        axes.set_xlim(start, end)
        axes.set_xticks(range(start, end + 1, 60), [f"{minute} min" for minute in range((end - start) // 60 + 1)])
        top = defaults.get("max")
        top = (top or max(axes.get_ylim()[1], 1e-9)) * 1.04
        axes.set_ylim(0, top)
        axes.set_yticks(ticks(top, unit))
        axes.yaxis.set_major_formatter(lambda value, _: said(value, unit))
        axes.grid(color="#ECEEF1", lw=0.6)
        axes.tick_params(length=0, labelsize=6)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)

    def numbers(self, panel, box):
        series = []
        for target in panel["targets"]:
            series += [(legend(target, labels), values) for labels, values in self.prometheus.lines(target["expr"])]
        # A share of nothing is not drawn; its last number is what is shown.
        series = [(name, [one for one in values if not math.isnan(one[1])] or values) for name, values in series]
        series = sorted(series) or [("", [(0, math.nan)])]
        left, bottom, width, height = box
        for number, (name, values) in enumerate(series):
            value = values[-1][1]
            share = width / len(series)
            x, y, high = left + number * share + 0.003, bottom + 0.2 / self.height, height - 1.25 / self.height
            colour = GREY if math.isnan(value) else colour_of(panel, value)
            self.figure.add_artist(Rectangle((x, y), share - 0.006, high, facecolor=colour, lw=0, zorder=-8))
            finite = [(at, one) for at, one in values if math.isfinite(one)]
            if len(finite) > 1:
                axes = self.figure.add_axes((x, y, share - 0.006, high * 0.45))
                axes.fill_between(*zip(*finite), color="white", alpha=0.28, lw=0)
                axes.set_xlim(self.prometheus.start, self.prometheus.end)
                axes.set_ylim(0, max(one for _, one in finite) * 1.05 or 1)
                axes.axis("off")
            middle = x + (share - 0.006) / 2
            text, labelled = text_of(panel, value), len(series) > 1 or bool(name)
            fits = (share - 0.01) * 24 * COLUMN * 72 / (0.68 * len(text))
            self.figure.text(middle, y + high * (0.42 if labelled else 0.5), text, fontsize=min(15, fits),
                             color="white", fontweight="bold", ha="center", va="center", zorder=5)
            if labelled:
                self.figure.text(middle, y + high * 0.84, name, fontsize=7, color="white", ha="center", va="center", zorder=5)

    def bars(self, panel, box):
        series = []
        for target in panel["targets"]:
            series += [(legend(target, labels), value) for labels, value in self.prometheus.numbers(target["expr"])]
        series.sort(key=lambda one: -one[1])
        left, bottom, width, height = box
        largest = max((value for _, value in series), default=1)
        each = (height - 1.5 / self.height) / max(len(series), 4)
        for number, (name, value) in enumerate(series):
            y = bottom + height - 1.2 / self.height - (number + 1) * each
            self.figure.text(left + 0.007, y + each * 0.68, name, fontsize=6.5, color=GREY, va="center")
            long = (width - 0.06) * value / largest
            self.figure.add_artist(Rectangle((left + 0.007, y + each * 0.08), max(long, 0.001), each * 0.38,
                                             facecolor=colour_of(panel, value), lw=0))
            self.figure.text(left + 0.012 + long, y + each * 0.27, said(round(value), panel["fieldConfig"]["defaults"]["unit"]),
                             fontsize=7, fontweight="bold", va="center")


def parts(values):
    """Where samples are missing there is a gap, not a line."""
    part = []
    for at, value in values:
        if part and at - part[-1][0] > 3 * STEP:
            yield part
            part = []
        part.append((at, value))
    if part:
        yield part


def legend_rows(names, width):
    """Names from left to right, in as many rows as they need; each with its place."""
    rows, x = [[]], 0.0
    for name in names:
        long = 0.014 + 0.0039 * len(name)
        if rows[-1] and x + long > width - 0.008:
            rows.append([])
            x = 0.0
        rows[-1].append((x, name))
        x += long
    return rows


def main():
    parser = argparse.ArgumentParser(description=textwrap.shorten(__doc__, 200))
    for name, kind in [("prometheus", str), ("start", int), ("end", int), ("out", pathlib.Path)]:
        parser.add_argument(f"--{name}", type=kind, required=True)
    arguments = parser.parse_args()
    for path in sorted(HERE.glob("*.json")):
        prometheus = Prometheus(arguments.prometheus, arguments.start, arguments.end)
        figure = Page(json.loads(path.read_text(encoding="utf-8")), prometheus).drawn()
        raw = io.BytesIO()
        figure.savefig(raw, format="png")
        plt.close(figure)
        # A palette is a third of the size, and enough for lines.
        picture = Image.open(raw).convert("RGB").quantize(160, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        picture.save(arguments.out / f"{path.stem}.png", optimize=True)


if __name__ == "__main__":
    main()
