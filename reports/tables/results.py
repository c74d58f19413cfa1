"""Result files as the commands of gpstoken write them, read and checked."""

import csv
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np

from gpstoken.commands.seeds import SAME_BUDGET
from reports.names import named_result
from reports.tables.columns import COLUMNS, INCEPTION_COLUMNS


@dataclass(frozen=True)
class Result:
    """A result file: one row of a table."""

    path: Path
    record: dict[str, Any]
    values: dict[str, np.ndarray] = field(default_factory=dict)  # float[seeds, images] of every metric
    indices: list[int] = field(default_factory=list)  # of the images
    sources: list[str] = field(default_factory=list)  # the photograph of each image

    @property
    def evaluated(self) -> dict[str, Any]:
        """What was evaluated: row, focus, image_size, num_tokens of the whole image and code.

        `code` has the shape of the tokens, the numbers of each (`channels`) and `codebook_size`, None without one; with
        a codebook, one of the numbers is an index.
        """
        return self.record["evaluated"]

    @property
    def numbers(self) -> int:
        """How many the code of an image holds; an index into a codebook is one."""
        return self.evaluated["num_tokens"] * self.evaluated["code"]["channels"]

    @property
    def index_bits(self) -> int:
        """The bits of a token's index into a codebook; 0 without one."""
        size = self.evaluated["code"]["codebook_size"]
        return (size - 1).bit_length() if size else 0

    @property
    def bits_of_bytes(self) -> int:
        """The bits of an image's code if each of its real numbers takes 8."""
        numbers = self.evaluated["code"]["channels"] - bool(self.evaluated["code"]["codebook_size"])
        return self.evaluated["num_tokens"] * (8 * numbers + self.index_bits)

    @property
    def bits(self) -> int | None:
        """The bits of an image's code; None where its numbers were not rounded to bits."""
        count, code = self.evaluated["num_tokens"], self.evaluated["code"]
        if code["codebook_size"] and code["channels"] == 1:
            return count * self.index_bits
        return self.evaluated.get("bits")


def read_record(path: Path, group: str = "", scale: str = "") -> Result | None:
    """A result file that says of itself what its place says; None where there is none.

    Raises:
        ValueError: if it does not say its row, group and scale, or they are not its name and the group and scale given.
    """
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    named = named_result(path, record)
    if named.row != path.stem or named.group != (group or named.group):
        raise ValueError(f"{path}: holds the row {named.row!r} of the group {named.group!r}")
    if named.scale != (scale or named.scale):
        raise ValueError(f"{path}: belongs to the scale {named.scale!r}, not {scale!r}; move it to that scale's folder")
    return Result(path, record)


def read_result(path: Path, scale: str = "") -> Result | None:
    """Reads ROW.json and ROW.csv of evaluated images; None where the row has not been evaluated.

    Raises:
        ValueError: as `read_record`, and if the two files do not belong together or a distance bears a name that is not
            its own.
    """
    result = read_record(path, scale=scale)
    if result is None:
        return None
    record, table = result.record, path.with_suffix(".csv")
    if not table.is_file():
        raise ValueError(f"{path}: the numbers of its images, {table.name}, are missing")
    for name, score in record.get("scores", {}).items():
        if name not in COLUMNS:
            raise ValueError(f"{path}: score {name!r} has no column in reports/tables/columns.yaml")
        # A distance of another network must never pass for an FID.
        label = score.get("label", COLUMNS[name].heading)
        if name in INCEPTION_COLUMNS and not label.replace("-Inception", "").endswith(("FID", "KID")):
            raise ValueError(f"{path}: score {name!r} is labelled {label!r}, which is no Inception distance")
    seeds, count = record["seeds"], record["data"]["images"]
    with table.open(newline="") as file:
        rows = {(int(row["seed"]), int(row["index"])): row for row in csv.DictReader(file)}
    indices = sorted({index for _, index in rows})
    if len(indices) != count or set(rows) != {(seed, index) for seed in seeds for index in indices}:
        raise ValueError(f"{table}: expected each of {count} images once for each of the seeds {seeds}")
    values = {
        name: np.array([[float(rows[seed, index][name]) for index in indices] for seed in seeds])
        for name in record["metrics"]
    }
    return Result(path, record, values, indices, [rows[seeds[0], index]["source"] for index in indices])


def trained_alike(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two trainings had the same budget: as many multiply-adds, or as many steps of equal batches.

    What is computed in closed form has none.
    """
    if first.get("closed_form") or second.get("closed_form"):
        return True
    spent = [training.get("multiply_adds") for training in (first, second)]
    steps = [{name: value for name, value in each.items() if name != "multiply_adds"} for each in (first, second)]
    return steps[0] == steps[1] or (None not in spent and math.isclose(*spent, rel_tol=SAME_BUDGET))


# How two values of `SHARED` are compared, where not by equality.
ALIKE: dict[str, Callable[[Any, Any], bool]] = {"training": trained_alike}
# What rows of a table share, by the words of an error; of a tuple, an error says the first part alone.
SHARED: dict[str, Callable[[Result], Any]] = {
    "scale": lambda result: result.record["scale"],
    "seeds": lambda result: result.record["seeds"],
    "training": lambda result: result.record["training"],
    "batch size": lambda result: result.record["training"]["batch_size"],
    "images": lambda result: (
        f"fingerprint {result.record['data']['fingerprint'][:12]}",
        result.record["data"]["fingerprint"],
    ),
    "photographs": lambda result: (
        f"{len(result.indices)} images of {len(set(result.sources))}",
        result.indices,
        result.sources,
    ),
    "real images": lambda result: {name: part["sha256"][:12] for name, part in result.record["reference"].items()},
    "numbers of samples": lambda result: sorted({score["count"] for score in result.record["scores"].values()}),
}


def check_same(results: Iterable[Result], *names: str) -> None:
    """Refuses rows that differ from the first of them in something of `SHARED`.

    Raises:
        ValueError: naming the two rows and the first thing that differs.
    """
    first, *others = [*results] or [None]
    for name, other in product(names, others):
        values = [SHARED[name](result) for result in (first, other)]
        if not ALIKE.get(name, eq)(*values):
            rows = f"{first.record['row']} and {other.record['row']}"
            said = " and ".join(str(value[0] if isinstance(value, tuple) else value) for value in values)
            raise ValueError(f"{rows}: measured with different {name}, {said}")


def check_same_origin(results: list[Result], sizes_differ: bool = False, budgets_differ: bool = False) -> None:
    """Refuses rows that cannot be compared with each other: of another scale, other images, seeds or budget.

    With `sizes_differ`, images of several sizes, of the same views of the same photographs, may be compared; with
    `budgets_differ`, rows that were not trained alike.

    Raises:
        ValueError: naming the first two rows that differ, and in what.
    """
    check_same(results, "scale")
    for size in {result.evaluated["image_size"] if sizes_differ else None: None for result in results}:
        check_same((result for result in results if size in (None, result.evaluated["image_size"])), "images")
    check_same(results, "photographs", "seeds", *([] if budgets_differ else ["training"]))
