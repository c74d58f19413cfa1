"""GPSToken: images as 2-D Gaussians with texture features, and two-stage generation on top.

Start reading at `gpstoken.tokenizer`, then `gpstoken.generators.two_stage`.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from gpstoken.base import Generator
from gpstoken.gaussians import Gaussians
from gpstoken.images import load_image, save_image
from gpstoken.partition import partition
from gpstoken.splat import splat
from gpstoken.tokenizer import GPSToken
from gpstoken.tokens import Tokens

if TYPE_CHECKING:
    from gpstoken.generators.loading import load_generator

__all__ = [
    "GPSToken",
    "Gaussians",
    "Generator",
    "Tokens",
    "load_generator",
    "load_image",
    "partition",
    "save_image",
    "splat",
]

try:
    __version__ = version("gpstoken")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    # The generator's network imports timm, which takes seven seconds: tokenizing does not wait for it.
    if name == "load_generator":
        from gpstoken.generators.loading import load_generator

        return load_generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
