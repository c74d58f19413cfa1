"""Weights on the Hugging Face hub, by the names of their repositories."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import snapshot_download

from gpstoken.files.reasons import reason

SCHEME = "hf:"


def is_on_hub(name: str | Path) -> bool:
    """Whether a name is that of a repository, hf://OWNER/NAME; as a `Path`, it has lost one of the slashes."""
    return str(name).startswith(f"{SCHEME}/")


def from_hub(name: str | Path, files: Iterable[str]) -> Path:
    """The folder of a repository, downloaded or out of the cache that the library keeps.

    Args:
        name: hf://OWNER/NAME.
        files: names of the files to fetch, those of them that are there.

    Raises:
        FileNotFoundError: if the hub cannot be reached, or has no such repository, or none for this user.
    """
    repository = str(name).removeprefix(SCHEME).lstrip("/")
    try:
        return Path(snapshot_download(repository, allow_patterns=list(files)))
    except Exception as error:  # the library lets errors of its transport through, whichever that is
        raise FileNotFoundError(
            f"hf://{repository}: cannot be fetched ({reason(error)}); download it elsewhere and name the folder or file"
        ) from error
