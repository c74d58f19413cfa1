"""Short explanations of why a library cannot read a file."""

import re
from pathlib import Path

LONGEST = 300  # characters; libraries repeat the file's content in their messages


def reason(error: BaseException) -> str:
    """The start of an error's first line, or its type if it is empty; never the advice to disable safe reading."""
    if "allow_pickle" in str(error) or "weights_only" in str(error):
        return "it holds Python objects, but only numbers are read"
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) < LONGEST else f"{line[: LONGEST - 4]} ..."


def looks_like(path: Path, error: Exception) -> str:
    """What an unreadable checkpoint probably is, and what to do about it, in a few words."""
    if path.is_dir():
        return "a folder; give the file in it"
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as reason:
        return reason.strerror or type(reason).__name__
    if not start:
        return "an empty file; fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; run `git lfs pull` where it comes from"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page; the download needs a login or another address"
    # torch's own message advises to trust the file.
    if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it names {named[1][:LONGEST]}, but only tensors and plain data are read"
    return "cut short or damaged; fetch or make it again" if start.startswith(b"PK") else "not a known format"
