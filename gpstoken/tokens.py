"""What a tokenizer of this suite hands on: Gaussians with texture features, and their file."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpstoken.files.writing import replacing
from gpstoken.gaussians import Gaussians

FORMAT, VERSION = "gpstoken.tokens", "1"


@dataclass(frozen=True)
class Tokens:
    """z = {g, f}: N Gaussians per image, each with a texture feature.

    Attributes:
        gaussians: the geometry, on the canvas of the whole image.
        features: float[B, N, C].
        size: (H, W) of the image in pixels; None means the tokenizer's own size.
    """

    gaussians: Gaussians
    features: Tensor
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Checks that geometry and features belong together.

        Raises:
            ValueError: if they do not.
        """
        if self.features.dim() != 3 or self.features.shape[:2] != self.gaussians.rho.shape:
            expected = tuple(self.gaussians.rho.shape)
            raise ValueError(
                f"Tokens: expected features[{expected[0]}, {expected[1]}, C], got {tuple(self.features.shape)}"
            )

    def to_tensor(self) -> Tensor:
        """Returns float[B, N, 5 + C] in the released order (sigma_x, sigma_y, rho, x, y, features)."""
        geometry = self.gaussians.to_tensor()
        return torch.cat([geometry, self.features.to(geometry.dtype)], dim=-1)

    @classmethod
    def from_tensor(cls, tensor: Tensor, size: tuple[int, int] | None = None) -> "Tokens":
        """The inverse of `to_tensor`."""
        return cls(Gaussians.from_tensor(tensor[..., :5]), tensor[..., 5:], size)

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file with a versioned header; a reader never sees it half-written.

        Raises:
            OSError: if it cannot be written.
        """
        path = Path(path)
        tensors = {"geometry": self.gaussians.to_tensor(), "features": self.features}
        header = {"format": FORMAT, "version": VERSION}
        if self.size is not None:
            header["size"] = "{}x{}".format(*self.size)
        try:
            with replacing(path) as part:
                save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part, header)
        except SafetensorError as error:
            raise OSError(f"{path}: cannot be written ({error})") from error

    @classmethod
    def load(cls, path: str | Path) -> "Tokens":
        """Reads what `save` wrote.

        Raises:
            ValueError: for a file that is not readable, not of this format, or of a later version.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    raise ValueError(f"{path}: not a token file (header format is {header.get('format')!r})")
                if header.get("version") != VERSION:
                    raise ValueError(
                        f"{path}: token file version {header.get('version')!r}, this code reads {VERSION!r}"
                    )
                geometry, features = (file.get_tensor(name) for name in ("geometry", "features"))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable token file ({error})") from error
        size = header.get("size")
        if size is not None and not re.fullmatch(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}", size):
            raise ValueError(f"{path}: expected a size like 256x256, got {size!r}")
        if geometry.dim() != 3 or geometry.shape[-1] != 5:
            raise ValueError(f"{path}: expected geometry[B, N, 5], got {tuple(geometry.shape)}")
        try:
            sides = tuple(int(side) for side in size.split("x")) if size else None
            return cls(Gaussians.from_tensor(geometry), features, sides)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
