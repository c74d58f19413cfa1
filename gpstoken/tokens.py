"""The tokens of GPSToken: Gaussians with texture features, and their file format."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpstoken.drawing import picture_row
from gpstoken.files.digests import DIGEST, check_digest, digest
from gpstoken.files.pictures import check_pixels
from gpstoken.files.reasons import reason
from gpstoken.files.tensors import FLOATING
from gpstoken.files.writing import replacing
from gpstoken.gaussians import Gaussians

FORMAT, VERSION = "gpstoken.tokens", "1"
FAR = 100.0  # a centre this far off the canvas, whose edges lie at 1, must be a mistake


@dataclass(frozen=True, repr=False)
class Tokens:
    """z = {g, f}: N Gaussians per image, each with a texture feature.

    Attributes:
        gaussians: the geometry, on the canvas of the whole image.
        features: float[B, N, C].
        size: (H, W) of the image in pixels; None means the tokenizer's own size.
        canvas: (H, W) of the image including the padding below and to the right that the tokenizer's grid needs, to
            which the geometry refers; None if the image fits the grid without padding.
    """

    gaussians: Gaussians
    features: Tensor
    size: tuple[int, int] | None = None
    canvas: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Checks that geometry and features match.

        Raises:
            ValueError: if they do not.
        """
        if self.canvas is not None and self.size is None:
            raise ValueError("Tokens: a canvas needs the size of the image, too")
        if self.features.dim() != 3 or self.features.shape[:2] != self.gaussians.rho.shape:
            expected = tuple(self.gaussians.rho.shape)
            raise ValueError(
                f"Tokens: expected features[{expected[0]}, {expected[1]}, C], got {tuple(self.features.shape)}"
            )

    def __len__(self) -> int:
        """N, the number of tokens of one image."""
        return self.features.shape[1]

    def __repr__(self) -> str:
        """One line with number, size and type, without the values."""
        batch, count, channels = self.features.shape
        where = "of the tokenizer's size" if self.size is None else "{}x{}".format(*self.size)
        padded = "" if self.canvas is None else " padded to {}x{}".format(*self.canvas)
        kind = f"{str(self.features.dtype).removeprefix('torch.')} on {self.features.device}"
        return f"Tokens({batch} x {count} tokens, {channels} features, image {where}{padded}, {kind})"

    def to(self, *arguments: Any, **options: Any) -> "Tokens":
        """The same tokens on another device or in another floating dtype; arguments as for `torch.Tensor.to`."""
        return replace(
            self, gaussians=self.gaussians.to(*arguments, **options), features=self.features.to(*arguments, **options)
        )

    def draw(self, image: Tensor | None = None, row: int = 0) -> Image.Image:
        """Draws the Gaussians as one-sigma ellipses over their image; small images are magnified.

        Args:
            image: float[B, 3, H, W] in [-1, 1], the tokenized image or its reconstruction; None: grey.
            row: number of the image in the batch.

        Returns:
            An RGB picture.

        Raises:
            ValueError: if the image differs from the tokens' image in size.
        """
        size = self.size or (256, 256)
        if image is None:
            image = torch.zeros(row + 1, 3, *size)
        if image.dim() != 4 or (self.size is not None and tuple(image.shape[-2:]) != self.size):
            raise ValueError(f"draw: expected image[B, 3, {size[0]}, {size[1]}], got shape {tuple(image.shape)}")
        return picture_row(image, [self.gaussians], image, row, self.canvas)[1]

    def to_tensor(self) -> Tensor:
        """Returns float[B, N, 5 + C] in the released order (sigma_x, sigma_y, rho, x, y, features)."""
        geometry = self.gaussians.to_tensor()
        return torch.cat([geometry, self.features.to(geometry.dtype)], dim=-1)

    @classmethod
    def from_tensor(
        cls, tensor: Tensor, size: tuple[int, int] | None = None, canvas: tuple[int, int] | None = None
    ) -> "Tokens":
        """The inverse of `to_tensor`."""
        return cls(Gaussians.from_tensor(tensor[..., :5]), tensor[..., 5:], size, canvas)

    def check(self) -> None:
        """Checks that an image can be made from the tokens.

        Raises:
            ValueError: naming what is wrong: no token or feature, a number that is not finite or not floating-point, a
                sigma that is not above 0, a rho that is not between -1 and 1, a centre far off the canvas.
        """
        parts = {"mu": self.gaussians.mu, "sigma": self.gaussians.sigma, "rho": self.gaussians.rho}
        for name, part in (parts | {"features": self.features}).items():
            if part.dtype not in FLOATING:
                raise ValueError(f"tokens: {name} must be of a floating type, got {part.dtype}")
            if not part.numel():
                raise ValueError(f"tokens: expected at least one token with one feature, {name} is {list(part.shape)}")
            if not bool(part.isfinite().all()):
                raise ValueError(f"tokens: {name} is not finite in {int((~part.isfinite()).sum())} of {part.numel()}")
        for name, low, high in (("sigma", 0.0, math.inf), ("rho", -1.0, 1.0), ("mu", -FAR, FAR)):
            value = parts[name].double()
            wrong = value[~((value > low) & (value < high))]
            if len(wrong):
                raise ValueError(f"tokens: {name} must lie between {low:g} and {high:g}, got {wrong[0].item():g}")

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file with a versioned header and a digest, atomically.

        Raises:
            ValueError: for tokens that `check` rejects.
            OSError: if it cannot be written.
        """
        self.check()
        path = Path(path)
        tensors = {"geometry": self.gaussians.to_tensor(), "features": self.features}
        header = {"format": FORMAT, "version": VERSION}
        if self.size is not None:
            header["size"] = "{}x{}".format(*self.size)
        if self.canvas is not None:
            header["canvas"] = "{}x{}".format(*self.canvas)
        try:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            with replacing(path) as part:
                save_file(tensors, part, header | {DIGEST: digest([header, tensors])})
        except SafetensorError as error:
            raise OSError(f"{path}: cannot be written ({error})") from error

    @classmethod
    def load(cls, path: str | Path, max_pixels: int | None = None) -> "Tokens":
        """Reads what `save` wrote.

        Args:
            path: the file.
            max_pixels: the most pixels that the image may have; None: see `pixel_limit`.

        Raises:
            ValueError: for a file that is not readable, damaged, of another format or a later version, tokens that
                `check` rejects, or an image with too many pixels.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    raise ValueError(f"{path}: not a token file (header format is {str(header.get('format'))[:40]!r})")
                if header.get("version") != VERSION:
                    raise ValueError(
                        f"{path}: token file version {str(header.get('version'))[:40]!r}, expected {VERSION!r}"
                    )
                geometry, features = (file.get_tensor(name) for name in ("geometry", "features"))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable token file ({reason(error)})") from error
        sides = {}
        for name in ("size", "canvas"):
            text = header.get(name)
            if text is not None and not re.fullmatch(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}", text):
                raise ValueError(f"{path}: expected a {name} like 256x256, got {text[:40]!r}")
            sides[name] = tuple(int(side) for side in text.split("x")) if text else None
        if geometry.dim() != 3 or geometry.shape[-1] != 5:
            raise ValueError(f"{path}: expected geometry[B, N, 5], got {tuple(geometry.shape)}")
        known = {name: header[name] for name in ("format", "version", "size", "canvas") if name in header}
        check_digest(path, [known, {"geometry": geometry, "features": features}], header.get(DIGEST))
        try:
            tokens = cls(Gaussians.from_tensor(geometry), features, **sides)
            tokens.check()
            if tokens.size is not None:
                check_pixels(tokens.size, max_pixels)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return tokens
