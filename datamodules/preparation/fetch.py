"""Hash-pinned packages, fetched once by pip into a cache that all clones share."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tqdm import tqdm

from gpstoken.files.locks import temporary_folder
from gpstoken.files.writing import flush

# pip would otherwise take this package's wheel, which leaves the photographs out.
SOURCE_ONLY = "retinalysis-fundusprep"


@dataclass(frozen=True)
class Requirement:
    """One pinned archive.

    Attributes:
        name: name of the package.
        version: its version.
        sha256: hexadecimal hash of the archive.
    """

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """The line of a requirements file that pins it."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def read_requirements() -> list[Requirement]:
    """The list that ships with this package.

    Returns:
        One Requirement per line of embedded-packages.txt, in the order of the lines.

    Raises:
        ValueError: if a line is not `NAME==VERSION --hash=sha256:HEX`.
    """
    text = resources.files(__package__).joinpath("embedded-packages.txt").read_text(encoding="utf-8")
    requirements = []
    for line in filter(None, map(str.strip, text.splitlines())):
        match = re.fullmatch(r"([\w.-]+)==([\w.]+) --hash=sha256:([0-9a-f]{64})", line)
        if match is None:
            raise ValueError(f"embedded-packages.txt: expected NAME==VERSION --hash=sha256:HEX, got {line!r}")
        requirements.append(Requirement(*match.groups()))
    return requirements


def default_cache() -> Path:
    """$GPSTOKEN_CACHE, or `gpstoken` in the user's cache folder."""
    if folder := os.environ.get("GPSTOKEN_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpstoken"


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(requirements: list[Requirement], cache: Path) -> dict[str, Path]:
    """Makes sure that the cache holds every archive, verified; calls pip only for archives that it lacks.

    Args:
        requirements: the archives to fetch.
        cache: folder of the cache; made if absent.

    Returns:
        Path of each archive by the name of its package.

    Raises:
        ValueError: if an archive's hash is not the pinned one; nothing unverified is left in the cache.
        RuntimeError: if pip is missing or fails.
    """
    folder = cache / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    archives: dict[str, Path] = {}
    # Four at a time: beyond that pip's start-up and the metadata builds of the sdists are the limit, not the network.
    with ThreadPoolExecutor(4) as pool:
        jobs = {pool.submit(_fetch_one, requirement, folder): requirement.name for requirement in requirements}
        try:
            with tqdm(as_completed(jobs), total=len(jobs), desc="packages", unit="file") as progress:
                for job in progress:
                    archives[jobs[job]] = job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return archives


def _fetch_one(requirement: Requirement, folder: Path) -> Path:
    kept = folder / f"{requirement.name}-{requirement.version}"
    for archive in sorted(kept.glob("*")):
        _verify(archive, requirement, f"delete {archive} and run again")
        return archive
    if importlib.util.find_spec("pip") is None:
        raise RuntimeError(
            f"fetch: {requirement.name} is not in {folder} and {sys.executable} has no pip to fetch it with; "
            "run `python -m ensurepip`, or install pip"
        )
    with temporary_folder(folder, ".partial-") as partial:
        _download(requirement, partial)
        (archive,) = (path for path in partial.glob("download/*") if path.is_file())
        _verify(archive, requirement, "nothing was kept")
        flush(archive)
        kept.mkdir(exist_ok=True)
        os.replace(archive, kept / archive.name)
    return kept / archive.name


def _download(requirement: Requirement, partial: Path) -> None:
    listed = partial / "requirements.txt"
    listed.write_text(f"{requirement}\n", encoding="utf-8")
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "--no-binary", SOURCE_ONLY]
    command += ["-r", str(listed), "-d", str(partial / "download")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")] or ["no message"]
        raise RuntimeError(f"fetch: pip could not get {requirement.name}=={requirement.version}: {lines[0]}")


def _verify(archive: Path, requirement: Requirement, advice: str) -> None:
    digest = sha256_of(archive)
    if digest != requirement.sha256:
        raise ValueError(f"fetch: {archive.name} has sha256 {digest}, expected {requirement.sha256}; {advice}")
