"""`python tools/same_results.py A B`: whether two folders of results are of the same numbers, timings aside.

Two runs of the pipeline on one machine are to give the same files, but for what they measure of time and memory: that
is listed here, and nothing else may differ.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

# Files, relative to results/SCALE -> the entries of them that differ from run to run: times, speeds and peaks of
# memory, and the names that MLflow invents. "*" stands for one key, or for all of the file.
DIFFERS = {
    "*/*.json": ["seconds"],
    "cost/*.json": [
        *(f"training.*.{name}" for name in ("peak_memory_mb",)),
        *(f"training.*.{kind}iterations_per_second" for kind in ("", "slowest_", "fastest_")),
        "inference.peak_memory_mb",
        "inference.samples_per_second",
    ],
    "efficiency/*.json": [
        *(f"measured.{name}" for name in ("encode_ms", "decode_ms", "network_ms", "latency_ms", "latency_std_ms")),
        *("measured.throughput_per_s", "measured.peak_memory_mb", "memory.training_measured_mb"),
    ],
    "published.json": ["*"],
}
# Of the report, what shows those: these tables, figures drawn from them, and the pages made of both.
REPORTS = ["tables/efficiency.*", "tables/generation_training.*", "tables/claims.*", "figures/speed_quality.*"]
REPORTS += ["site/*"]
COMMITS = ["commit", "trained_at"]  # of two commits


def main(arguments: list[str]) -> int:
    """Prints what differs; returns 1 if anything does that must not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="results/SCALE")
    parser.add_argument("second", type=Path, help="the same of another run")
    parser.add_argument("--other-commit", action="store_true", help="the commits may differ")
    options = parser.parse_args(arguments)
    found = list(differences(options.first, options.second, COMMITS if options.other_commit else []))
    print("\n".join(found) or f"{options.first} and {options.second}: the same but for times")
    return bool(found)


def differences(first: Path, second: Path, more: list[str]) -> Iterator[str]:
    """A line for every file or entry that is not the same in both, though it should be.

    Args:
        first: folder of results.
        second: another.
        more: entries of every JSON file that may differ besides.
    """
    names = [{str(path.relative_to(each)) for path in each.glob("**/*") if path.is_file()} for each in (first, second)]
    for name in sorted(names[0] ^ names[1]):
        yield f"{name}: in one of them alone"
    for name in sorted(names[0] & names[1]):
        one, other = first / name, second / name
        if one.suffix != ".json":
            if one.read_bytes() != other.read_bytes():
                yield f"{name}: differs"
            continue
        free = [entry for pattern, entries in DIFFERS.items() if fnmatch(name, pattern) for entry in entries] + more
        yield from (f"{name}: {entry} differs" for entry in _entries(*map(_read, (one, other)), free))


def _entries(one: Any, other: Any, free: list[str], place: str = "") -> Iterator[str]:
    if place and any(fnmatch(place, pattern) and place.count(".") == pattern.count(".") for pattern in free):
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _entries(one.get(key), other.get(key), free, f"{place}.{key}".lstrip("."))
    elif one != other:
        yield place


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
