"""Counts the calls of a generator's networks."""

from typing import Any

from torch import Tensor, nn

from gpstoken.base import Generator


class Calls:
    """Counts the network calls of a generator from the construction of this object on.

    Attributes:
        calls: evaluations of the network so far, by stage.
        rows: rows of the batches of these calls, by stage; a guided sample has two rows.
    """

    def __init__(self, generator: Generator) -> None:
        """Starts all counts at 0."""
        self.calls = dict.fromkeys(generator.stages, 0)
        self.rows = dict(self.calls)
        for name, stage in generator.stages.items():
            stage.network.register_forward_pre_hook(self._hook(name), with_kwargs=True)

    @property
    def total(self) -> int:
        """Evaluations of all networks."""
        return sum(self.calls.values())

    def _hook(self, name: str) -> Any:
        def count(network: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            first = next(value for value in (*given, *named.values()) if isinstance(value, Tensor))
            self.calls[name] += 1
            self.rows[name] += len(first)

        return count
