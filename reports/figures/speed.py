"""The figure of speed against quality; every axis says whose number it is."""

import textwrap
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from reports.declared import generator, generators, papers_row_of
from reports.figures.style import Looks, Published, Results, estimate, grey_looks, headline, legend_below, page
from reports.tables.columns import COLUMNS
from reports.tables.results import Result
from reports.tables.rows import read_published


class Point(NamedTuple):
    """One method in one panel; `spread` is the standard deviation of x."""

    method: str
    x: float
    y: float
    spread: float = 0.0


class Panel(NamedTuple):
    """Points of one pair of numbers, and whose they are."""

    x_label: str
    y_label: str
    points: list[Point]
    logarithmic: bool = True


def panels(
    declared: dict[str, dict[str, str]], results: Results, published: Published, profiles: dict[str, Result | None]
) -> list[Panel]:
    """The paper's quality over the cost that we count and measure and over its own; ours at our own size.

    `declared` are our rows as tables.yaml has them, with `paper` for the paper's row of the same method, `results` the
    measured ones, `published` the paper's rows of reconstruction, `profiles` of rows at their published size.
    """
    records = {row: profile.record for row, profile in profiles.items() if profile}
    psnr = {row["method"]: float(row["psnr"]) for row in published}
    counted, timed, devices, sizes = [], [], set(), set()
    for row, entry in declared.items():
        record, method = records.get(row), entry.get("paper")
        if record is None or method not in psnr:
            continue
        sizes.add(record["image_size"])
        gmacs = sum(record["counts"][part]["gmacs"] for part in ("encoder", "decoder"))
        counted.append(Point(method, gmacs, psnr[method]))
        if measured := record.get("measured"):
            devices.add(f"{measured['device']}, batch {measured['batch_size']}")
            batch, spread = measured["batch_size"], measured["latency_std_ms"] or 0.0  # none of a single round
            timed.append(Point(method, measured["latency_ms"] / batch, psnr[method], spread / batch))
    unit, length = ("s", 1000) if timed and min(point.x for point in timed) > 1000 else ("ms", 1)
    timed = [point._replace(x=point.x / length, spread=point.spread / length) for point in timed]
    a100 = [row for row in read_published("efficiency_tokenizers_a100.csv") if row["method"] in psnr]
    theirs = [Point(row["method"], 1000 / float(row["throughput_per_s"]), psnr[row["method"]]) for row in a100]
    ours = [
        Point(declared[row].get("paper") or row, result.record["parameters"] / 1e6, estimate(result, "psnr").mean)
        for row, result in results.items()
    ]
    fid = {row["method"]: float(row["fid"]) for row in read_published("generation_imagenet256.csv") if row["fid"]}
    # The paper tells the calls of one sampler of its generator; the others are taken to make as many.
    calls = records.get("texture", {}).get("counts", {}).get("calls")
    # GMACs of all network calls of one sample.
    networks = {row: record["counts"] for row, record in records.items() if "network" in record["counts"]}
    operations = {row: part["network"]["gmacs"] * (part["calls"] or calls or 0) for row, part in networks.items()}
    sampled = []
    for row in generators():
        paper, stages = papers_row_of(row), {generator(row)["first"], generator(row)["last"]}
        counts = [operations.get(network) for network in stages]
        if paper in fid and all(counts):
            sampled.append(Point(paper, sum(counts) / 1000, fid[paper]))
    scale = next((result.record["scale"] for result in results.values()), "")
    assumed = "counted by us" + (f"; {calls} calls per\nnetwork where the paper gives no number" if calls else "")
    by_us = textwrap.fill(f"(measured by us: {'; '.join(sorted(devices))})", 32)
    size, quality = "/".join(map(str, sorted(sizes))), COLUMNS["psnr"].titled
    drawn = [
        Panel(f"GMACs per image of {size} px\n(counted by us)", f"{quality}, paper", counted),
        Panel(f"{unit} per image of {size} px\n{by_us}", f"{quality}, paper", timed),
        Panel("ms per image of 256 px\n(the paper's: A100, batch 8)", f"{quality}, paper", theirs),
        Panel(f"TMACs per sample, all network calls\n({assumed})", "FID-50K, paper", sampled, False),
        Panel(f"million parameters\n(ours, {scale} scale)", f"{quality}, ours, {scale} scale", ours, False),
    ]
    return [panel for panel in drawn if panel.points] if counted else []


def speed_quality(drawn: list[Panel], styles: Looks) -> Figure | None:
    """A panel a pair of numbers, as `panels` gives them; None without any. Methods without a style are grey."""
    if not drawn:
        return None
    methods = [point.method for panel in drawn for point in panel.points]
    styles = grey_looks(methods, styles)
    lines = (len(drawn) + 2) // 3
    figure = page(0.7 + 2.3 * lines + 0.17 * (len(set(methods)) // 5))
    places = list(figure.subplots(lines, 3, squeeze=False).flat)
    for axes, panel in zip(places, drawn, strict=False):
        for method, x, y, spread in panel.points:
            colour, _, marker = styles[method]
            axes.errorbar(x, y, xerr=spread or None, fmt=marker, color=colour, label=method, markersize=6, capsize=2)
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
        axes.margins(x=0.15, y=0.15)
        if panel.logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.set_xlim(0, 1.25 * max(point.x for point in panel.points))
    for axes in places[len(drawn) :]:
        axes.set_visible(False)
    better = "Better is up and left; for FID, down and left."
    headline(figure, f"Quality against cost. The paper's quality is for ImageNet at 256 px. {better}")
    legend_below(figure, 5)
    return figure
