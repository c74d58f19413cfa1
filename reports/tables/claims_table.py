"""The claims page: each claim of claims.yaml, what was tested, our figure, and what came of it."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from reports.declared import every_table
from reports.tables.assembly import Part, assembled, listed, text_cells
from reports.tables.claims import Tested, as_lines, judge_all, whole
from reports.tables.columns import heads
from reports.tables.cost_table import PAPERS_POSITIONS
from reports.tables.efficiency_table import read_efficiency
from reports.tables.generation_results import Record, as_result, hours, memory, positions, read_generators, stages
from reports.tables.results import Result
from reports.tables.rows import HERE, read_table
from reports.tables.table import DASH, Claim, Row, Table

NOT_TESTABLE = "not testable at this scale"
VERDICTS = {
    "holds": ("**holds**", "**hold**"),
    "does not hold": ("**does not hold**", "**do not hold**"),
    "not resolved": ("is not resolved", "are not resolved"),
    NOT_TESTABLE: ("is not testable", "are not testable"),
    "not measured": ("was not measured", "were not measured"),
}
SHOWN = ("PSNR", "LPIPS (AlexNet)")  # of four metrics; the others stand in the tests below


def claims_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Judges every claim at every scale; the first scale's stand there measured or not."""
    written = yaml.safe_load((HERE / "claims.yaml").read_text(encoding="utf-8"))
    rows, claims = [], []
    materials = {scale: _Material(results / scale) for scale in scales}
    for claim in written:
        for scale, material in materials.items():
            row, tests = _judged(claim, material, scale)
            if scale == scales[0] or row.cells["verdict"].text != "not measured":
                rows.append(row)
                claims += tests
    measured = sorted({row.commit for row in rows if row.result})
    origin = f"Ours: {' and '.join(scales)} scale, commits {', '.join(measured)}." if measured else "Not measured."
    introduction = _tally(rows, scales) if measured else "Nothing has been measured here yet."
    return assembled(name, declared, heads("claims"), [Part(rows, origin, [], introduction, claims)])


class _Material:
    """What was measured at one scale; every table is read and judged once."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.tables = every_table()
        self.generators = read_generators(results)
        self.efficiency = read_efficiency(self.tables["efficiency"], results)
        self._judged: dict[str, tuple[Tested, dict[str, Result | None]]] = {}

    def judged(self, name: str) -> tuple[Tested, dict[str, Result | None]]:
        """The tested claims of a table, and the result of every row."""
        if name not in self._judged:
            declared = self.tables[name]
            if declared.get("reader") == "generators":
                ours = {row: as_result(record, self.results) for row, record in self.generators.items()}
            else:
                ours = read_table(declared, self.results)[0]
            self._judged[name] = judge_all(declared, ours, self.results.name), ours
        return self._judged[name]


def _judged(claim: dict[str, Any], material: _Material, scale: str) -> tuple[Row, list[Claim]]:
    tests: list[Claim] = []
    if "table" in claim:
        every, ours = material.judged(claim["table"])
        chosen = [test for test in every if any(_matches(test[0], wanted) for wanted in claim["tests"])]
        tests = as_lines(chosen, scale)
        statistic, figure, verdict = _statistic(claim, tests), _figure(tests), _verdict(chosen)
        result = ours.get(next((test["to"] for test, lines in chosen if lines), None))
        file, commit = (result.path, result.record["commit"]) if result else (None, None)
    else:
        kind, judge = ("generators", judge_cost) if "cost" in claim else ("efficiency", judge_counts)
        declared = claim["cost"] if "cost" in claim else claim["counts"]
        records = material.generators if "cost" in claim else material.efficiency
        statistic, figure, verdict = judge(declared, records)
        last = declared["to"] if "cost" in claim else declared["to"][-1]
        file, commit = material.results / kind / f"{last}.json", (records.get(last) or {}).get("commit")
    texts = {"claim": claim["claim"], "where": claim["where"], "paper": claim["paper"], "statistic": statistic}
    cells = text_cells(texts | {"ours": figure, "verdict": verdict})
    if verdict == "not measured":
        return Row("ours, not measured", cells, ours=True, group=claim["claim"]), tests
    path = file.as_posix() if file else None
    return Row(f"ours, {scale} scale", cells, True, scale, claim["claim"], result=path, commit=commit), tests


def _matches(claim: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(claim.get(name) == value for name, value in wanted.items())


def _statistic(claim: dict[str, Any], tests: list[Claim]) -> str:
    of = "; ".join(dict.fromkeys(test.of for test in tests if test.of))
    return ". ".join(part for part in (of or "paired difference", claim.get("margin", "")) if part)


def _figure(tests: list[Claim]) -> str:
    """The differences of the tests, of two metrics where there are more, and how many tests came out how."""
    lines: dict[str, list[str]] = {}
    metrics = {test.metric for test in tests}
    for test in tests:
        name = test.metric.rsplit(" ", 1)[0].replace(" (dB)", "")
        if test.difference is not None and (len(metrics) < 3 or name in SHOWN):
            difference, interval = test.said
            lines.setdefault(test.text, []).append(f"{name} {difference} ({interval})")
    parts = [f"{text}: {', '.join(numbers)}" for text, numbers in lines.items()]
    verdicts = [test.verdict for test in tests if test.claimed not in ("nothing", DASH)]
    if verdicts:
        others = [f"{verdicts.count(name)} {name}" for name in ("reversed", "not resolved") if name in verdicts]
        parts.append(", ".join([f"{verdicts.count('holds')} of {len(verdicts)} tests hold", *others]))
    return "; ".join(parts)


def _verdict(chosen: Tested) -> str:
    claimed = [lines for claim, lines in chosen if claim.get("kind") != "measured"]
    tests = [line for lines in claimed for line in lines]
    if not tests and any(lines for _, lines in chosen):
        return f"{NOT_TESTABLE}: none of our rows has as many tokens"
    if tests and all(line.interval is None for line in tests):
        return f"{NOT_TESTABLE}: one seed"
    return whole(claimed)


def _tally(rows: list[Row], scales: list[str]) -> str:
    """How many claims came out how, a sentence a scale; what was not measured stands with the first."""
    sentences = []
    for scale in scales:
        of_scale = [row for row in rows if row.scale == scale or (row.scale is None and scale == scales[0])]
        outcomes = Counter(row.cells["verdict"].text.split(":")[0] for row in of_scale)
        counts = [f"{outcomes[name]} {verbs[outcomes[name] > 1]}" for name, verbs in VERDICTS.items() if outcomes[name]]
        sentences += [f"At the {scale} scale, of {len(of_scale)} claims {listed(counts)}."] * bool(counts)
    return " ".join(sentences)


def judge_cost(declared: dict[str, Any], records: dict[str, Record | None]) -> tuple[str, str, str]:
    """What is measured, our figure and the verdict of "`to` costs less than `from`".

    One run a row gives no interval; where the speeds of its slowest and fastest iterations are recorded, the verdict is
    of the range between them. The paper's savings are those of half as many positions: where ours has as many in both
    rows, they cannot show, whatever was measured.
    """
    name, first, second = declared["of"], records.get(declared["from"]), records.get(declared["to"])
    statistic = f"ratio of {name}, one run per row"
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
    most = declared["at_most"]
    statistic = f"ratio of the counted multiply-adds of one call at the published size; the claim holds up to {most}"
    rows = {name: [counted.get(row) for row in declared[name]] for name in ("from", "to")}
    if None in rows["from"] or None in rows["to"]:
        return statistic, "", "not measured"
    first, second = (sum(record["counts"]["network"]["gmacs"] for record in rows[name]) for name in ("from", "to"))
    ratio = second / first
    figure = f"{ratio:.2f} times ({second:.1f} against {first:.1f} GMACs), at equal numbers of calls"
    return statistic, figure, "holds" if ratio <= most else "does not hold"


UNITS = {"training time": "h", "training memory": "MB", "seconds per sample": "s"}


def _quantity(name: str, record: Record) -> float | None:
    if name == "seconds per sample":
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
