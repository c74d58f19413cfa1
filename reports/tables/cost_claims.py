"""The paper's claims of speed: from what our generators cost, and from what their networks count to."""

from typing import Any

from reports.tables.cost_table import PAPERS_POSITIONS
from reports.tables.generation_results import Record, hours, memory, positions, stages

NOT_TESTABLE = "not testable at this scale"


def judge_cost(declared: dict[str, Any], records: dict[str, Record | None]) -> tuple[str, str, str]:
    """What is measured, our figure and the verdict of "`to` costs less than `from`".

    One run a row gives no interval; where the speeds of its slowest and fastest iterations are recorded, the verdict is
    of the range between them. The paper's savings are those of half as many positions: where ours has as many in both
    rows, they cannot show, whatever was measured.
    """
    name, first, second = declared["of"], records.get(declared["from"]), records.get(declared["to"])
    statistic = f"ratio of {name}, one run a row"
    costs = [None if record is None else _quantity(name, record) for record in (first, second)]
    if None in costs:
        return statistic, "", "not measured"
    ratio = costs[1] / costs[0]
    figure = f"{ratio:.2f} times ({costs[1]:.4g} against {costs[0]:.4g} {UNITS[name]})"
    ends = _range(first, second) if name == "training time" else None
    if ends is not None:
        figure += f"; {ends[0]:.2f} to {ends[1]:.2f} between slowest and fastest iterations"
    counts = [positions(list(stages(record).values())[-1]) for record in (first, second)]
    if None in counts or counts[1] >= counts[0]:
        ours = " against ".join("?" if count is None else str(count) for count in reversed(counts))
        papers = " against ".join(map(str, reversed(PAPERS_POSITIONS.values())))
        return statistic, figure, f"{NOT_TESTABLE}: {ours} positions, where the paper has {papers}"
    figure += f"; {counts[1]} positions against {counts[0]}"
    if ends is None:
        return statistic, figure, "not resolved: one run, without a spread"
    return statistic, figure, "holds" if ends[1] < 1 else "does not hold" if ends[0] > 1 else "not resolved"


def judge_counts(declared: dict[str, Any], counted: dict[str, Record | None]) -> tuple[str, str, str]:
    """The same of multiply-adds: there is no chance in them, and no scale. It holds up to the ratio `at_most`.

    Args:
        declared: rows `from` and `to`, and `at_most`.
        counted: records of efficiency by row.
    """
    statistic = f"ratio of counted multiply-adds of a call at the published size; holds up to {declared['at_most']}"
    rows = {name: [counted.get(row) for row in declared[name]] for name in ("from", "to")}
    if None in rows["from"] or None in rows["to"]:
        return statistic, "", "not measured"
    first, second = (sum(record["counts"]["network"]["gmacs"] for record in rows[name]) for name in ("from", "to"))
    ratio = second / first
    figure = f"{ratio:.2f} times ({second:.1f} against {first:.1f} GMACs), at equal numbers of calls"
    return statistic, figure, "holds" if ratio <= declared["at_most"] else "does not hold"


UNITS = {"training time": "h", "training memory": "MB", "seconds a sample": "s"}


def _quantity(name: str, record: Record) -> float | None:
    if name == "seconds a sample":
        speed = record.get("cost", {}).get("inference", {}).get("samples_per_second")
        return 1 / speed if speed else None
    return {"training time": hours, "training memory": memory}[name](record)


def _range(first: Record, second: Record) -> tuple[float, float] | None:
    """The ratio at best and at worst: its fastest iterations beside the other's slowest, and the other way round."""
    slow, fast = (
        [hours(record, f"{which}_iterations_per_second") for record in (first, second)]
        for which in ("slowest", "fastest")
    )
    return None if None in (*slow, *fast) else (fast[1] / slow[0], slow[1] / fast[0])
