"""`python -m tests.faults.hostile.fuzz N`: N hostile inputs over all formats, and the table of what came of them."""

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

BLOCK = 1000
GIGABYTES = 6  # of addresses beyond those of a process that has read nothing


def main() -> int:
    """Returns 1 where an input was neither read nor refused in one line, within time and memory."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hostile.fuzz", description=__doc__)
    parser.add_argument("inputs", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs (default: 0)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--formats", nargs="+", help="default: all, by their shares")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the inputs of findings are kept")
    options = parser.parse_args()
    from tests.faults.hostile.formats import FORMATS

    chosen = {name: FORMATS[name].share for name in options.formats or FORMATS}
    whole = sum(chosen.values())
    counts = {name: max(1, round(options.inputs * share / whole)) for name, share in chosen.items()}
    blocks = [
        (name, start, min(start + BLOCK, count), options.seed)
        for name, count in counts.items()
        for start in range(0, count, BLOCK)
    ]
    random.Random(options.seed).shuffle(blocks)
    results, found, began = defaultdict(Counter), {}, time.monotonic()
    with ProcessPoolExecutor(options.processes) as pool:
        futures = {pool.submit(_run, *block): block for block in blocks}
        for done, future in enumerate(as_completed(futures), 1):
            name = futures[future][0]
            try:
                tally, findings = future.result()
            except BrokenProcessPool:
                print(f"a process died, at the latest in {futures[future]}", file=sys.stderr)
                return 1
            results[name] += tally
            for what, files in findings.items():
                if (name, what) not in found:
                    found[name, what] = files
                    print(f"{name}: {what}", flush=True)
                    if options.keep:
                        _keep(options.keep / f"{len(found):03d}", files)
            if done % 50 == 0:
                told = f"{sum(each['inputs'] for each in results.values()):,} of {options.inputs:,}"
                print(f"{told} after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"\n| format | inputs | refused | accepted | other exceptions | ms an input |\n|---|{'---:|' * 5}")
    for name in chosen:
        row = results[name]
        print(
            f"| {name} | {row['inputs']:,} | {row['refused']:,} | {row['accepted']:,} | {row['findings']:,}"
            f" | {row['microseconds'] / max(1, row['inputs']) / 1000:.2f} |"
        )
    total = sum(results.values(), Counter())
    print(f"| all | {total['inputs']:,} | {total['refused']:,} | {total['accepted']:,} | {total['findings']:,} | |")
    print(f"{time.monotonic() - began:.0f} s with {options.processes} processes, seed {options.seed}")
    return 1 if found else 0


def _run(name: str, start: int, stop: int, seed: int) -> tuple[Counter, dict[str, dict[str, bytes]]]:
    """Inputs number `start` to `stop` of a format; of each kind of finding the first."""
    import torch

    from tests.faults.hostile.formats import FORMATS
    from tests.faults.hostile.trying import attempt, write

    torch.set_num_threads(1)
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + GIGABYTES * 2**30, resource.RLIM_INFINITY))
    tally, findings, there = Counter(), {}, {}
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        began = time.monotonic()
        for number in range(start, stop):
            write(folder, FORMATS[name].draw(random.Random(f"{seed}/{name}/{number}")), there)
            accepted, wrong = attempt(name, folder, number)
            tally["findings" if wrong else "accepted" if accepted else "refused"] += 1
            if wrong:
                findings.setdefault(wrong.replace(str(folder), "DIR"), dict(there))
        tally["inputs"] += stop - start
        tally["microseconds"] += int(1e6 * (time.monotonic() - began))
    finally:
        shutil.rmtree(folder)
    return tally, findings


def _keep(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
