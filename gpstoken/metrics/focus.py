"""Reconstruction quality inside and outside a focus region, and the map that draws tokens into it."""

import torch
from torch import Tensor


def disc(size: tuple[int, int], radius: float) -> Tensor:
    """bool[H, W]: pixels whose centre lies within `radius` times the shorter side of the image's centre.

    Args:
        size: (H, W) in pixels.
        radius: above 0; at 0.5 the disc touches the nearer edges.

    Raises:
        ValueError: for a radius that leaves no pixel inside or none outside.
    """
    y, x = (torch.arange(side) - (side - 1) / 2 for side in size)
    inside = (y[:, None] ** 2 + x**2).sqrt() <= radius * min(size)
    if not inside.any() or inside.all():
        raise ValueError(f"focus: radius {radius} leaves no pixel inside or none outside in {size[0]}x{size[1]} pixels")
    return inside


def region_psnr(reconstruction: Tensor, image: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """PSNR in dB of each image over the pixels inside a region and over those outside.

    Args:
        reconstruction: uint8[B, 3, H, W].
        image: uint8[B, 3, H, W].
        inside: bool[H, W].

    Returns:
        {"psnr_inside", "psnr_outside"}: float[B]; infinite if all pixels are equal.
    """
    error = (reconstruction.double() - image.double()).square().mean(dim=1)
    inside = inside.to(error.device)
    part = {"psnr_inside": error[:, inside], "psnr_outside": error[:, ~inside]}
    return {name: (10 * (255**2 / errors.mean(dim=1)).log10()).float() for name, errors in part.items()}
