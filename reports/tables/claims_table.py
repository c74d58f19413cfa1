"""The claims page: each claim of claims.yaml, what was tested, our figure, and what came of it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from reports.declared import every_table
from reports.tables.assembly import Part, assembled, our_row, text_cells
from reports.tables.claims import Tested, as_lines, counted, judge_all, whole
from reports.tables.columns import columns_of
from reports.tables.cost_table import PAPERS_POSITIONS, hours, memory, seconds, stages
from reports.tables.efficiency_table import read_efficiency
from reports.tables.generation_table import read_generators
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
COSTS = {"training time": (hours, "h"), "training memory": (memory, "MB"), "seconds per sample": (seconds, "s")}
Results = dict[str, Result]


class Judged(NamedTuple):
    """What came of a claim at one scale."""

    statistic: str
    figure: str
    verdict: str
    result: Result | None = None  # of the row that the claim is made for; None: not measured
    tests: Sequence[Claim] = ()


def claims_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Judges every claim at every scale; the first scale's stand there measured or not."""
    written = yaml.safe_load((HERE / "claims.yaml").read_text(encoding="utf-8"))
    of_scales = [_judged(written, results / scale) for scale in scales]
    rows, tests = [], []
    for place, claim in enumerate(written):
        for judged in of_scales:
            if judged[place].result or judged is of_scales[0]:
                rows.append(_row(claim, judged[place]))
                tests += judged[place].tests
    commits = sorted({row.commit for row in rows if row.result})
    origin = f"Ours: {' and '.join(scales)} scale, commits {', '.join(commits)}." if commits else "Not measured."
    introduction = _tally(rows, scales) if commits else "Nothing has been measured here yet."
    return assembled(name, declared, columns_of("claims"), [Part(rows, origin, [], introduction, tests)])


def _judged(written: list[dict[str, Any]], results: Path) -> list[Judged]:
    """What came of every claim at the scale of results/SCALE; every table is read and judged once."""
    tables, generators = every_table(), read_generators(results)
    efficiency = read_efficiency(tables["efficiency"], results)

    @cache
    def tested(table: str) -> tuple[Tested, Results]:
        of_samples = tables[table].get("reader") == "generators"
        ours = generators if of_samples else read_table(tables[table], results)
        return judge_all(tables[table], ours), ours

    def judge(claim: dict[str, Any]) -> Judged:
        if "cost" in claim:
            return judge_cost(claim["cost"], generators)
        if "counts" in claim:
            return judge_counts(claim["counts"], efficiency)
        return judge_tests(claim, *tested(claim["table"]), results.name)

    return [judge(claim) for claim in written]


def _row(claim: dict[str, Any], judged: Judged) -> Row:
    texts = {name: claim[name] for name in ("claim", "where", "paper")} | {"statistic": judged.statistic}
    cells = text_cells(texts | {"ours": judged.figure, "verdict": judged.verdict})
    if judged.result is None:
        return Row("ours, not measured", cells, ours=True, group=claim["claim"])
    return our_row(f"ours, {judged.result.record['scale']} scale", cells, None, judged.result, claim["claim"])


def _tally(rows: list[Row], scales: list[str]) -> str:
    """How many claims came out how, a sentence a scale; what was not measured stands with the first."""
    sentences = []
    for scale in scales:
        verdicts = [row.cells["verdict"].text for row in rows if (row.scale or scales[0]) == scale]
        counts = counted((verdict.split(":")[0] for verdict in verdicts), VERDICTS)
        sentences += [f"At the {scale} scale, of {len(verdicts)} claims {counts}."] * bool(counts)
    return " ".join(sentences)


def judge_tests(claim: dict[str, Any], tested: Tested, ours: Results, scale: str) -> Judged:
    """What came of a claim by the tests of a table that it has chosen."""
    chosen = [test for test in tested if any(wanted.items() <= test[0].items() for wanted in claim["tests"])]
    tests = as_lines(chosen, scale)
    of = "; ".join(dict.fromkeys(test.of for test in tests if test.of)) or "paired difference"
    statistic = ". ".join(part for part in (of, claim.get("margin")) if part)
    result = ours.get(next((test["to"] for test, lines in chosen if lines), None))
    return Judged(statistic, _figure(tests), _verdict(chosen), result, tests)


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


def judge_cost(declared: dict[str, Any], ours: Results) -> Judged:
    """What is measured, our figure and the verdict of "`to` costs less than `from`".

    One run a row gives no interval; where the speeds of its slowest and fastest iterations are recorded, the verdict is
    of the range between them. The paper's savings are those of half as many positions: where ours has as many in both
    rows, they cannot show, whatever was measured.
    """
    name, pair = declared["of"], [ours.get(declared[end]) for end in ("to", "from")]
    (cost, unit), statistic = COSTS[name], f"ratio of {name}, one run per row"
    costs = [result and cost(result.record) for result in pair]
    if None in costs:
        return Judged(statistic, "", "not measured")
    figure = f"{costs[0] / costs[1]:.2f} times ({costs[0]:.4g} against {costs[1]:.4g} {unit})"
    verdict = "not resolved: one run, without a spread"
    slowest, fastest = (
        [hours(result.record, f"{which}_iterations_per_second") for result in pair] for which in ("slowest", "fastest")
    )
    if name == "training time" and None not in (*slowest, *fastest):
        # Its fastest iterations beside the other's slowest, and the other way round.
        best, worst = fastest[0] / slowest[1], slowest[0] / fastest[1]
        figure += f"; {best:.2f} to {worst:.2f} between slowest and fastest iterations"
        verdict = "holds" if worst < 1 else "does not hold" if best > 1 else "not resolved"
    counts = [list(stages(result.record).values())[-1]["positions"] for result in pair]
    if None in counts or counts[0] >= counts[1]:
        ours, papers = (
            " against ".join("?" if count is None else str(count) for count in positions)
            for positions in (counts, reversed(PAPERS_POSITIONS.values()))
        )
        verdict = f"{NOT_TESTABLE}: {ours} positions, where the paper has {papers}"
    else:
        figure += f"; {counts[0]} positions against {counts[1]}"
    return Judged(statistic, figure, verdict, pair[0])


def judge_counts(declared: dict[str, Any], counted: Results) -> Judged:
    """The same of the multiply-adds of the rows `to` and `from`: there is no chance in them, and no scale."""
    most = declared["at_most"]
    statistic = f"ratio of the counted multiply-adds of one call at the published size; the claim holds up to {most}"
    rows = {name: [counted.get(row) for row in declared[name]] for name in ("from", "to")}
    if None in rows["from"] or None in rows["to"]:
        return Judged(statistic, "", "not measured")
    first, second = (sum(row.record["counts"]["network"]["gmacs"] for row in rows[name]) for name in ("from", "to"))
    ratio = second / first
    figure = f"{ratio:.2f} times ({second:.1f} against {first:.1f} GMACs), at equal numbers of calls"
    return Judged(statistic, figure, "holds" if ratio <= most else "does not hold", rows["to"][-1])
