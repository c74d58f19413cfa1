"""The tables of tables.yaml that are of images reconstructed: our result files beside the paper's numbers."""

import csv
from operator import itemgetter
from pathlib import Path
from typing import Any

from reports.tables.results import Result, check_same, check_same_origin, read_result

HERE = Path(__file__).parent
# Two sizes of codes count as equal up to this share: channels and grids are whole numbers.
EQUAL = 0.05


def read_table(declared: dict[str, Any], results: Path) -> dict[str, Result]:
    """The result files that a table names and those of its sweeps, as far as they are there, from results/SCALE.

    Raises:
        ValueError: if the files are of different scales, seeds or training budgets, those of one data set are of
            different images, or a study evaluated another row than its name says.
    """
    read = {row: _read(results, row, label, declared.get("study")) for row, label in declared["ours"].items()}
    ours = {row: result for row, result in read.items() if result is not None}
    of_data_set: dict[Any, list[Result]] = {}
    for row, result in ours.items():
        label = declared["ours"][row]
        if (of := label.get("of", row)) != result.evaluated["row"]:
            raise ValueError(f"{results}: the file of {row} evaluated the row {result.evaluated['row']!r}, not {of!r}")
        of_data_set.setdefault(label.get("dataset"), []).append(result)
    if not declared.get("budgets_differ"):
        check_same(ours.values(), "seeds", "training")
    for group in of_data_set.values():
        check_same_origin(group, declared.get("sizes_differ", False), declared.get("budgets_differ", False))
    return (_equal(declared["equal"], ours) if "equal" in declared else ours) | read_sweeps(declared, results)[0]


def _equal(equal: dict[str, Any], ours: dict[str, Result]) -> dict[str, Result]:
    """The results whose images have as many tokens, or bits, as those of the row `to`."""
    sizes = {
        row: result.bits_of_bytes if equal["in"] == "bits" else result.evaluated["num_tokens"]
        for row, result in ours.items()
    }
    same = sizes.get(equal["to"])
    return {row: ours[row] for row, size in sizes.items() if same and abs(size - same) <= EQUAL * same}


def read_recognised(declared: dict[str, Any], row: str, result: Result, results: Path) -> dict[str, Result]:
    """The results of the study `recognition` that stand beside a row of a table, by metric, as far as they are there.

    Raises:
        ValueError: if they are of another row, size, token count, of other seeds or of another training budget.
    """
    found = {}
    for metric in declared.get("recognised", []):
        name = f"{metric}_{declared['ours'].get(row, {}).get('recognised', row)}"
        arm = read_result(results / "studies" / "recognition" / f"{name}.json", results.name)
        if arm is None:
            continue
        for fact in ("row", "image_size", "num_tokens"):
            if arm.evaluated[fact] != result.evaluated[fact]:
                other = f"{fact} {arm.evaluated[fact]}, and {row} with {result.evaluated[fact]}"
                raise ValueError(f"{arm.path}: was measured with {other}")
        check_same([result, arm], "seeds", "training")
        found[metric] = arm
    return found


def published(declared: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of the paper's tables, as printed, with the "source" that tables.yaml words."""
    return [
        {"method": table.get("method", "")} | printed | {"source": table["source"].format(**printed)}
        for table in declared["published"]
        for printed in read_published(table["file"])
    ]


def read_published(name: str) -> list[dict[str, str]]:
    """The rows of a table in reports/published, as printed."""
    with (HERE.with_name("published") / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_sweeps(declared: dict[str, Any], results: Path) -> tuple[dict[str, Result], list[str]]:
    """Every value of a swept argument that was measured as the base row was, and in words what was measured otherwise.

    Values that nobody declared are found too; in the order of the sweeps and of their values.
    """
    found, otherwise = {}, []
    base = read_result(results / "tokenizers" / f"{declared['base']}.json") if "sweeps" in declared else None
    for sweep in declared.get("sweeps", {}):
        values = []
        for path in sorted((results / "sweeps").glob(f"{sweep}=*.json")):
            result = read_result(path)
            try:
                if base is None:
                    raise ValueError(f"no result of {declared['base']} to compare it with")
                check_same_origin([base, result])
                if more := [name for name in changed_arguments(base, result) if name != sweep]:
                    raise ValueError(f"further arguments differ from those of {declared['base']}: {', '.join(more)}")
            except ValueError as difference:
                otherwise.append(f"{path.stem}: {difference}")
            else:
                values.append((sweep_of(sweep, result), path.stem, result))
        found |= {row: result for _, row, result in sorted(values, key=itemgetter(0, 1))}
    return found, otherwise


def sweep_of(argument: str, result: Result) -> float:
    """The value of a swept argument that a result was measured with.

    Raises:
        ValueError: if its tokenizer has no such argument.
    """
    try:
        return float(result.record["tokenizer"]["init_args"][argument])
    except KeyError:
        raise ValueError(f"{result.path}: its tokenizer has no {argument}; is it a sweep of it?") from None


def varied(declared: dict[str, Any], row: str) -> str | None:
    """The swept argument that a row varies, by its name ARGUMENT=VALUE or as tables.yaml says; None of other rows."""
    sweep = declared["ours"].get(row, {"sweep": row.partition("=")[0]}).get("sweep")
    return sweep if sweep in declared.get("sweeps", {}) else None


def changed_arguments(base: Result, result: Result) -> list[str]:
    """The arguments of the tokenizer in which a result differs from another."""
    first, other = (each.record["tokenizer"]["init_args"] for each in (base, result))
    return [name for name in first | other if first.get(name) != other.get(name)]


def _read(results: Path, row: str, label: dict[str, str], study: str | None) -> Result | None:
    if "of" not in label:
        return read_result(results / "tokenizers" / f"{row}.json", results.name)
    result = read_result(results / "studies" / str(study) / f"{row}.json", results.name)
    if result is None and "dataset" in label:
        itself = read_result(results / "tokenizers" / f"{label['of']}.json", results.name)
        if itself is not None and itself.record["data"].get("dataset") == label["dataset"]:
            return itself
    return result
