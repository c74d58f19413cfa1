"""`python tools/lanes.py SCALE`: `dvc repro` in two lanes side by side, with one line per stage.

One lane takes the tokenizers and the other the generators, each with half of the cores; a lane that has ended trains
one arm after the other. The studies read all runs of tokenizers, so they wait for these trainings, and so do the
evaluations of arms; then the lanes take one after the other. Timed stages come last, with nothing beside them, but for
the quick scale, which does not time long enough to mean anything. `dvc repro` alone does the same, but takes longer.
The output of all commands goes to scratch/repro.log.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

LOG = Path("scratch/repro.log")
# Seconds that a stage took on two cores at the quick and at the laptop scale, from which the time left is estimated.
SECONDS = {
    "prepare": (20, 20), "commands": (3, 3), "fit": (10, 107), "fit-ablation": (8, 150), "fit-arm": (12, 165),
    "fit-sweep": (9, 155), "evaluate": (4, 20), "evaluate-ablation": (4, 22), "evaluate-arm": (4, 23),
    "evaluate-sweep": (3, 16), "fit-components": (8, 18), "pretrained": (6, 5), "untrained": (6, 4),
    "study": (30, 280), "fit-tokenizer": (10, 126), "cache": (3, 31), "images": (1, 8), "reconstructions": (1, 6),
    "features": (4, 42), "fit-network": (6, 150), "fit-other-network": (8, 115), "fit-small-network": (3, 45),
    "generate": (3, 190), "generate-other": (2, 40), "generate-size": (2, 45), "evaluate-generator": (2, 68),
    "evaluate-other": (2, 19), "evaluate-size": (3, 36), "cost": (9, 13), "cost-other": (9, 13), "profile": (3, 6),
    "profile-network": (3, 9), "profile-other-network": (3, 11), "speed": (10, 14), "figures": (30, 46),
    "tables": (8, 8), "publish": (40, 50), "site": (30, 22),
}  # fmt: skip
FIRST = ("prepare", "commands")
FITS = ("fit", "fit-ablation", "fit-sweep", "fit-components", "pretrained", "untrained")
EVALUATIONS = ("evaluate", "evaluate-ablation", "evaluate-sweep")
GENERATORS = (
    ("fit-tokenizer", "cache", "images", "features", "reconstructions"),
    ("fit-network", "fit-other-network", "fit-small-network"),
    ("generate", "generate-other", "generate-size", "evaluate-generator", "evaluate-other", "evaluate-size"),
)
TIMED = (("profile",), ("profile-network", "profile-other-network"), ("cost",), ("cost-other",))


class Progress:
    """Counts the stages that have ended, and prints a line for each.

    Attributes:
        stages: names of all stages of the pipeline.
        failed: names of those that have failed.
    """

    def __init__(self, stages: list[str], scale: str) -> None:
        """Starts the clock."""
        self.stages, self.failed, self.done = stages, [], set()
        self._scale, self._start, self._lock = scale, time.monotonic(), threading.Lock()

    def of(self, names: tuple[str, ...]) -> list[str]:
        """The stages of these groups."""
        return [stage for name in names for stage in self.stages if stage.partition("@")[0] == name]

    def end(self, stage: str, seconds: float, what: str = "") -> None:
        """Notes that a stage has ended."""
        with self._lock:
            self.done.add(stage)
            left, spent = (sum(map(self._weight, part)) for part in (set(self.stages) - self.done, self.done))
            rest = (time.monotonic() - self._start) * left / spent
            known = spent > left / 50  # the first stage reads data and compiles, which foretells little
            ahead = f", about {rest / 60:.0f} min left" if known and rest > 60 else ""
            number = f"{len(self.done):3} of {len(self.stages)}"
            print(f"{number}  {stage:<42}{what or _clock(seconds)}{ahead}", flush=True)

    def _weight(self, stage: str) -> float:
        return SECONDS[stage.partition("@")[0]][self._scale != "quick"]


def main(scale: str) -> int:
    """Runs the pipeline; returns the exit code."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    listed = subprocess.run(["dvc", "stage", "list", "--name-only"], capture_output=True, text=True)
    if listed.returncode:
        print(listed.stderr, file=sys.stderr)
        return 2
    progress = Progress(listed.stdout.split(), scale)
    print(f"{len(progress.stages)} stages at the {scale} scale; {LOG.absolute()} has their output", flush=True)
    if any(repro([stage], progress) for stage in FIRST):
        return fail(progress)
    # An arm is evaluated when both lanes have ended their trainings, since the other one may be training it.
    groups = (("evaluate-arm",), *(TIMED if scale == "quick" else ()))
    # Both lanes take from these.
    arms = iter(progress.of(("fit-arm",)))
    rest = iter([[study] for study in progress.of(("study",))] + [progress.of(names) for names in groups])
    fitted = threading.Barrier(2)

    def tokenizers() -> None:
        repro(progress.of(FITS), progress)
        train_arms()
        repro(progress.of(EVALUATIONS), progress)
        take_rest()

    def generators() -> None:
        for part in GENERATORS:
            repro(progress.of(part), progress)
        train_arms()
        take_rest()

    def train_arms() -> None:
        for stage in arms:
            repro([stage], progress)

    def take_rest() -> None:
        fitted.wait()
        for stages in rest:
            repro(stages, progress)

    lanes = [threading.Thread(target=lane) for lane in (tokenizers, generators)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    # Stages that failed fail again and report it; the timed stages now run alone.
    return fail(progress) if repro(None, progress) else 0


def fail(progress: Progress) -> int:
    """Prints which stages failed and the end of their output; returns 1."""
    print(f"failed: {', '.join(dict.fromkeys(progress.failed)) or 'dvc'}; {LOG.absolute()} ends:", file=sys.stderr)
    print("".join(LOG.read_text(errors="replace").splitlines(keepends=True)[-25:]), file=sys.stderr)
    return 1


def repro(stages: list[str] | None, progress: Progress) -> int:
    """Runs `dvc repro` on these stages alone, or on the whole pipeline for None; returns its exit code."""
    if stages == []:  # with none, dvc would run the whole pipeline
        return 0
    command, environment = ["dvc", "--wait-for-lock", "repro"], dict(os.environ)
    if stages:
        command += ["-s", *stages]
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
    ) as process:
        follow(process.stdout, progress)
    return process.returncode


def follow(lines: Iterator[str], progress: Progress) -> None:
    """Reads the output of dvc, which says when a stage begins and which stages have not changed."""
    running, since = None, 0.0
    with LOG.open("a") as log:
        for line in lines:
            log.write(line)
            log.flush()
            began = re.match(r"Running stage '(.+)':", line)
            unchanged = re.match(r"Stage '(.+)' (didn't change|is cached)", line)
            failed = re.search(r"failed to reproduce '(.+)'", line)
            if (began or unchanged or failed) and running:
                progress.end(running, time.monotonic() - since, "failed" if failed else "")
                running = None
            if failed:
                progress.failed.append(failed[1])
            if began:
                running, since = began[1], time.monotonic()
            elif unchanged and unchanged[1] not in progress.done:
                progress.end(unchanged[1], 0, "unchanged")
    if running:
        progress.end(running, time.monotonic() - since)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
