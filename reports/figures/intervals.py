"""Figures of means and of paired differences, with their 95 % intervals."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpstoken.metrics import Estimate, summarise
from reports.figures.style import INK, PAPER, Look, headline, page
from reports.tables.claims import judge
from reports.tables.columns import COLUMNS
from reports.tables.results import Result

UNITS = {"psnr": " (dB)", "psnr_inside": " (dB)", "psnr_outside": " (dB)"}


def arms(declared: dict[str, Any], results: dict[str, Result], styles: dict[str, Look]) -> Figure | None:
    """Means of the rows, and the paired differences that the claims are about, in the table's metrics `figure`.

    Args:
        declared: the table.
        results: its measured rows; None comes back without any that has the metrics.
        styles: how each row looks.
    """
    metrics = declared["figure"]
    results = {row: result for row, result in results.items() if set(metrics) <= result.values.keys()}
    if not results:
        return None
    pairs: dict[tuple[str, str], dict[str, Any]] = {}  # one line a pair: two claims may be about the same
    for claim in declared.get("claims", []):
        if {claim.get("from"), claim.get("to")} <= results.keys():
            pairs.setdefault((claim["from"], claim["to"]), claim)
    figure = page(1.6 + 0.32 * (len(results) + 1.4 * len(pairs)))
    axes = figure.subplots(2, 2, height_ratios=[len(results), max(1.4 * len(pairs), 1)], sharey="row")
    for column, metric in enumerate(metrics):
        above, below = axes[:, column]
        more = COLUMNS[metric].more_is_better
        for place, (row, result) in enumerate(results.items()):
            value = summarise(result.values[metric], result.sources)
            interval(above, value, place, styles[row].colour, marker=styles[row].marker)
            above.plot(value.per_seed, [place] * value.seeds, "|", color="black", markersize=9, alpha=0.6)
        above.set_title(f"{title(metric)}, {'more' if more else 'less'} is better")
        above.set_yticks(range(len(results)), [declared["ours"][row]["name"] for row in results])
        above.set_ylim(len(results) - 0.5, -0.5)
        for place, ((first, second), claim) in enumerate(pairs.items()):
            sizes_differ = declared.get("sizes_differ", False)
            interval(
                below, judge(results[first], results[second], metric, 0.0, sizes_differ).difference, place, "black"
            )
            for bound in _bounds(declared, claim, metric):
                below.plot([bound] * 2, [place - 0.35, place + 0.35], ":", color=PAPER)
        below.axvline(0, color="grey", linewidth=0.8)
        below.set_xlabel(f"paired difference ({'right' if more else 'left'} of 0: better)")
        names = [f"{declared['ours'][b]['name']}\nminus {declared['ours'][a]['name']}" for a, b in pairs]
        below.set_yticks(range(len(pairs)), names)
        below.locator_params(axis="x", nbins=4)
        below.set_ylim(max(len(pairs), 1) - 0.5, -0.5)
    bounded = any(_bounds(declared, claim, metrics[0]) for claim in pairs.values())
    bound = "; dotted: what counts as no loss or no difference" if bounded else ""
    headline(figure, f"{caption(declared, results)}; ticks are seeds{bound}")
    return figure


def tokens(
    declared: dict[str, Any], results: dict[str, Result], published: list[dict[str, str]], metric: str = "psnr"
) -> Figure | None:
    """Quality over two or more token counts: our means, paired gains over the count before, the paper's one picture."""
    if len(results) < 2:
        return None
    counts = {row: result.evaluated["num_tokens"] for row, result in results.items()}
    figure = page(2.9)
    ours, gains, papers = figure.subplots(1, 3)
    for row, result in results.items():
        interval(ours, summarise(result.values[metric], result.sources), counts[row], INK, upright=True)
    ours.set_title(f"ours: {title(metric)}")
    pairs = [claim for claim in declared.get("claims", []) if {claim["from"], claim["to"]} <= results.keys()]
    for claim in pairs:
        difference = judge(results[claim["from"]], results[claim["to"]], metric).difference
        interval(gains, difference, counts[claim["to"]], "black", upright=True)
    gains.axhline(0, color="grey", linewidth=0.8)
    gains.set_title(f"ours: {title(metric)} over the count\nbefore, image by image")
    theirs = {int(row["tokens"]): float(row[metric]) for row in published}
    papers.plot(theirs.keys(), theirs.values(), "s", color=PAPER, markersize=5)
    papers.set_title(f"paper, one picture: {title(metric)}")
    for axes, ticks in ((ours, counts.values()), (gains, counts.values()), (papers, theirs)):
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(ticks), [str(tick) for tick in ticks])
        axes.set_xlim(min(ticks) / 1.5, max(ticks) * 1.5)
        axes.set_xlabel("tokens")
    headline(figure, caption(declared, results))
    return figure


def interval(
    axes: Axes, value: Estimate, place: float, colour: str, upright: bool = False, marker: str = "o", **more: Any
) -> None:
    """A dot with its 95 % interval along x, or upright along y; `place` is the other coordinate."""
    style = {"fmt": marker, "color": colour, "capsize": 3, "markersize": 5, **more}
    if upright:
        axes.errorbar(place, value.mean, yerr=value.half_width, **style)
    else:
        axes.errorbar(value.mean, place, xerr=value.half_width, **style)


def _bounds(declared: dict[str, Any], claim: dict[str, Any], metric: str) -> list[float]:
    """Where "no loss" ends, or "no difference" on both sides; none where a claim has no margin."""
    worse = -1 if COLUMNS[metric].more_is_better else 1
    sides = {"no loss": [worse], "no difference": [-1, 1]}.get(claim.get("kind"), [])
    return [side * claim.get("margins", declared.get("margins"))[metric] for side in sides]


def title(metric: str) -> str:
    """The metric with its unit."""
    return f"{COLUMNS[metric].heading}{UNITS.get(metric, '')}"


def caption(declared: dict[str, Any], results: dict[str, Result]) -> str:
    """What is shown, at which scale, and of how many images."""
    record = next(iter(results.values())).record
    return (
        f"{declared['title']} at {record['scale']} scale: mean and 95 % interval, {record['data']['images']} images of "
        f"{record['data']['photographs']} photographs"
    )
