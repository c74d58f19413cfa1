"""numba's compiler, with a cache of compiled code that may be missing, unwritable, damaged or out of date.

numba's own cache stops the program in the first three cases. In the last it runs old code: it checks only the file of
the function itself, though functions and tables of other files are compiled into it.
"""

import hashlib
import logging
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

from gpstoken.threads import announce_compilation

DIGEST = 32  # bytes of a sha256
_functions: list[Any] = []
announce_compilation()


def compiling(**options: Any) -> Callable[[Callable], Any]:
    """A decorator: numba's `njit` with `options`, without the interpreter lock, cached on disk where possible.

    Args:
        options: options of `numba.njit`.
    """

    def decorate(function: Callable) -> Any:
        compiled = njit(nogil=True, **options)(function)
        try:
            compiled._cache = _Cache(function)
        except (RuntimeError, OSError):  # numba finds no folder to write to
            _say_that_nothing_is_kept()
        _functions.append(compiled)
        return compiled

    return decorate


def is_compiled() -> bool:
    """Whether all functions of the imported backends are compiled; compiling takes some 20 s on a slow core."""
    return all(
        function.signatures or (isinstance(function._cache, _Cache) and function._cache.holds_something())
        for function in _functions
    )


@cache
def _say_that_nothing_is_kept() -> None:
    logging.getLogger(__name__).warning(
        "gpstoken: compiled code cannot be cached on disk, so every process compiles its own; "
        "set NUMBA_CACHE_DIR to a writable folder"
    )


@cache
def _sources() -> str:
    """The digest of all code that may be compiled into a function."""
    package = Path(__file__).parent
    paths = sorted(path for folder in ("splat", "partition", "calibrate") for path in package.glob(f"{folder}/*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in [Path(__file__), *paths])).hexdigest()


class _File(IndexDataCacheFile):
    """numba's index and data files, each preceded by the digest of its bytes; a damaged file counts as missing.

    numba runs cached machine code unchecked: one flipped bit could do anything.
    """

    def _load_index(self) -> dict:
        try:
            version, stamp, overloads = _read(self._index_path)
        except OSError:
            return {}
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return _read(self._data_path(name))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _write(self, path: str, value: Any) -> None:
        content = self._dump(value)
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(content).digest() + content)


def _read(path: str) -> Any:
    """Raises OSError for a file that is missing or damaged."""
    content = Path(path).read_bytes()
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        raise OSError(f"{path}: damaged")
    return pickle.loads(content[DIGEST:])


class _Cache(FunctionCache):
    """numba's cache of one function, stored in `_File`s; whatever cannot be loaded is compiled again."""

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp(), _sources()
        self._cache_file = _File(self._cache_path, self._impl.filename_base, stamp)

    def holds_something(self) -> bool:
        return bool(self._cache_file._load_index())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # numba raises anything for a file of another version, processor or kind
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # a full disk
            _say_that_nothing_is_kept()
