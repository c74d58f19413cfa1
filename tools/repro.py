"""`python tools/repro.py SCALE`: every stage, table and figure at a scale.

The scale of params.yaml runs in the working tree, as with `dvc repro`. Any other scale runs in a copy of the tree,
scratch/SCALE, and its results and report are then copied back: params.yaml, dvc.lock and the committed files stay as
they are. The copy is kept, so that a second run repeats only the stages that have changed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BROUGHT = ("results", "reports/generated")  # folders whose subfolder SCALE is copied back
LEFT_OUT = {  # not copied from a tree without Git
    ".venv", "data", "runs", "samples", "scratch", "mlartifacts", "__pycache__", ".dvc/cache", ".dvc/tmp",
}  # fmt: skip


def main(scale: str) -> int:
    """Runs the pipeline; returns its exit code."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings = ROOT / "experiments" / scale / "scale.yaml"
    if not settings.is_file():
        known = sorted(path.parent.name for path in ROOT.glob("experiments/*/scale.yaml"))
        print(f"make repro SCALE={scale}: there is no {settings.relative_to(ROOT)}; scales: {', '.join(known)}")
        return 2
    folder = ROOT if params["scale"] == scale else ROOT / "scratch" / scale
    if folder != ROOT:
        mirror(folder)
        changed = yaml.safe_load(settings.read_text()).get("params", {})
        (folder / "params.yaml").write_text(yaml.safe_dump(params | {"scale": scale} | changed, sort_keys=False))
    environment = dict(os.environ, PYTHONPATH=str(folder), DVC_NO_ANALYTICS="1", MLFLOW_DISABLE_TELEMETRY="true")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlruns.db'}")
    environment.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin stall a busy machine
    command = [sys.executable, "tools/warm.py", sys.executable, "tools/lanes.py", scale]
    code = subprocess.run(command, cwd=folder, env=environment).returncode
    if code:
        return code
    if folder != ROOT:
        bring(folder, scale)
    page = Path("reports/generated") / scale / "site" / "index.html"
    print(f"open {page}: every table and figure of the {scale} scale; `make ui` shows its runs in MLflow")
    return 0


def mirror(folder: Path) -> None:
    """Makes `folder` a copy of this working tree, as a fresh clone would have it; what runs in it have made stays."""
    if (ROOT / ".git").exists():
        if not (folder / ".git").exists():
            git("clone", "-q", "--no-checkout", str(ROOT), str(folder))
        git("fetch", "-q", str(ROOT), "HEAD", folder=folder)
        git("update-ref", "--no-deref", "HEAD", "FETCH_HEAD", folder=folder)
        git("reset", "-q", folder=folder)
        names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    else:
        files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        names = [str(path) for path in files if not LEFT_OUT & {*path.parts, "/".join(path.parts[:2])}]
    names = {name for name in names if name and (ROOT / name).is_file()} - {"dvc.lock", "params.yaml"}
    take(ROOT, folder, names, folder / "scratch" / "mirrored.txt")


def bring(folder: Path, scale: str) -> None:
    """Copies the results and the report of a scale back from the copy of the tree."""
    made = [path for part in BROUGHT for path in (folder / part / scale).rglob("*") if path.is_file()]
    take(folder, ROOT, {str(path.relative_to(folder)) for path in made}, folder / "scratch" / "brought.txt")


def take(source: Path, target: Path, names: set[str], listed: Path) -> None:
    """Copies the named files that differ, and removes files that an earlier call copied and that are no longer named.

    Args:
        source: folder to copy from.
        target: folder to copy to.
        names: paths relative to either folder.
        listed: file that records the names for the next call.
    """
    before = set(listed.read_text().splitlines()) if listed.is_file() else set()
    for name in before - names:
        (target / name).unlink(missing_ok=True)
    for name in sorted(names):
        place = target / name
        if not place.is_file() or (source / name).read_bytes() != place.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{place.name}.part")
            shutil.copy2(source / name, part)
            part.replace(place)
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text("\n".join(sorted(names)))


def git(*arguments: str, folder: Path = ROOT) -> str:
    """Runs a Git command and returns its output."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
