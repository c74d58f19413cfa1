"""The claims page: each claim of claims.yaml, what was tested, our figure, and what came of it."""

from pathlib import Path
from typing import Any

import yaml

from reports.declared import every_table
from reports.tables import generation_claims
from reports.tables.claims import Tested, judge_all
from reports.tables.columns import DASH
from reports.tables.cost_claims import NOT_TESTABLE, judge_cost, judge_counts
from reports.tables.efficiency_table import read_efficiency
from reports.tables.generation_results import read_generators
from reports.tables.rows import HERE, read_table
from reports.tables.table import Cell, Claim, Head, Row, Table, finished
from reports.tables.verdicts import as_claims, whole

VERDICTS = ("holds", "does not hold", "not resolved", NOT_TESTABLE, "not measured")
SHOWN = ("PSNR", "LPIPS (AlexNet)")  # of four metrics; the others stand in the tests below
HEADS = [
    Head("claim", "claim"),
    Head("where", "where the paper says it"),
    Head("paper", "the paper's figure"),
    Head("statistic", "tested"),
    Head("ours", "ours, with 95 % interval"),
    Head("verdict", "verdict"),
]
NOTES = [
    "`holds`: in every test and metric. `does not hold`: reversed in one or more. `not resolved`: neither, since an "
    "interval contains the bound or a row is missing. `not testable at this scale`: what the claim rests on is not "
    "there, as the verdict says.",
    "A verdict is of the scale that its row names: of its data, sizes and budgets, not of the paper's.",
    "PSNR and LPIPS (AlexNet) stand for all metrics here; the verdict is of all, and every test stands below.",
]


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
    columns, rows = finished(HEADS, rows)
    measured = [row for row in rows if row.result]
    commits = sorted({row.commit for row in measured})
    return Table(
        name=name,
        title=declared["title"],
        paper=declared["paper"],
        introduction=_tally(rows) if measured else "Ours: not measured.",
        columns=columns,
        rows=rows,
        origin=f"Ours: {' and '.join(scales)} scale, commits {', '.join(commits)}." if measured else "Not measured.",
        notes=NOTES,
        claims=claims,
    )


class _Material:
    """What was measured at one scale; every table is read and judged once."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.tables = every_table()
        self.generators = read_generators(results)
        self.efficiency = read_efficiency(self.tables["efficiency"], results)
        self._judged: dict[str, tuple[Tested, dict[str, Path | None], dict[str, str]]] = {}

    def judged(self, name: str) -> tuple[Tested, dict[str, Path | None], dict[str, str]]:
        """The tested claims of a table, and the result file and commit of every row."""
        if name not in self._judged:
            self._judged[name] = self._judge(name)
        return self._judged[name]

    def _judge(self, name: str) -> tuple[Tested, dict[str, Path | None], dict[str, str]]:
        declared = self.tables[name]
        if declared.get("reader") == "generators":
            files = {row: self.results / "generators" / f"{row}.json" for row in self.generators}
            commits = {row: record["commit"] for row, record in self.generators.items() if record is not None}
            return generation_claims.judge_all(declared, self.generators), files, commits
        ours, _ = read_table(declared, self.results)
        found = {row: result for row, result in ours.items() if result is not None}
        commits = {row: result.record["commit"] for row, result in found.items()}
        return judge_all(declared, ours), {row: result.path for row, result in found.items()}, commits


def _judged(claim: dict[str, Any], material: _Material, scale: str) -> tuple[Row, list[Claim]]:
    tests: list[Claim] = []
    file = commit = None
    if "table" in claim:
        tested, files, commits = material.judged(claim["table"])
        chosen = [each for each in tested if any(_matches(each[0], wanted) for wanted in claim["tests"])]
        tests = as_claims(chosen, files, scale)
        statistic, figure, verdict = _statistic(claim, tests), _figure(tests), _verdict(chosen)
        to = next((each["to"] for each, verdicts in chosen if verdicts), None)
        file, commit = files.get(to), commits.get(to)
    elif "cost" in claim:
        statistic, figure, verdict = judge_cost(claim["cost"], material.generators)
        last = claim["cost"]["to"]
        file, record = material.results / "generators" / f"{last}.json", material.generators.get(last)
        commit = record and record["commit"]
    else:
        statistic, figure, verdict = judge_counts(claim["counts"], material.efficiency)
        last = claim["counts"]["to"][-1]
        file, record = material.results / "efficiency" / f"{last}.json", material.efficiency.get(last)
        commit = record and record["commit"]
    texts = {"claim": claim["claim"], "where": claim["where"], "paper": claim["paper"], "statistic": statistic}
    texts |= {"ours": figure, "verdict": verdict}
    measured = verdict != "not measured"
    row = Row(
        source=f"ours, {scale} scale" if measured else "ours, not measured",
        cells={name: Cell(text) for name, text in texts.items() if text},
        ours=True,
        scale=scale if measured else None,
        group=claim["claim"],
        result=file.as_posix() if measured and file else None,
        commit=commit if measured else None,
    )
    return row, tests


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
    said = [f"{text}: {', '.join(numbers)}" for text, numbers in lines.items()]
    verdicts = [test.verdict for test in tests if test.claimed not in ("nothing", DASH)]
    if verdicts:
        others = [f"{verdicts.count(each)} {each}" for each in ("reversed", "not resolved") if each in verdicts]
        said.append(", ".join([f"{verdicts.count('holds')} of {len(verdicts)} tests hold", *others]))
    return "; ".join(said)


def _verdict(chosen: Tested) -> str:
    claimed = [(claim, verdicts) for claim, verdicts in chosen if claim.get("kind") != "measured"]
    found = [verdict for _, verdicts in claimed for verdict in verdicts]
    if not found and any(verdicts for _, verdicts in chosen):
        return f"{NOT_TESTABLE}: no row of ours has as many tokens"
    if found and all(verdict.difference.seeds < 2 for verdict in found):
        return f"{NOT_TESTABLE}: one seed"
    return whole(claimed)


def _tally(rows: list[Row]) -> str:
    verdicts = [row.cells["verdict"].text.split(":")[0] for row in rows]
    told = ", ".join(f"**{each}** {verdicts.count(each)}" for each in VERDICTS if each in verdicts)
    return f"The claims of the paper and of its rebuttal, tested on what was measured here. Of {len(rows)}: {told}."
