"""How a tokenizer is evaluated."""

from dataclasses import dataclass
from pathlib import Path

ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}  # Lightning's words


@dataclass(frozen=True)
class Protocol:
    """How a tokenizer is evaluated, beside the data.

    Attributes:
        num_tokens: tokens of the whole image; None: as trained, in proportion to the area.
        token_factor: the same in multiples of the trained count, where `num_tokens` is None.
        size_factor: side of the images in multiples of the trained side; None: that of the data.
        focus_radius: of a central disc inside and outside of which PSNR is measured, in shorter sides; None: no disc.
        focus_strength: of the map that draws tokens into the disc.
        networks: feature networks of the distribution scores, see `gpstoken.metrics.networks`.
        statistics: reference statistics (ADM npz) for FID and sFID against another set of images; needs Inception.
        device: "cpu" or "cuda".
    """

    num_tokens: int | None = None
    token_factor: float | None = None
    size_factor: int | None = None
    focus_radius: float | None = None
    focus_strength: float = 0.0
    networks: tuple[str, ...] = ()
    statistics: Path | None = None
    device: str = "cpu"


def accelerator(device: str) -> str:
    """Lightning's word for a device.

    Raises:
        ValueError: for one that evaluations do not run on.
    """
    if device not in ACCELERATORS:
        raise ValueError(f"--device {device}: expected one of {', '.join(ACCELERATORS)}")
    return ACCELERATORS[device]


def times(count: int, factor: float) -> int:
    """`factor` times a number of tokens.

    Raises:
        ValueError: if that is no number of tokens.
    """
    tokens = round(count * factor)
    if tokens < 1 or tokens != count * factor:
        raise ValueError(f"--token-factor: {factor:g} times the {count} tokens of training is no number of tokens")
    return tokens
