"""What the explorer computes: the tokens of a photograph under its settings, and what changes when they are edited."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gpstoken.drawing import draw_gaussians, to_picture
from gpstoken.gaussians import Gaussians
from gpstoken.metrics import reconstruction_metrics
from gpstoken.partition import partition
from gpstoken.tokenizer import GPSToken
from gpstoken.tokens import Tokens

SCALE = 2  # of the pictures in the browser
CHOSEN = (0, 255, 255)


@dataclass(frozen=True)
class Settings:
    """What the sliders set.

    Attributes:
        tokens: number of tokens.
        lambda_: exponent of the entropy in the partition.
        min_region_size: s_min in pixels.
        support_factor: s, half width of a Gaussian's support in sigmas.
        strength: how strongly the painted focus map draws tokens.
    """

    tokens: int = 256
    lambda_: float = 2.5
    min_region_size: int = 4
    support_factor: float = 3.0
    strength: float = 50.0


@dataclass(frozen=True)
class View:
    """A photograph with its tokens.

    Attributes:
        image: float[1, 3, H, W] in [-1, 1].
        layout: the initial Gaussians.
        tokens: the tokens.
        reconstruction: what is decoded from them, float[1, 3, H, W].
        settings: the settings under which they were made.
    """

    image: Tensor
    layout: Gaussians
    tokens: Tokens
    reconstruction: Tensor
    settings: Settings


@torch.inference_mode()
def view(tokenizer: GPSToken, image: Tensor, settings: Settings, focus: np.ndarray | None = None) -> View:
    """Encodes and decodes a photograph.

    Args:
        tokenizer: the tokenizer.
        image: float[1, 3, H, W] in [-1, 1].
        settings: numbers of the sliders.
        focus: bool[H, W], where the brush has painted.

    Raises:
        ValueError: if the partition cannot make so many tokens of such a size.
    """
    adjusted = _adjusted(tokenizer, settings)
    bias = None if focus is None else settings.strength * torch.from_numpy(focus.astype(np.float32)).to(image)
    tokens = adjusted.encode(image, settings.tokens, bias)
    return View(image, adjusted.layout(image, settings.tokens, bias), tokens, adjusted.decode(tokens), settings)


@torch.inference_mode()
def mixed(tokenizer: GPSToken, layout_of: View, textures_of: View) -> View:
    """The layout of one photograph with the textures of another, which is encoded in the regions of the first."""
    adjusted = _adjusted(tokenizer, layout_of.settings)
    settings = layout_of.settings
    how = {"lambda_": settings.lambda_, "min_region_size": settings.min_region_size, "tile_size": adjusted.image_size}
    regions = partition(layout_of.image, settings.tokens, **how)
    textures = adjusted.encode(textures_of.image, regions=regions).features
    tokens = replace(layout_of.tokens, features=textures)
    return replace(layout_of, tokens=tokens, reconstruction=adjusted.decode(tokens))


@torch.inference_mode()
def edited(tokenizer: GPSToken, before: View, tokens: Tokens) -> View:
    """The view with other tokens, decoded anew."""
    return replace(before, tokens=tokens, reconstruction=_adjusted(tokenizer, before.settings).decode(tokens))


def nearest(tokens: Tokens, x: float, y: float) -> int:
    """Number of the token whose Gaussian has the highest density at a point of the canvas, [-1, 1] each way."""
    gaussians = tokens.gaussians
    offset = torch.tensor([x, y]).to(gaussians.mu) - gaussians.mu[0]
    u, v = (offset / gaussians.sigma[0]).unbind(-1)
    rho = gaussians.rho[0]
    free = 1 - rho.square()
    distance = (u * u - 2 * rho * u * v + v * v) / free
    density = -distance / 2 - torch.log(gaussians.sigma[0].prod(-1) * free.sqrt())
    return int(density.argmax())


def without(tokens: Tokens, index: int) -> Tokens:
    """The tokens without one of them.

    Raises:
        ValueError: if it is the only one.
    """
    if len(tokens) < 2:
        raise ValueError("the last token cannot be dropped")
    kept = [number for number in range(len(tokens)) if number != index]
    parts = tokens.gaussians
    gaussians = Gaussians(parts.mu[:, kept], parts.sigma[:, kept], parts.rho[:, kept])
    return replace(tokens, gaussians=gaussians, features=tokens.features[:, kept])


def moved(tokens: Tokens, index: int, x: float, y: float) -> Tokens:
    """The tokens with the centre of one at a point of the canvas, [-1, 1] each way."""
    mu = tokens.gaussians.mu.clone()
    mu[0, index] = torch.tensor([x, y]).to(mu)
    return replace(tokens, gaussians=replace(tokens.gaussians, mu=mu))


def pictures(shown: View, chosen: int | None = None) -> tuple[Image.Image, Image.Image, Image.Image, Image.Image]:
    """Initial Gaussians and refined ones on the photograph, the reconstruction, and the error, four times as strong."""
    photo = to_picture(shown.image[0], SCALE)
    refined = draw_gaussians(photo, shown.tokens.gaussians)
    if chosen is not None:
        width, height = photo.size
        x, y = ((shown.tokens.gaussians.mu[0, chosen].double().cpu() + 1) / 2).tolist()
        x, y = x * (width - 1), y * (height - 1)
        ImageDraw.Draw(refined).ellipse((x - 5, y - 5, x + 5, y + 5), outline=CHOSEN, width=3)
    error = (4 * (shown.reconstruction.clamp(-1, 1) - shown.image).abs() - 1).clamp(max=1)
    return (
        draw_gaussians(photo, shown.layout),
        refined,
        to_picture(shown.reconstruction[0], SCALE),
        to_picture(error[0], SCALE),
    )


def measures(shown: View, distances: dict[str, torch.nn.Module] | None = None) -> dict[str, float]:
    """PSNR in dB, SSIM and the LPIPS of the networks at hand; "bytes" of the tokens in float16, "bits" per pixel."""
    with torch.inference_mode():
        rows = reconstruction_metrics(shown.reconstruction, shown.image, distances or {})
    count = 2 * shown.tokens.to_tensor().numel()
    bits = 8 * count / (shown.image.shape[-2] * shown.image.shape[-1])
    return {name: row.item() for name, row in rows.items()} | {"bytes": count, "bits": bits}


def _adjusted(tokenizer: GPSToken, settings: Settings) -> GPSToken:
    """The tokenizer with other constants; the networks are shared."""
    adjusted = copy.copy(tokenizer)
    adjusted.lambda_, adjusted.support_factor = settings.lambda_, settings.support_factor
    adjusted.min_region_size = settings.min_region_size
    return adjusted
