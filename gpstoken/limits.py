"""Limits of arguments, declared at the constructor: `@limits(num_tokens=at_least(1), decay=between(0, 1))`.

A value outside raises a ValueError of one line, "num_tokens: expected a whole number of at least 1, got -3". No limit
on a number admits NaN or infinity.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any, TypeVar

Target = TypeVar("Target", bound=Callable)


@dataclass(frozen=True)
class Limit:
    """The condition that a value must meet.

    Attributes:
        expected: the condition in words, as they follow "expected".
        accepts: whether a value meets it.
    """

    expected: str
    accepts: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """Checks a value.

        Raises:
            ValueError: naming the argument, what is allowed and the value.
        """
        if not self.accepts(value):
            shown = " ".join(repr(value).split())  # a tensor has lines
            raise ValueError(
                f"{name}: expected {self.expected}, got {shown if len(shown) < 80 else shown[:76] + ' ...'}"
            )


def at_least(lowest: int, highest: int | None = None) -> Limit:
    """A whole number from `lowest` up to `highest`, if given; True and False do not count as numbers."""

    def accepts(value: Any) -> bool:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        return whole and value >= lowest and (highest is None or value <= highest)

    words = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
    return Limit(f"a whole number {words}", accepts)


def number(lowest: float) -> Limit:
    """A finite number of at least `lowest`."""
    return Limit(f"a finite number of at least {lowest}", lambda value: _finite(value) and value >= lowest)


def above(limit: float) -> Limit:
    """A finite number above `limit`."""
    return Limit(f"a finite number above {limit}", lambda value: _finite(value) and value > limit)


def between(lowest: float, highest: float) -> Limit:
    """A number from `lowest` to `highest`, both included."""
    return Limit(f"a number from {lowest} to {highest}", lambda value: _finite(value) and lowest <= value <= highest)


def below_one() -> Limit:
    """A share below 1: 0 <= value < 1."""
    return Limit("a number from 0 to 1, 1 left out", lambda value: _finite(value) and 0 <= value < 1)


def one_of(*words: str | int) -> Limit:
    """One of some words or numbers."""
    known = " or ".join(map(repr, words)) if len(words) == 2 else f"one of {', '.join(map(repr, words))}"
    kinds = {type(word) for word in words}
    return Limit(known, lambda value: type(value) in kinds and value in words)


def flag() -> Limit:
    """True or False."""
    return Limit("true or false", lambda value: isinstance(value, bool))


def text() -> Limit:
    """A text or a path that is not empty."""
    return Limit("a text that is not empty", lambda value: _is_text(value) and bool(fspath(value).strip()))


def optional(limit: Limit) -> Limit:
    """None, or what `limit` accepts."""
    return Limit(f"{limit.expected}, or null", lambda value: value is None or limit.accepts(value))


def each(limit: Limit, count: int | None = None) -> Limit:
    """A list whose entries `limit` accepts: `count` of them, or at least one."""
    words = "a list" if count is None else f"{count} values"

    def accepts(value: Any) -> bool:
        if not isinstance(value, Iterable) or isinstance(value, str | bytes | dict):
            return False
        try:
            entries = list(value)
        except TypeError:  # a tensor of one number claims to be iterable
            return False
        return len(entries) == (count or max(1, len(entries))) and all(map(limit.accepts, entries))

    return Limit(f"{words}, each {limit.expected}", accepts)


def texts_by_name() -> Limit:
    """Texts by name, or None."""

    def accepts(value: Any) -> bool:
        return value is None or (isinstance(value, dict) and all(map(text().accepts, [*value, *value.values()])))

    return Limit("texts by name, or null", accepts)


def limits(**by_name: Limit) -> Callable[[Target], Target]:
    """A decorator for a function or a class that checks its arguments before it runs, and keeps its signature.

    Args:
        **by_name: the limit of each argument.

    Raises:
        TypeError: if the decorated object lacks an argument of that name.
    """

    def decorate(target: Target) -> Target:
        if isinstance(target, type):  # a dataclass, whose constructor is generated
            target.__init__ = decorate(target.__init__)
            return target
        signature = inspect.signature(target)
        if unknown := by_name.keys() - signature.parameters.keys():
            raise TypeError(f"{target.__qualname__}: has no argument {', '.join(sorted(unknown))} to limit")

        @functools.wraps(target)
        def checked(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for name, limit in by_name.items():
                limit.check(name, bound.arguments[name])
            return target(*args, **kwargs)

        checked.limits = by_name
        return checked

    return decorate


def _finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | PathLike)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The text "; did you mean num_tokens?" if a known word is close to `word`, else an empty text."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
