"""The figure of data sets: the same trained rows on each kind of picture, ours beside the paper's."""

from typing import Any

from matplotlib.figure import Figure

from gpstoken.metrics import summarise
from reports.figures.intervals import interval, title
from reports.figures.style import Look, grey_looks, headline, legend_below, page
from reports.tables.results import Result

METRICS = {"psnr": "psnr", "lpips_alexnet": "lpips"}
FEW = 3  # photographs up to which an interval would say nothing


def domains(
    declared: dict[str, Any],
    results: dict[str, Result],
    published: list[dict[str, str]],
    styles: dict[str, Look],
) -> Figure | None:
    """Means with 95 % intervals of every row on every data set, and the paper's numbers in panels of their own.

    Args:
        declared: the table: rows with `dataset`, `of` and `name`, and `datasets` with `title` and `paper`.
        results: its measured rows; None comes back without any.
        published: the paper's rows.
        styles: how rows look, by the name that the table gives them.
    """
    if not results:
        return None
    kinds = list(declared["datasets"])
    methods = list(dict.fromkeys([declared["ours"][row]["name"] for row in results] + [p["method"] for p in published]))
    # Side by side within the place of a data set, so that intervals do not hide each other.
    shift = {method: 0.6 * ((place + 0.5) / len(methods) - 0.5) for place, method in enumerate(methods)}
    styles = styles | grey_looks(method for method in methods if method not in styles)
    figure = page(5.0)
    panels = figure.subplots(2, 2)
    for (ours, theirs), (metric, papers_metric) in zip(panels, METRICS.items(), strict=True):
        for row, result in results.items():
            label = declared["ours"][row]
            look, value = styles[label["name"]], summarise(result.values[metric], result.sources)
            place = kinds.index(label["dataset"]) + shift[label["name"]]
            if result.record["data"]["photographs"] > FEW:
                interval(ours, value, place, look.colour, upright=True, marker=look.marker, label=label["name"])
            else:
                ours.plot(place, value.mean, look.marker, color=look.colour, markersize=5, markerfacecolor="white")
        for printed in published:
            kind = [
                place
                for place, entry in enumerate(declared["datasets"].values())
                if entry["paper"] == printed["dataset"]
            ]
            look = styles[printed["method"]]
            for place in kind:
                theirs.plot(place + shift[printed["method"]], float(printed[papers_metric]), look.marker,
                            color=look.colour, markersize=6, label=printed["method"])  # fmt: skip
        ours.set_ylabel(f"{title(metric)}, ours")
        theirs.set_ylabel(f"{title(papers_metric)}, paper")
        groups = {declared["ours"][row]["dataset"]: result.record["data"] for row, result in results.items()}
        counts = [f"{kind}\n(n = {groups[kind]['photographs'] if kind in groups else 0})" for kind in kinds]
        names = [entry["paper"].replace("_", "-") for entry in declared["datasets"].values()]
        for axes, labels in ((ours, counts), (theirs, names)):
            axes.set_xticks(range(len(kinds)), labels)
            axes.set_xlim(-0.5, len(kinds) - 0.5)
    record = next(iter(results.values())).record
    headline(
        figure,
        f"{declared['title']}. Ours: {record['scale']} scale, mean and 95 % interval; n: photographs, of faces people. "
        f"Hollow, without interval: {FEW} or fewer, a demonstration only.",
    )
    legend_below(figure, 4)
    return figure
