"""The figure of rate and distortion: quality over tokens, and over the numbers they hold, of every tokenizer."""

from math import log2, prod
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpstoken.metrics import Estimate, summarise
from reports.figures.intervals import interval, title
from reports.figures.style import Look, grey_looks, headline, legend_below, page
from reports.tables.results import Result

COUNTED = "gpstoken_m128"  # the row of the studies of token counts
METRICS = {"psnr": "psnr", "lpips_alexnet": "lpips"}  # ours, and the paper's nearest


class Rate(NamedTuple):
    """What the code of one image holds.

    Attributes:
        tokens: their number.
        channels: numbers a token; an index of a codebook is one.
        bits: of an index; None where tokens are real numbers.
    """

    tokens: int
    channels: int | None
    bits: float | None

    @property
    def numbers(self) -> int | None:
        """Of one image; None where it is not recorded."""
        return None if self.channels is None else self.tokens * self.channels


def rate_of(result: Result) -> Rate:
    """The rate of the evaluated images; in files without `code` a token of GPSToken is 5 + C numbers."""
    tokens, code = result.evaluated["num_tokens"], result.evaluated.get("code")
    if code is None:
        features = result.record["tokenizer"]["init_args"].get("feature_channels")
        return Rate(tokens, None if features is None else 5 + features, None)
    if code["codebook_size"]:
        return Rate(tokens, 1, log2(code["codebook_size"]))
    return Rate(tokens, code["channels"], None)


def rate_distortion(
    declared: dict[str, dict[str, str]],
    results: dict[str, Result],
    counts: dict[str, Result],
    published: list[dict[str, str]],
    styles: dict[str, Look],
) -> Figure | None:
    """PSNR and LPIPS of ours over numbers and over tokens an image; the paper's over tokens in panels of their own.

    Args:
        declared: our rows as tables.yaml has them: `name`, and `paper` for the paper's row of the same method.
        results: the measured ones; None comes back without any.
        counts: one trained row at several token counts, drawn as a line.
        published: the paper's rows.
        styles: how our rows look; the paper's look like ours of the same method.
    """
    if not results:
        return None
    names = {row: entry["name"] for row, entry in declared.items()}
    papers = {entry["paper"]: styles[row] for row, entry in declared.items() if entry.get("paper")}
    others = [row["method"] for row in published if row["method"] not in papers]
    papers |= grey_looks(others)
    figure = page(5.2 + 0.17 * ((len(papers) + 5) // 5))
    panels = figure.subplots(2, 3, sharex="col", width_ratios=[1, 1, 1.15])
    for (by_numbers, by_tokens, theirs), (metric, papers_metric) in zip(panels, METRICS.items(), strict=True):
        for axes, numbers in ((by_numbers, True), (by_tokens, False)):
            _line(axes, counts, metric, numbers, styles)
            for row, result in results.items():
                _ours(axes, result, metric, numbers, names[row], styles[row])
            axes.set_ylabel(f"{title(metric)}, ours")
        for row in published:
            if row.get(papers_metric):
                x, look = prod(int(side) for side in row["tokens"].split("x")), papers[row["method"]]
                theirs.plot(x, float(row[papers_metric]), look.marker, color=look.colour, label=row["method"],
                            markersize=6, linestyle="none")  # fmt: skip
        theirs.set_ylabel(f"{title(papers_metric)}, paper")
    for axes, text in zip(
        panels[1], ("numbers an image (ours)", "tokens an image (ours)", "tokens (paper)"), strict=True
    ):
        axes.set_xlabel(text)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.margins(x=0.12)
    record = next(iter(results.values())).record
    headline(
        figure,
        f"Rate, distortion. Ours: {record['scale']} scale, mean and 95 % interval, {record['data']['images']} images "
        f"of {record['data']['photographs']} photographs. Paper: ImageNet 256 px. Hollow: a token is an index of a "
        "codebook, counted as one number.",
    )
    legend_below(figure, 5)
    return figure


def _ours(axes: Axes, result: Result, metric: str, numbers: bool, name: str, look: Look) -> None:
    rate = rate_of(result)
    x = rate.numbers if numbers else rate.tokens
    if x is None or metric not in result.values:
        return
    hollow = {"markerfacecolor": "white"} if rate.bits else {}
    value = summarise(result.values[metric], result.sources)
    interval(axes, value, x, look.colour, upright=True, marker=look.marker, label=name, elinewidth=1, **hollow)


def _line(axes: Axes, counts: dict[str, Result], metric: str, numbers: bool, styles: dict[str, Look]) -> None:
    points: list[tuple[int, Estimate]] = []
    for result in counts.values():
        rate = rate_of(result)
        x = rate.numbers if numbers else rate.tokens
        if x is not None:
            points.append((x, summarise(result.values[metric], result.sources)))
    if len(points) < 2:
        return
    xs, values = zip(*sorted(points, key=lambda point: point[0]), strict=True)
    axes.plot(xs, [value.mean for value in values], ":", color=styles[COUNTED].colour, linewidth=1.2, marker=".",
              label="GPSToken-M128, other counts", zorder=1)  # fmt: skip
