"""Kills at every place where a command touches the disk: which there are, and what is left when it is run again.

A kill point is a call by which something on the disk begins or ends to be there: a name is given, taken or removed, or
content flushed. A process is killed before a call or right after it, as the number of the point is even or odd.
"""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

POINTS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")
# What says when, how fast and by which process a file was made.
VOLATILE = {
    "started", "finished", "seconds", "samples_in_this_run", "samples_per_second", "peak_memory_mb", "network_calls",
}  # fmt: skip


def killed_at(work: Callable[[], int], point: int) -> Callable[[], int]:
    """`work`, for `forked`, whose process kills itself at a point, unless it ends before."""
    return partial(_killed, work, point)


def points_of(work: Callable[[], int], count: Path) -> Callable[[], int]:
    """`work`, for `forked`, which leaves the number of its kill points in a file."""
    return partial(_counting, work, count)


def killed_after_a_part(work: Callable[[], int]) -> int:
    """`gpstoken evaluate`, whose process kills itself when it has written one part."""
    from gpstoken.files.parts import Parts

    write = Parts.write

    def write_and_die(self: Parts, columns: dict) -> None:
        write(self, columns)
        os.kill(os.getpid(), signal.SIGKILL)

    Parts.write = write_and_die
    return work()


def _killed(work: Callable[[], int], point: int) -> int:
    passed = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal passed
            place, passed = passed, passed + 1
            if place == point // 2 and point % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return function(*arguments, **options)
            finally:
                if place == point // 2:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in POINTS:
        setattr(os, name, counted(getattr(os, name)))
    return work()


def _counting(work: Callable[[], int], count: Path) -> int:
    calls = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            return function(*arguments, **options)

        return call

    originals = {name: getattr(os, name) for name in POINTS}
    for name, function in originals.items():
        setattr(os, name, counted(function))
    code = work()
    for name, function in originals.items():
        setattr(os, name, function)
    count.write_text(str(2 * calls))
    return code


def content(folder: Path) -> dict[str, str]:
    """What a folder holds, by path: hashes of what its files say, without times and machines."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found[name] = hashlib.sha256(repr(_plain(path)).encode()).hexdigest()
    return found


def _plain(path: Path) -> Any:
    if path.suffix == ".json":
        return _without(json.loads(path.read_text()))
    if path.suffix == ".ckpt":
        return _tensors(torch.load(path, weights_only=True))
    return path.read_bytes()


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(each) for name, each in value.items() if name not in VOLATILE}
    return [_without(each) for each in value] if isinstance(value, list) else value


def _tensors(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.flatten().tolist())
    if isinstance(value, dict):  # in whatever order: that of the last metrics is one of when they came
        return sorted(((repr(name), _tensors(each)) for name, each in value.items()), key=lambda pair: pair[0])
    return [_tensors(each) for each in value] if isinstance(value, list | tuple) else value


def fresh(folder: Path, before: Path | None) -> Path:
    """An empty folder, or one with what `before` holds."""
    shutil.rmtree(folder, ignore_errors=True)
    if before is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(before, folder)
    return folder
