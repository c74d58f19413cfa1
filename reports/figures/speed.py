"""The figure of speed against quality; every axis says whose number it is."""

import textwrap
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from reports.declared import generator, generators
from reports.figures.style import Looks, Published, Results, estimate, grey_looks, headline, legend_below, page
from reports.tables.columns import COLUMNS
from reports.tables.rows import read_published


class Panel(NamedTuple):
    """Points of one pair of numbers, and whose they are; a point is a method, x, y and the standard deviation of x."""

    x_label: str
    y_label: str
    points: list[tuple[str, float, float, float]]
    logarithmic: bool = True


def panels(
    declared: dict[str, dict[str, str]], results: Results, published: Published, profiles: Results
) -> list[Panel]:
    """The paper's quality over the cost that we count and measure and over its own; ours at our own size.

    `declared` are our rows as tables.yaml has them, with `paper` for the paper's row of the same method, `results` the
    measured ones, `published` the paper's rows of reconstruction, `profiles` of rows at their published size.
    """
    records = {row: profile.record for row, profile in profiles.items()}
    psnr = {row["method"]: float(row["psnr"]) for row in published}
    counted, timed, devices, sizes = [], [], set(), set()
    for row, entry in declared.items():
        record, method = records.get(row), entry.get("paper")
        if record is None or method not in psnr:
            continue
        sizes.add(record["image_size"])
        gmacs = sum(record["counts"][part]["gmacs"] for part in ("encoder", "decoder"))
        counted.append((method, gmacs, psnr[method], 0.0))
        if measured := record.get("measured"):
            devices.add(f"{measured['device']}, batch {measured['batch_size']}")
            batch, spread = measured["batch_size"], measured["latency_std_ms"] or 0.0  # none of a single round
            timed.append((method, measured["latency_ms"] / batch, psnr[method], spread / batch))
    unit, length = ("s", 1000) if timed and min(x for _, x, *_ in timed) > 1000 else ("ms", 1)
    timed = [(method, x / length, y, spread / length) for method, x, y, spread in timed]
    a100 = [row for row in read_published("efficiency_tokenizers_a100.csv") if row["method"] in psnr]
    theirs = [(row["method"], 1000 / float(row["throughput_per_s"]), psnr[row["method"]], 0.0) for row in a100]
    ours = [
        (
            declared[row].get("paper") or declared[row].get("name", row),
            result.record["parameters"] / 1e6,
            estimate(result, "psnr").mean,
            0.0,
        )
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
        paper, stages = generator(row).get("paper"), {generator(row)["first"], generator(row)["last"]}
        counts = [operations.get(network) for network in stages]
        if paper in fid and all(counts):
            sampled.append((paper, sum(counts) / 1000, fid[paper], 0.0))
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


def speed_quality(
    declared: dict[str, dict[str, str]], results: Results, published: Published, profiles: Results, styles: Looks
) -> Figure | None:
    """A panel a pair of numbers, as `panels` gives them; None without any. Methods without a style are grey."""
    drawn = panels(declared, results, published, profiles)
    if not drawn:
        return None
    methods = [method for panel in drawn for method, *_ in panel.points]
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
            axes.set_xlim(0, 1.25 * max(x for _, x, *_ in panel.points))
    for axes in places[len(drawn) :]:
        axes.set_visible(False)
    better = "Better is up and left; for FID, down and left."
    headline(figure, f"Quality against cost. The paper's quality is for ImageNet at 256 px. {better}")
    legend_below(figure, 5)
    return figure
