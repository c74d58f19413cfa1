"""GPSToken: images as 2-D Gaussians with texture features, and two-stage generation on top.

Start reading at `gpstoken.tokenizer`, then `gpstoken.generator`.
"""

from typing import TYPE_CHECKING, Any

from gpstoken.gaussians import Gaussians
from gpstoken.partition import partition
from gpstoken.splat import splat
from gpstoken.tokenizer import GPSToken
from gpstoken.tokens import Tokens

if TYPE_CHECKING:
    from gpstoken.generator import Generator

__all__ = ["GPSToken", "Gaussians", "Generator", "Tokens", "partition", "splat"]


def __getattr__(name: str) -> Any:
    # timm, which the generator's network is made of, takes seven seconds to import: tokenizing does not wait for it.
    if name == "Generator":
        from gpstoken.generator import Generator

        return Generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
