"""`python -m benchmarks [NAME ...] [--device cuda] [--json FILE]`, run from the root of the repository.

A benchmark is a module of this folder, named in MODULES, with a function `run()` that returns a list of rows: dicts of
text and numbers, at least case, variant and reference (empty: compared with nothing); `benchmarks.timing.compare` makes
them. The benchmarks of ON_GPU take a device.
"""

import argparse
import json
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.timing import machine

ON_GPU = ("partition", "splat", "networks", "training")
MODULES = (*ON_GPU, "evaluation", "calibrate")


def table(rows: list[dict]) -> str:
    """The rows as text, with a column for each key; KEY, KEY_min and KEY_max share one."""
    columns = list(dict.fromkeys(key for row in rows for key in row if not key.endswith(("_min", "_max"))))

    def cell(row: dict, key: str) -> str:
        value = row.get(key, "")
        if f"{key}_min" in row:
            return f"{value:.2f} ({row[f'{key}_min']:.2f}-{row[f'{key}_max']:.2f})"
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    lines = [columns, *([cell(row, key) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main() -> None:
    """Runs the benchmarks that are named, or all, prints their table and writes it as JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks among {', '.join(MODULES)}; all by default"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=f"cuda: only {', '.join(ON_GPU)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the rows and the machine")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in MODULES:
            parser.error(f"no benchmark {name!r}; there are: {', '.join(MODULES)}")
        if arguments.device == "cuda" and name not in ON_GPU:
            parser.error(f"{name} does not run with --device cuda; these do: {', '.join(ON_GPU)}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device")
    rows, failed = [], []
    record = machine(arguments.device)
    for name in arguments.names or (MODULES if arguments.device == "cpu" else ON_GPU):
        try:
            run = import_module(f"benchmarks.{name}").run
            rows += run(arguments.device) if name in ON_GPU else run()
        except Exception:  # the others are measured all the same
            traceback.print_exc()
            failed.append(name)
        if arguments.json:  # after each benchmark, so that a kill leaves what has been measured
            unfinished = arguments.json.with_name(arguments.json.name + ".part")
            unfinished.write_text(json.dumps({"machine": record, "rows": rows}, indent=2) + "\n")
            os.replace(unfinished, arguments.json)
    print(table(rows))
    print("\n".join(f"{key}: {value}" for key, value in record.items()))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
