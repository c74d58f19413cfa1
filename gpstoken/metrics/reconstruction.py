"""PSNR, SSIM and LPIPS for each image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio

# name -> True where larger is better
METRICS = {"psnr": True, "ssim": True, "lpips_alexnet": False, "lpips_vgg16": False}
METRICS |= {"psnr_inside": True, "psnr_outside": True}  # inside and outside a focus region
METRICS |= {
    "identity": True,
    "text": True,
    "parts_correlation": True,
}  # shares of what is recognised, see `gpstoken.metrics.recognition`

# Pixels that a distance compares at a time: with VGG16, sixteen images of 1024 px at once took more than 22 GiB.
TOGETHER = 16 * 256**2


def to_uint8(image: Tensor) -> Tensor:
    """float[..., 3, H, W] in [-1, 1] to uint8, clamped and rounded.

    The release truncates, which darkens by half a level.

    Raises:
        FloatingPointError: for values that are not finite, because NaN would become a black pixel.
    """
    if not bool(image.isfinite().all()):
        raise FloatingPointError(f"image: {int((~image.isfinite()).sum())} of {image.numel()} values are not finite")
    return (127.5 * (image.clamp(-1, 1) + 1)).round().to(torch.uint8)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of each pair (Wang et al. 2004), averaged over pixels and channels.

    The window is an 11-pixel Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03, with population variances; the borders are
    mirrored without repeating the edge, so that every pixel counts. The result equals torchmetrics', in a fifth of its
    time on a CPU: rows and columns are filtered one after the other, image by image, so that the data stays in the
    cache.

    Args:
        first: float[B, C, H, W] in [0, 1]; H and W at least 6.
        second: float[B, C, H, W].

    Returns:
        float[B], at most 1.

    Raises:
        ValueError: if the shapes differ or a side is below 6 pixels.
    """
    if first.shape != second.shape or min(first.shape[-2:]) < 6:
        raise ValueError(f"ssim: expected one shape, sides of 6 or more, got {list(first.shape)}, {list(second.shape)}")
    together = 1 if first.device.type == "cpu" else max(1, len(first))
    pairs = zip(first.split(together), second.split(together), strict=True)
    return torch.cat([_ssim(x, y) for x, y in pairs])


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    # With grey as zero, E[x²] - E[x]² loses fewer digits.
    x, y = (F.pad(image - 0.5, (5, 5, 5, 5), mode="reflect") for image in (x, y))
    mean_x, mean_y, squares, product = _blur(torch.stack((x, y, x * x + y * y, x * y)))
    variances = squares - mean_x * mean_x - mean_y * mean_y
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x * mean_x + mean_y * mean_y + 0.01**2)
    return (luminance * (2 * covariance + 0.03**2) / (variances + 0.03**2)).mean(dim=(1, 2, 3))


def _blur(x: Tensor) -> Tensor:
    """[..., H + 10, W + 10] to [..., H, W]: the window, as sums of shifted rows and of shifted columns."""
    taps = [math.exp(-(offset**2) / (2 * 1.5**2)) for offset in range(-5, 6)]
    for dim in (-2, -1):
        shifted = [x.narrow(dim, start, x.shape[dim] - 10) for start in range(11)]
        x = shifted[0] * (taps[0] / sum(taps))
        for tap, part in zip(taps[1:], shifted[1:], strict=True):
            x.add_(part, alpha=tap / sum(taps))
    return x


@torch.no_grad()
def reconstruction_metrics(
    reconstruction: Tensor, image: Tensor, distances: dict[str, nn.Module] | None = None
) -> dict[str, Tensor]:
    """Compares reconstructions with their images, both rounded to 8 bits as a saved file would be.

    PSNR in dB is computed per image (torchmetrics by default pools the squared error of the whole data set).
    An exact reconstruction has infinite PSNR.

    Args:
        reconstruction: float[B, 3, H, W], about [-1, 1].
        image: float[B, 3, H, W] in [-1, 1].
        distances: LPIPS networks by column name, for example {"lpips_alexnet": ...}.

    Returns:
        {"psnr", "ssim", and each of `distances`}: float[B].

    Raises:
        ValueError: if the shapes differ.
    """
    if reconstruction.shape != image.shape:
        raise ValueError(f"metrics: shapes differ, {tuple(reconstruction.shape)} and {tuple(image.shape)}")
    pair = [to_uint8(x).float() / 255 for x in (reconstruction, image)]
    rows = {
        "psnr": peak_signal_noise_ratio(*pair, data_range=1.0, dim=(1, 2, 3), reduction="none"),
        "ssim": ssim(*pair),
    }
    together = max(1, TOGETHER // image[0, 0].numel())
    for name, distance in (distances or {}).items():
        parts = zip(*(x.split(together) for x in pair), strict=True)
        rows[name] = torch.cat([distance(2 * x - 1, 2 * y - 1).flatten() for x, y in parts])
    return rows
