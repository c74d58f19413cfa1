"""`python tools/same_results.py A B`: whether two folders of results hold the same numbers, timings aside.

Two runs of the pipeline on one machine must give the same files except for measured times and memory. The entries that
may differ are listed here; nothing else may.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

# Files, relative to results/SCALE -> their entries that differ from run to run: times, speeds, peaks of memory, and the
# names that MLflow invents. "*" stands for one key, or for the whole file.
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
# The parts of the report that show these entries: tables, figures drawn from them, and the pages made of both.
REPORTS = ["tables/efficiency.*", "tables/generation_training.*", "tables/claims.*", "figures/speed_quality.*"]
REPORTS += ["site/*"]
COMMITS = ["commit", "trained_at"]  # entries that differ between two commits


def main(arguments: list[str]) -> int:
    """Prints the differences that must not be; returns 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="results/SCALE")
    parser.add_argument("second", type=Path, help="the same folder of another run")
    parser.add_argument("--other-commit", action="store_true", help="the commits may differ")
    options = parser.parse_args(arguments)
    lines = list(differences(options.first, options.second, COMMITS if options.other_commit else []))
    print("\n".join(lines) or f"{options.first} and {options.second}: the same except for times")
    return bool(lines)


def differences(first: Path, second: Path, more: list[str]) -> Iterator[str]:
    """Yields a line for every file or entry that should be the same in both folders and is not.

    Args:
        first: folder of results.
        second: another folder of results.
        more: further entries that may differ in every JSON file.
    """
    names = [{str(path.relative_to(root)) for path in root.glob("**/*") if path.is_file()} for root in (first, second)]
    for name in sorted(names[0] ^ names[1]):
        yield f"{name}: only in one of them"
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
