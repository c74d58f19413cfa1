"""Figures of means with their 95 % intervals; the paper's numbers, of other networks and pictures, in panels beside.

A figure is of a table as tables.yaml declares it, its measured `results`, the paper's `published` rows (which look like
ours of the same method, or grey) and the `styles` of ours; None comes back where too little has been measured.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any

from matplotlib.figure import Figure

from reports.figures import style
from reports.figures.style import METRICS, Looks, Published, Results, dot, estimate, headline, interval, page
from reports.tables.claims import bounds_of, judge
from reports.tables.columns import COLUMNS, tokens_cell
from reports.tables.results import Result
from reports.tables.tokenizer_table import FEW_PHOTOGRAPHS

AMOUNTS: dict[str, Callable[[Result], int]] = {
    "numbers per image (ours)": lambda result: result.numbers,
    "tokens per image (ours)": lambda result: result.evaluated["num_tokens"],
}
KILOBYTES = (2.5, 5, 10, 20, 40)  # ticks


def rate_distortion(declared: dict[str, Any], results: Results, published: Published, styles: Looks) -> Figure | None:
    """PSNR and LPIPS of ours over numbers and over tokens an image; the paper's over tokens in panels of their own.

    `declared` are the rows: their `name`, and `paper` for the paper's row of the same method.
    """
    if not results:
        return None
    papers = {entry["paper"]: styles[row] for row, entry in declared.items() if entry.get("paper")}
    papers = style.grey_looks((row["method"] for row in published), papers)
    # A method has one name in the legend, also where the paper calls it by another.
    names = {entry["paper"]: entry["name"] for entry in declared.values() if entry.get("paper")}
    figure = page(5.2 + 0.17 * ((len(papers) + 5) // 5))
    panels = figure.subplots(2, 3, sharex="col", width_ratios=[1, 1, 1.15])
    for (*ours, theirs), (metric, papers_metric) in zip(panels, METRICS.items(), strict=True):
        for axes, amount in zip(ours, AMOUNTS.values(), strict=True):
            for row, result in results.items():
                code = result.evaluated["code"]
                is_index = code["codebook_size"] and code["channels"] == 1
                hollow = {"markerfacecolor": "white"} if is_index else {}
                look = {"label": declared[row]["name"], "elinewidth": 1} | hollow
                interval(axes, estimate(result, metric), amount(result), styles[row], upright=True, **look)
            axes.set_ylabel(f"{COLUMNS[metric].titled}, ours")
        for row in published:
            if row.get(papers_metric):
                tokens, method = tokens_cell(row["tokens"]).value, row["method"]
                dot(theirs, tokens, float(row[papers_metric]), papers[method], label=names.get(method, method))
        theirs.set_ylabel(f"{COLUMNS[papers_metric].titled}, paper")
    for axes, label in zip(panels[1], [*AMOUNTS, "tokens (paper)"], strict=True):
        axes.set_xlabel(label)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.12)
    text = "Paper: ImageNet 256 px. Hollow marks: a token is an index into a codebook. An index counts as one number."
    headline(figure, f"Tokens and quality. Ours: {_measured(results, ', ')}. {text}")
    style.legend_below(figure, 5)
    return figure


def rates(declared: dict[str, Any], results: Results) -> Figure | None:
    """PSNR and LPIPS over bytes an image: a line for every method and every number of bits that its numbers have."""
    lines: dict[str, list[Result]] = {}
    for row, result in results.items():
        bits = result.evaluated.get("token_bits")
        lines.setdefault(declared["ours"][row]["name"] + (f", {bits} bit" if bits else ""), []).append(result)
    if len(lines) < 2:
        return None
    figure = page(3.9)
    for axes, metric in zip(figure.subplots(1, 2), METRICS, strict=True):
        for look, (name, line) in zip(style.looks(lines).values(), lines.items(), strict=True):
            line = sorted(line, key=lambda result: result.bits)
            means = [estimate(result, metric) for result in line]
            style.means(axes, [result.bits / 8 for result in line], means, look, alpha=0.08, markersize=4, label=name)
        axes.set_xscale("log", base=2)
        axes.set_xticks([1000 * kilobytes for kilobytes in KILOBYTES], [f"{kilobytes:g}" for kilobytes in KILOBYTES])
        axes.set(xlabel="kilobytes an image", title=COLUMNS[metric].titled)
    headline(figure, f"{declared['title']} at {_measured(results)}")
    style.legend_below(figure, 4)
    return figure


def domains(declared: dict[str, Any], results: Results, published: Published, styles: Looks) -> Figure | None:
    """Means of every row on every data set, and the paper's numbers; `styles` are by the name that a row has here."""
    if not results:
        return None
    sets, labels = declared["datasets"], {row: declared["ours"][row] for row in results}
    methods = list(dict.fromkeys([label["name"] for label in labels.values()] + [row["method"] for row in published]))
    # Side by side within the place of a data set, so that intervals do not hide each other.
    shift = {method: 0.6 * ((place + 0.5) / len(methods) - 0.5) for place, method in enumerate(methods)}
    styles = style.grey_looks(methods, styles)
    photographs = {labels[row]["dataset"]: result.record["data"]["photographs"] for row, result in results.items()}
    our_sets = [f"{kind}\n(n = {photographs.get(kind, 0)})" for kind in sets]
    papers_sets = [entry["paper"] for entry in sets.values()]
    figure = page(5.0)
    for (ours, theirs), (metric, papers_metric) in zip(figure.subplots(2, 2), METRICS.items(), strict=True):
        for row, result in results.items():
            name, value = labels[row]["name"], estimate(result, metric)
            place = list(sets).index(labels[row]["dataset"]) + shift[name]
            if result.record["data"]["photographs"] > FEW_PHOTOGRAPHS:
                interval(ours, value, place, styles[name], upright=True, label=name)
            else:
                dot(ours, place, value.mean, styles[name], markersize=5, markerfacecolor="white")
        for row in (row for row in published if row["dataset"] in papers_sets):
            method, place = row["method"], papers_sets.index(row["dataset"])
            dot(theirs, place + shift[method], float(row[papers_metric]), styles[method], label=method)
        ours.set_ylabel(f"{COLUMNS[metric].titled}, ours")
        theirs.set_ylabel(f"{COLUMNS[papers_metric].titled}, paper")
        for axes, names in ((ours, our_sets), (theirs, [name.replace("_", "-") for name in papers_sets])):
            axes.set(xticks=range(len(sets)), xticklabels=names, xlim=(-0.5, len(sets) - 0.5))
    scale = next(iter(results.values())).record["scale"]
    ours = f"Ours: {scale} scale, mean and 95 % interval; n counts photographs (for faces, people)."
    hollow = f"Hollow marks have no interval: with {FEW_PHOTOGRAPHS} photographs or fewer they only demonstrate."
    headline(figure, f"{declared['title']}. {ours} {hollow}")
    style.legend_below(figure, 4)
    return figure


def tokens(declared: dict[str, Any], results: Results, published: Published) -> Figure | None:
    """PSNR over two or more token counts: our means, paired gains over the count before, the paper's one picture."""
    if len(results) < 2:
        return None
    counts = {row: result.evaluated["num_tokens"] for row, result in results.items()}
    papers = {int(row["tokens"]): float(row["psnr"]) for row in published}
    figure = page(2.9)
    left, middle, right = figure.subplots(1, 3)
    for row, result in results.items():
        interval(left, estimate(result, "psnr"), counts[row], style.OURS, upright=True)
    left.set_title(f"ours: {COLUMNS['psnr'].titled}")
    for first, second in _claims_about(declared, results):
        verdict = judge(results[first], results[second], "psnr")
        interval(middle, verdict.difference, counts[second], style.DIFFERENCE, upright=True)
    middle.axhline(0, color="grey", linewidth=0.8)
    middle.set_title(f"ours: {COLUMNS['psnr'].titled} over the\nprevious count, per image")
    dot(right, list(papers), list(papers.values()), style.PAPER, markersize=5)
    right.set_title(f"paper, one picture: {COLUMNS['psnr'].titled}")
    for axes, ticks in ((left, counts.values()), (middle, counts.values()), (right, papers)):
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(ticks), [str(tick) for tick in ticks])
        axes.set(xlim=(min(ticks) / 1.5, max(ticks) * 1.5), xlabel="tokens")
    headline(figure, f"{declared['title']} at {_measured(results)}")
    return figure


def arms(declared: dict[str, Any], results: Results, styles: Looks) -> Figure | None:
    """Means of the rows that have the table's metrics `figure`, and the paired differences that claims are about."""
    metrics, sizes_differ = declared["figure"], declared.get("sizes_differ", False)
    results = {row: result for row, result in results.items() if set(metrics) <= result.values.keys()}
    if not results:
        return None
    names = {row: declared["ours"][row]["name"] for row in results}
    pairs = _claims_about(declared, results)
    differences = [f"{names[second]}\nminus {names[first]}" for first, second in pairs]
    figure = page(1.6 + 0.32 * (len(results) + 1.4 * len(pairs)))
    panels = figure.subplots(2, 2, height_ratios=[len(results), max(1.4 * len(pairs), 1)], sharey="row")
    for (above, below), metric in zip(panels.T, metrics, strict=True):
        better, side = ("more", "right") if COLUMNS[metric].more_is_better else ("less", "left")
        for place, (row, result) in enumerate(results.items()):
            value = estimate(result, metric)
            interval(above, value, place, styles[row])
            above.plot(value.per_seed, [place] * value.seeds, "|", color="black", markersize=9, alpha=0.6)
        above.set(yticks=range(len(results)), yticklabels=names.values(), ylim=(len(results) - 0.5, -0.5))
        above.set_title(f"{COLUMNS[metric].titled}, {better} is better")
        for place, ((first, second), claim) in enumerate(pairs.items()):
            verdict = judge(results[first], results[second], metric, sizes_differ=sizes_differ)
            interval(below, verdict.difference, place, style.DIFFERENCE)
            for bound in _bounds(declared, claim, metric):
                below.plot([bound] * 2, [place - 0.35, place + 0.35], ":", color=style.PAPER.colour)
        below.axvline(0, color="grey", linewidth=0.8)
        below.set(yticks=range(len(pairs)), yticklabels=differences, ylim=(max(len(pairs), 1) - 0.5, -0.5))
        below.set_xlabel(f"paired difference ({side} of 0: better)")
        below.locator_params(axis="x", nbins=4)
    bounded = any(_bounds(declared, claim, metrics[0]) for claim in pairs.values())
    bound = "; dotted: what counts as no loss or no difference" if bounded else ""
    headline(figure, f"{declared['title']} at {_measured(results)}; ticks mark single seeds{bound}")
    return figure


def _claims_about(declared: dict[str, Any], results: Results) -> dict[tuple[str, str], dict[str, Any]]:
    """The claims about two measured rows; of several about the same two, the first."""
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for claim in declared.get("claims", []):
        if {claim.get("from"), claim.get("to")} <= results.keys():
            pairs.setdefault((claim["from"], claim["to"]), claim)
    return pairs


def _bounds(declared: dict[str, Any], claim: dict[str, Any], metric: str) -> list[float]:
    """Where "no loss" ends, or "no difference" on both sides; none where a claim has no margin."""
    side = 1 if COLUMNS[metric].more_is_better else -1
    return [side * bound for bound in bounds_of(declared, claim, metric) if bound and isfinite(bound)]


def _measured(results: Results, separator: str = ": ") -> str:
    """The scale of measured rows, and what their numbers are."""
    record = next(iter(results.values())).record
    images = f"{record['data']['images']} images of {record['data']['photographs']} photographs"
    return f"{record['scale']} scale{separator}mean and 95 % interval, {images}"
