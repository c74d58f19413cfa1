"""PSNR, SSIM and LPIPS of each image."""

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

# name -> True where larger is better
METRICS = {"psnr": True, "ssim": True, "lpips_alexnet": False, "lpips_vgg16": False}


def to_uint8(image: Tensor) -> Tensor:
    """float[..., 3, H, W] in [-1, 1] to uint8, clamped and rounded.

    The release truncates, which darkens by half a level.
    """
    return (127.5 * (image.clamp(-1, 1) + 1)).round().to(torch.uint8)


@torch.no_grad()
def reconstruction_metrics(
    reconstruction: Tensor, image: Tensor, distances: dict[str, nn.Module] | None = None
) -> dict[str, Tensor]:
    """Compares reconstructions with their images, both rounded to 8 bits as a saved file would be.

    PSNR in dB is that of each image (torchmetrics pools the squared error of the whole data set unless told not to).
    SSIM uses the 11-pixel Gaussian window of sigma 1.5 on [0, 1] RGB. An exact reconstruction has infinite PSNR.

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
        "ssim": structural_similarity_index_measure(*pair, data_range=1.0, reduction="none"),
    }
    for name, distance in (distances or {}).items():
        rows[name] = distance(*(2 * x - 1 for x in pair)).flatten()
    return rows
