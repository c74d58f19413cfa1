"""The protocol by which a tokenizer is evaluated."""

from dataclasses import dataclass
from pathlib import Path

ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}  # Lightning's words


@dataclass(frozen=True)
class Protocol:
    """All settings of an evaluation except the data.

    Attributes:
        num_tokens: tokens per image; None: as in training, in proportion to the area.
        token_factor: tokens per image as a multiple of the trained number, used if `num_tokens` is None.
        token_bits: bits to which each number of a token is rounded before decoding, see `gpstoken.rounding`; None: all.
        size_factor: side of the images as a multiple of the trained side; None: the data's size.
        focus_radius: radius, in shorter sides, of a central disc; PSNR is measured inside and outside; None: no disc.
        focus_strength: strength of the map that draws tokens into the disc.
        networks: feature networks of the distribution scores, see `gpstoken.metrics.networks`.
        statistics: reference statistics (ADM npz) for FID and sFID against another set of images; needs Inception.
        device: "cpu" or "cuda".
    """

    num_tokens: int | None = None
    token_factor: float | None = None
    token_bits: int | None = None
    size_factor: int | None = None
    focus_radius: float | None = None
    focus_strength: float = 0.0
    networks: tuple[str, ...] = ()
    statistics: Path | None = None
    device: str = "cpu"


def accelerator(device: str) -> str:
    """Lightning's word for a device.

    Raises:
        ValueError: for a device on which evaluations do not run.
    """
    if device not in ACCELERATORS:
        raise ValueError(f"--device {device}: expected one of {', '.join(ACCELERATORS)}")
    return ACCELERATORS[device]


def times(count: int, factor: float) -> int:
    """`factor` times a number of tokens.

    Raises:
        ValueError: if the product is not a whole number of at least 1.
    """
    tokens = round(count * factor)
    if tokens < 1 or tokens != count * factor:
        raise ValueError(f"--token-factor: {factor:g} times the trained {count} tokens is not a number of tokens")
    return tokens
