"""`tools/gpu`: the CUDA tests, the benchmarks and the training of `small` on a lent GPU machine, in under nine minutes.

    tools/gpu prepare [--from FILE]   here: packs scratch/gpu, which travels along, and prints the call to make
    tools/gpu [PART ...]              there: runs the parts one after the other and writes their results to $OUT
    tools/gpu --dry-run               on any CPU: the same at the smallest size, and then a second run

The training goes on from the weights in FILE: small.safetensors, which an earlier run brought back.
"""

import argparse
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from gpstoken.files import provenance  # noqa: E402
from gpstoken.files.weights import read_origin_of  # noqa: E402
from gpstoken.files.writing import replacing  # noqa: E402
from tools.gpu_parcel import NETWORK, RECIPE, WEIGHTS, data_of, pack, phases, prepare, settings  # noqa: E402

CARRIED, WORK = ROOT / "scratch/gpu", ROOT / "scratch/gpu-work"
SECONDS = {"tests": 90, "benchmarks": 150, "training": math.inf}  # the limit of each part
TESTS = (
    "test_on_gpu.py", "splat", "partition", "test_triton_compiles.py", "test_tokenizer_golden.py", "test_loading.py",
    "training/test_precision.py",
)  # fmt: skip
BATCHES = 16  # batch on a GPU over the batch on two CPU cores
STARTING, SAVING, STOPPING = 15, 15, 15  # seconds of a training before its clock runs, after its last step; grace
SMALLEST = "from benchmarks import __main__, calibrate; calibrate.CASES = calibrate.CASES[:1]; __main__.main()"
SHOWN = 25  # lines of a log that the summary shows when its part has failed
DRY = {
    "model": {"init_args": {
        "tokenizer": {"init_args": {
            "num_tokens": 16, "feature_channels": 4, "image_size": 64, "grid_size": 16, "width": 16, "depth": 1,
            "heads": 2, "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_multipliers": [1, 1, 2],
            "norm_groups": 2,
        }},
        "token_range": [4, 32],
    }},
    "data": {"init_args": {"image_size": 32, "working_size": 48, "epoch_length": 4, "num_workers": 0}},
    "trainer": {"max_steps": 2, "val_check_interval": 2, "accelerator": "cpu"},
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run of this tool.

    Attributes:
        carried: what `prepare` has packed.
        out: folder of the results.
        work: folder of everything else.
        end: when the last part must have ended, by `time.monotonic`.
        dry: whether everything is tiny and on the CPU.
    """

    carried: Path
    out: Path
    work: Path
    end: float
    dry: bool

    def left(self, part: str = "training") -> float:
        """Seconds that a part may take; a dry run may be on a busy machine."""
        return max(1.0, min(self.end - time.monotonic(), SECONDS[part] * (10 if self.dry else 1)))


def execute(run: Run, parts: Iterable[str]) -> bool:
    """Runs the parts; after each step of one the results are complete on disk. Returns whether all have passed."""
    shutil.rmtree(run.work, ignore_errors=True)
    for folder in (run.out, run.work / "logs", run.work / "site"):
        folder.mkdir(parents=True, exist_ok=True)
    for wheel in sorted(run.carried.glob("wheels/*.whl")):
        try:
            version(wheel.name.split("-")[0])
        except PackageNotFoundError:  # pure Python, so that unpacking installs it
            zipfile.ZipFile(wheel).extractall(run.work / "site")
    sys.path.append(str(run.work / "site"))  # for the record of versions
    summary = {"origin": provenance.record("cpu" if run.dry else "cuda"), "steps": []}
    for part in parts:
        try:
            for step in {"tests": tests, "benchmarks": benchmarks, "training": training}[part](run):
                summary["steps"].append(step)
                write(run, summary)
        except Exception:
            summary["steps"].append({"name": part, "outcome": "failed", "seconds": 0, "detail": traceback.format_exc()})
            write(run, summary)
    return all(step["outcome"] == "passed" for step in summary["steps"])


def ended(run: Run, name: str, command: list, seconds: float) -> dict:
    """Runs a command with its output in logs/NAME.log: {"name", "outcome", "seconds", "detail": ""}."""
    options = {"cwd": ROOT, "env": environment(run), "start_new_session": True, "preexec_fn": hear_interrupts}
    start = time.monotonic()
    with (run.work / "logs" / f"{name}.log").open("w") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, **options)
        outcome = "out of time"
        try:
            code = process.wait(seconds)
            outcome = "passed" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest shows its failures, a training ends its step and saves it
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOPPING)
        with suppress(ProcessLookupError):  # what it has left running
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return {"name": name, "outcome": outcome, "seconds": round(time.monotonic() - start, 1), "detail": ""}


def environment(run: Run) -> dict[str, str]:
    """That of every command: the packages that travelled, and a scratch folder of this run."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    kept["PYTHONPATH"] = f"{ROOT}{os.pathsep}{run.work / 'site'}"
    return kept | {"GPSTOKEN_SCRATCH": str(run.work / "fits"), "PYTHONUNBUFFERED": "1"}


def hear_interrupts() -> None:
    """Undoes what a shell does for jobs in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def tests(run: Run) -> Iterator[dict]:
    """The tests that need a GPU, or two that do not."""
    files = [f"tests/{name}" for name in (("test_gaussians.py", "test_presets.py") if run.dry else TESTS)]
    command = [sys.executable, "-m", "pytest", "-v", "-rN", "-W", "default", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", *([] if run.dry else ["-n", 8, "--dist", "worksteal"]), *files]
    step = ended(run, "tests", command, run.left("tests"))
    lines = (run.work / "logs/tests.log").read_text().splitlines()
    words = Counter(re.findall("PASSED|SKIPPED|FAILED|ERROR", "\n".join(line for line in lines if "%]" in line)))
    yield step | {"detail": ", ".join(f"{count} {word.lower()}" for word, count in words.items())}


def benchmarks(run: Run) -> Iterator[dict]:
    """`python -m benchmarks`, which writes its file anew after each benchmark."""
    command = ["-c", SMALLEST, "calibrate"] if run.dry else ["-m", "benchmarks", "--device", "cuda"]
    command = [sys.executable, *command, "--json", run.out / "benchmarks.json"]
    step = ended(run, "benchmarks", command, run.left("benchmarks"))
    with suppress(OSError):
        step["detail"] = f"{len(json.loads((run.out / 'benchmarks.json').read_text())['rows'])} rows"
    yield step


def training(run: Run) -> Iterator[dict]:
    """The phases, each from the weights of the one before; where there are weights already, all but the first phase."""
    given = run.carried / WEIGHTS
    weights, first, *others = given if given.is_file() else None, *phases()
    todo = others if weights else [first, *others]
    if run.dry:
        todo = todo[-1:] if weights else [first]
    costs = [cost(phase) for phase in todo]
    for place, phase in enumerate(todo):
        # Beside what each start takes, a phase gets its share of the recipe's pixels, but at least about a fifth.
        shares = [max(each, sum(costs) / 5) for each in costs[place:]]
        seconds = STARTING + SAVING + (run.left() - len(shares) * (STARTING + SAVING)) * shares[0] / sum(shares)
        # Without workers if it did not start with them, as where there is too little shared memory.
        for changes in ({}, {"data.init_args.num_workers": 0}):
            step, checkpoint = fitted(run, phase, max(1.0, min(seconds, run.left())), weights, changes)
            if checkpoint:
                weights = checkpoint
                break
        yield step


def cost(phase: Path) -> int:
    """Pixels that a phase of the recipe shows."""
    data = data_of(phase)
    return settings(phase)["trainer"]["max_steps"] * data["batch_size"] * data["image_size"] ** 2


def fitted(run: Run, phase: Path, seconds: float, weights: Path | None, changes: dict) -> tuple[dict, Path | None]:
    """Trains a phase for a time and exports its weights: the step, and the checkpoint if there is one."""
    batch = 2 if run.dry else BATCHES * data_of(phase)["batch_size"]
    tiny = run.work / "dry.yaml"
    tiny.write_text(yaml.safe_dump(DRY))
    files = [RECIPE, phase, RECIPE.with_suffix("") / "gpu.yaml", *([tiny] if run.dry else [])]
    options = {
        "data.init_args.root": run.carried / "embedded",
        "data.init_args.prepared": run.work / "prepared",
        "data.init_args.batch_size": batch,
        "model.init_args.perceptual_weights": run.carried / NETWORK.name,
        "model.init_args.weights": weights or "null",
        "trainer.callbacks+": "gpstoken.training.TimedSteps",
        "trainer.callbacks.seconds": max(1.0, seconds - STARTING - SAVING),
        "output": run.work / "runs" / phase.stem,
    }
    command = [sys.executable, "-m", "gpstoken.cli", "fit", *(word for file in files for word in ("-c", file))]
    began = time.time()
    step = ended(run, phase.stem, command + [f"--{key}={value}" for key, value in (options | changes).items()], seconds)
    checkpoints = [path for path in run.work.rglob("last.ckpt") if path.stat().st_mtime >= began]
    if not checkpoints:
        return step, None
    from gpstoken.commands import export  # needs packages that have travelled

    # Neither the weights without average nor Adam's moments: they exceed what comes back and what travels again.
    checkpoint, file = max(checkpoints, key=lambda path: path.stat().st_mtime), run.out / WEIGHTS
    export.main([str(checkpoint), "-o", str(file)])
    step |= read_origin_of(file)["phases"][-1]
    return step | {"detail": f"{step['steps']} steps of {step['batch_size']} images"}, checkpoint


def write(run: Run, summary: dict) -> None:
    """Writes summary.json, summary.txt and details.tar.gz: the logs, and the curves and pictures of trainings."""
    origin, steps = summary["origin"], summary["steps"]
    page = [f"{origin['machine']['device']}, torch {origin['versions']['torch']}, commit {origin['commit']}"]
    page += [f"{each['name']:<16}{each['outcome']:<28}{each['seconds']:>7} s  {each['detail']}" for each in steps]
    print(page[-1], flush=True)
    for each in steps:
        log = run.work / "logs" / f"{each['name']}.log"
        if each["outcome"] != "passed" and log.is_file():
            page += ["", f"The end of {log.name}:", *log.read_text(errors="replace").splitlines()[-SHOWN:]]
    for name, text in (("summary.json", json.dumps(summary, indent=1)), ("summary.txt", "\n".join(page))):
        with replacing(run.out / name) as part:
            part.write_text(text + "\n")
    with replacing(run.out / "details.tar.gz") as part, tarfile.open(part, "w:gz") as archive:
        for path in sorted(path for name in ("logs", "runs", "fits") for path in (run.work / name).rglob("*")):
            if path.is_file() and path.suffix != ".ckpt":
                archive.add(path, path.relative_to(run.work))


def stamp(carried: Path) -> None:
    """Marks a copy of the tree without Git as made of the commit that `prepare` has noted, as `git archive` does."""
    file, commit = Path(provenance.__file__), (carried / "commit.txt").read_text()
    if commit and not (ROOT / ".git").exists():
        file.write_text(file.read_text().replace(provenance.ARCHIVED_COMMIT, commit))
        provenance.ARCHIVED_COMMIT = commit


def dry_run(folder: Path) -> bool:
    """The whole sequence at the smallest size, and a second run that goes on; returns whether everything passed."""
    shutil.rmtree(folder, ignore_errors=True)
    carried, end = folder / "carried", time.monotonic() + 3600
    pack(carried, every=80)
    if (CARRIED / "wheels").is_dir():
        shutil.copytree(CARRIED / "wheels", carried / "wheels")
    passed = execute(Run(carried, folder / "first", folder / "work", end, True), SECONDS)
    if not passed:
        return False
    shutil.copy(folder / "first" / WEIGHTS, carried)
    passed = execute(Run(carried, folder / "second", folder / "work", end, True), ["training"])
    return passed and len(read_origin_of(folder / "second" / WEIGHTS)["phases"]) == 2


def main(arguments: list[str] | None = None) -> int:
    """The command: 0, 1 if something failed, 2 after one line about bad input."""
    parser = argparse.ArgumentParser(
        prog="tools/gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="PART", help=f"prepare, or parts among {', '.join(SECONDS)}; all")
    parser.add_argument(
        "--from", type=Path, dest="weights", metavar="FILE", help="of prepare: train on from these weights"
    )
    parser.add_argument("--seconds", type=float, default=530.0, help="of all parts together (default: 530)")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, at the smallest size, twice")
    options = parser.parse_args(arguments)
    for word in options.words:
        if word not in SECONDS and options.words != ["prepare"]:
            parser.error(f"{word}: expected prepare alone, or parts among {', '.join(SECONDS)}")
    end = time.monotonic() + options.seconds
    try:
        if options.words == ["prepare"]:
            prepare(CARRIED, options.weights)
            return 0
        if options.dry_run:
            return int(not dry_run(ROOT / "scratch/gpu-dry-run"))
        if not (CARRIED / "commit.txt").is_file():
            raise ValueError(f"{CARRIED}: not packed; run tools/gpu prepare where there is a package index")
        if not torch.cuda.is_available():
            raise ValueError("torch sees no CUDA device; --dry-run needs none")
        stamp(CARRIED)
        run = Run(CARRIED, Path(os.environ.get("OUT", ROOT / "scratch/gpu-results")), WORK, end, False)
        return int(not execute(run, [part for part in SECONDS if part in options.words or not options.words]))
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"tools/gpu: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
