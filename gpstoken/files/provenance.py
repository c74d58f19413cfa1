"""The provenance of results: commit, versions and machine."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "gpstoken", "torch", "torchvision", "lightning", "torchmetrics", "torch-fidelity", "lpips", "diffusers", "timm",
    "numba", "numpy", "pillow", "scipy",
)  # fmt: skip


# Git writes the commit here when it exports an archive, such as a forge's download.
ARCHIVED_COMMIT = "$Format:%H$"
# The paths that results depend on. Result and lock files are left out: they change while the pipeline runs.
CODE = ("gpstoken", "datamodules", "experiments", "params.yaml", "dvc.yaml")


def commit() -> str:
    """The commit of this code, with "+changes" where the code differs from it.

    In a checkout Git's answer counts, if this very file is tracked and the package lies at the root of the checkout: a
    wheel may be installed inside any other repository. Otherwise it is the commit of the archive that the code came in,
    or "unknown" with the version and the reason.
    """
    root = Path(__file__).resolve().parents[2]
    try:
        folder, number = _git(root, "rev-parse", "--show-toplevel", "HEAD").split("\n")
        if Path(folder).resolve() != root:
            raise ValueError("the checkout belongs to another project")
        _git(root, "ls-files", "--error-unmatch", "gpstoken/files/provenance.py")
        return number[:12] + ("+changes" if _changed(root) else "")
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        if not ARCHIVED_COMMIT.startswith("$"):
            return ARCHIVED_COMMIT[:12]
        reason = "no checkout"
        if isinstance(error, subprocess.CalledProcessError) and "dubious ownership" in error.stderr:
            reason = f"Git does not trust the owner of the folder: git config --global --add safe.directory '{root}'"
        return f"unknown (version {_version('gpstoken')}, {reason})"


def _changed(root: Path) -> bool:
    """Whether the code differs from the commit, ignoring file modes and line ends, which copying may change."""
    try:
        _git(root, "-c", "core.fileMode=false", "diff", "--quiet", "--ignore-cr-at-eol", "HEAD", "--", *CODE)
    except subprocess.CalledProcessError as error:
        if error.returncode != 1:
            raise
        return True
    added = _git(root, "ls-files", "--others", "--exclude-standard", "--", *CODE).splitlines()
    return any(Path(name).suffix in (".py", ".yaml") for name in added)


def _git(root: Path, *arguments: str) -> str:
    # A Git hook sets variables that refer to its own repository.
    misleading = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in misleading}
    command = ["git", "--no-optional-locks", *arguments]
    options = {"cwd": root, "env": environment | {"LC_ALL": "C"}, "capture_output": True, "text": True, "check": True}
    return subprocess.run(command, **options).stdout.strip()


def file_hash(path: Path) -> str:
    """Hexadecimal sha256 of a file, read as a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_named(output: Path, row: str) -> None:
    """Checks that a result file is named after its row.

    Raises:
        ValueError: if it is not; the message gives the expected name.
    """
    if output.name != f"{row}.json":
        raise ValueError(f"{output}: the result of row {row} must be named {row}.json")


def record(device: torch.device | str = "cpu") -> dict[str, Any]:
    """The provenance that every result contains: {"commit", "versions", "machine"}."""
    return {"commit": commit(), "versions": versions(), "machine": machine(device)}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def machine(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """The device, the processor and the threads in use."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    device = torch.device(device)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": processor,
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }
