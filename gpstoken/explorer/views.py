"""What the explorer computes: tokens of a photograph under its settings, or generated, and what edits change."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gpstoken.drawing import draw_gaussians, to_picture
from gpstoken.gaussians import Gaussians
from gpstoken.generators.two_stage import TwoStage, TwoStageSampling
from gpstoken.metrics import reconstruction_metrics
from gpstoken.partition import max_regions, partition
from gpstoken.tokenizer import GPSToken
from gpstoken.tokens import Tokens

SCALE = 2  # of the pictures in the browser
# In a tenth of the published sampler's calls: an answer within two seconds on two cores.
GENERATION = TwoStageSampling(sampler="ode", steps=25)
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


def settings_of(tokenizer: GPSToken) -> Settings:
    """The settings with which a tokenizer was trained."""
    numbers = (tokenizer.num_tokens, tokenizer.lambda_, tokenizer.min_region_size, tokenizer.support_factor)
    return Settings(*numbers)


@dataclass(frozen=True)
class View:
    """A photograph, or a generated image, with its tokens.

    Attributes:
        image: float[1, 3, H, W] in [-1, 1]; a generated image as it was before any edit, until then the same object as
            `reconstruction`.
        regions: long[1, N, 4], the pixel box of each token.
        layout: the initial Gaussians.
        tokens: the tokens.
        reconstruction: what is decoded from them, float[1, 3, H, W].
        settings: the settings under which they were made.
        previous: the reconstruction before the last edit; None if the tokens are as encoded or as generated.
    """

    image: Tensor
    regions: Tensor
    layout: Gaussians
    tokens: Tokens
    reconstruction: Tensor
    settings: Settings
    previous: Tensor | None = None


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
    adjusted, side = _adjusted(tokenizer, settings), tokenizer.image_size
    limit = max_regions(side, side, settings.min_region_size)
    if settings.tokens > limit:
        raise ValueError(
            f"{settings.tokens} tokens are too many: with s_min = {settings.min_region_size} px the photograph splits "
            f"into at most {limit} regions. Choose fewer tokens or a smaller s_min."
        )
    bias = None if focus is None else settings.strength * torch.from_numpy(focus.astype(np.float32)).to(image)
    how = (settings.lambda_, settings.min_region_size, bias, adjusted.partition_backend, side)
    regions = partition(image, settings.tokens, *how)
    layout, tokens = adjusted.layout(image, regions=regions), adjusted.encode(image, regions=regions)
    return View(image, regions, layout, tokens, adjusted.decode(tokens), settings)


@torch.inference_mode()
def mixed(tokenizer: GPSToken, layout_of: View, image: Tensor) -> View:
    """The Gaussians of one photograph with the textures of another, which is encoded in the regions of the first.

    Args:
        tokenizer: the tokenizer.
        layout_of: the first photograph; Gaussians that were dropped or moved stay so.
        image: the other photograph, float[1, 3, H, W] in [-1, 1], with which the reconstruction is then compared.
    """
    adjusted = _adjusted(tokenizer, layout_of.settings)
    textures = adjusted.encode(image, regions=layout_of.regions).features
    tokens = replace(layout_of.tokens, features=textures)
    return replace(layout_of, image=image, tokens=tokens, reconstruction=adjusted.decode(tokens), previous=None)


@torch.inference_mode()
def generated(generator: TwoStage, tokenizer: GPSToken, label: int, number: int) -> View:
    """A new image.

    Args:
        generator: generates tokens of the tokenizer.
        tokenizer: decodes them.
        label: the class.
        number: the number of the sample, which determines its noise.
    """
    label = torch.tensor([label], device=next(generator.parameters()).device)
    parts = generator.sample(label, [number], 0, GENERATION)
    tokens, layout = tokenizer.unpack(parts), parts["layout"]
    image = tokenizer.decode(tokens)
    settings = replace(settings_of(tokenizer), tokens=len(tokens))
    return View(image, generator.regions(layout), Gaussians.from_tensor(layout), tokens, image, settings)


@torch.inference_mode()
def dropped(tokenizer: GPSToken, before: View, index: int) -> View:
    """The view without one of its tokens, decoded anew.

    Raises:
        ValueError: if it is the only one.
    """
    if len(before.tokens) < 2:
        raise ValueError("The last token cannot be dropped.")
    kept = [number for number in range(len(before.tokens)) if number != index]
    layout, gaussians = (
        Gaussians(each.mu[:, kept], each.sigma[:, kept], each.rho[:, kept])
        for each in (before.layout, before.tokens.gaussians)
    )
    tokens = replace(before.tokens, gaussians=gaussians, features=before.tokens.features[:, kept])
    return _edited(tokenizer, replace(before, regions=before.regions[:, kept], layout=layout), tokens)


@torch.inference_mode()
def moved(tokenizer: GPSToken, before: View, index: int, x: float, y: float) -> View:
    """The view with the centre of one Gaussian at a point of the canvas, [-1, 1] each way, decoded anew."""
    mu = before.tokens.gaussians.mu.clone()
    mu[0, index] = torch.tensor([x, y]).to(mu)
    return _edited(tokenizer, before, replace(before.tokens, gaussians=replace(before.tokens.gaussians, mu=mu)))


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


@dataclass(frozen=True)
class Pictures:
    """What is shown of a view.

    Attributes:
        initial: the initial Gaussians on the photograph.
        refined: the refined ones, with a ring around the chosen one.
        reconstruction: the reconstruction.
        error: its difference from the photograph, four times as strong; None where there is none to compare with.
        change: its difference from the reconstruction before the last edit, four times as strong; None if unedited.
    """

    initial: Image.Image
    refined: Image.Image
    reconstruction: Image.Image
    error: Image.Image | None
    change: Image.Image | None


def pictures(shown: View, chosen: int | None = None) -> Pictures:
    """Draws a view in which the Gaussian of that number is chosen."""
    photo = to_picture(shown.image[0], SCALE)
    refined = draw_gaussians(photo, shown.tokens.gaussians)
    if chosen is not None:
        width, height = photo.size
        x, y = ((shown.tokens.gaussians.mu[0, chosen].double().cpu() + 1) / 2).tolist()
        x, y = x * (width - 1), y * (height - 1)
        ImageDraw.Draw(refined).ellipse((x - 8, y - 8, x + 8, y + 8), outline=CHOSEN, width=3)
    return Pictures(
        draw_gaussians(photo, shown.layout),
        refined,
        to_picture(shown.reconstruction[0], SCALE),
        None if shown.reconstruction is shown.image else _difference(shown.reconstruction, shown.image),
        None if shown.previous is None else _difference(shown.reconstruction, shown.previous),
    )


def measures(shown: View, distances: dict[str, torch.nn.Module] | None = None) -> dict[str, float]:
    """PSNR in dB, SSIM and the LPIPS of the networks at hand; "bytes" of the tokens in float16, "bits" per pixel.

    Of an edited view also "change": how much higher in dB the PSNR is than before the last edit. A generated image is
    compared with nothing until it is edited, and then with what was generated.
    """
    count = 2 * shown.tokens.to_tensor().numel()
    bits = 8 * count / (shown.image.shape[-2] * shown.image.shape[-1])
    sizes = {"bytes": count, "bits": bits}
    if shown.reconstruction is shown.image:
        return sizes
    with torch.inference_mode():
        rows = reconstruction_metrics(shown.reconstruction, shown.image, distances or {})
    values = {name: row.item() for name, row in rows.items()} | sizes
    if shown.previous is not None and shown.previous is not shown.image:
        values["change"] = values["psnr"] - reconstruction_metrics(shown.previous, shown.image, {})["psnr"].item()
    return values


def _edited(tokenizer: GPSToken, before: View, tokens: Tokens) -> View:
    """The view with other tokens, decoded anew."""
    reconstruction = _adjusted(tokenizer, before.settings).decode(tokens)
    return replace(before, tokens=tokens, reconstruction=reconstruction, previous=before.reconstruction)


def _difference(image: Tensor, other: Tensor) -> Image.Image:
    """|image - other| of float[1, 3, H, W], four times as strong: black where they agree."""
    return to_picture((4 * (image.clamp(-1, 1) - other.clamp(-1, 1)).abs() - 1)[0], SCALE)


def _adjusted(tokenizer: GPSToken, settings: Settings) -> GPSToken:
    """The tokenizer with other constants; the networks are shared."""
    adjusted = copy.copy(tokenizer)
    adjusted.lambda_, adjusted.support_factor = settings.lambda_, settings.support_factor
    adjusted.min_region_size = settings.min_region_size
    return adjusted
