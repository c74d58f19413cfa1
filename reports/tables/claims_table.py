"""The claims page: each claim of claims.yaml, what was tested, our figure, and what came of it."""

from pathlib import Path
from typing import Any

import yaml

from reports.declared import every_table
from reports.tables.assembly import Part, assembled, text_cells
from reports.tables.claims import Tested, judge_all
from reports.tables.columns import heads
from reports.tables.cost_claims import NOT_TESTABLE, judge_cost, judge_counts
from reports.tables.efficiency_table import read_efficiency
from reports.tables.generation_results import as_result, read_generators
from reports.tables.results import Result
from reports.tables.rows import HERE, read_table
from reports.tables.table import DASH, Claim, Row, Table
from reports.tables.verdicts import as_claims, whole

VERDICTS = ("holds", "does not hold", "not resolved", NOT_TESTABLE, "not measured")
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
    introduction = _tally(rows) if measured else "Ours: not measured."
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
            self._judged[name] = judge_all(declared, ours), ours
        return self._judged[name]


def _judged(claim: dict[str, Any], material: _Material, scale: str) -> tuple[Row, list[Claim]]:
    tests: list[Claim] = []
    if "table" in claim:
        every, ours = material.judged(claim["table"])
        chosen = [test for test in every if any(_matches(test[0], wanted) for wanted in claim["tests"])]
        tests = as_claims(chosen, ours, scale)
        statistic, figure, verdict = _statistic(claim, tests), _figure(tests), _verdict(chosen)
        result = ours.get(next((test["to"] for test, verdicts in chosen if verdicts), None))
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
    claimed = [(claim, verdicts) for claim, verdicts in chosen if claim.get("kind") != "measured"]
    tests = [verdict for _, verdicts in claimed for verdict in verdicts]
    if not tests and any(verdicts for _, verdicts in chosen):
        return f"{NOT_TESTABLE}: no row of ours has as many tokens"
    if tests and all(verdict.difference.seeds < 2 for verdict in tests):
        return f"{NOT_TESTABLE}: one seed"
    return whole(claimed)


def _tally(rows: list[Row]) -> str:
    verdicts = [row.cells["verdict"].text.split(":")[0] for row in rows]
    counts = ", ".join(f"**{verdict}** {verdicts.count(verdict)}" for verdict in VERDICTS if verdict in verdicts)
    return f"The claims of the paper and of its rebuttal, tested on what was measured here. Of {len(rows)}: {counts}."
