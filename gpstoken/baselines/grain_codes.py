"""The codes of an image whose regions have four of them or one: as a sequence, and as a grid."""

from typing import NamedTuple

import torch
from torch import Tensor

FINE = 4  # codes of a fine region, two rows of two


class GrainTokens(NamedTuple):
    """The codes of images, as many for each, and where they stand.

    Attributes:
        codes: float[B, N, C]: the coarse regions' code each, then the fine regions' four each (two rows of two);
            regions are in the order of the image's rows.
        grain: float[B, h, w], 1 for a fine region and 0 for a coarse one.
    """

    codes: Tensor
    grain: Tensor


def coarse_first(grain: Tensor) -> Tensor:
    """The regions of grain maps float[B, h, w] in the order of their codes: numbers long[B, h * w]."""
    return grain.flatten(1).argsort(dim=1, stable=True)


def gathered(fine: Tensor, coarse: Tensor, grain: Tensor, count: int) -> Tensor:
    """Picks the codes of the regions: the inverse of `placed`.

    Args:
        fine: float[B, C, 2h, 2w], four codes a region.
        coarse: float[B, C, h, w], one code a region.
        grain: float[B, h, w] with `count` ones each.
        count: number of fine regions.

    Returns:
        float[B, N, C], in the order of `GrainTokens`.
    """
    order = coarse_first(grain)[..., None]
    first = len(order[0]) - count
    cells = fine.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # [B, C, h, 2, w, 2]
    cells = cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # [B, regions, 4 C]
    whole = coarse.flatten(2).transpose(1, 2)
    codes = whole.gather(1, order[:, :first].expand(-1, -1, whole.shape[2]))
    parts = cells.gather(1, order[:, first:].expand(-1, -1, cells.shape[2]))
    return torch.cat([codes, parts.unflatten(2, (FINE, -1)).flatten(1, 2)], dim=1)


def placed(tokens: GrainTokens) -> Tensor:
    """The grid of codes float[B, C, 2h, 2w], in which the code of a coarse region stands four times.

    Raises:
        ValueError: for a number of codes that does not fit the regions.
    """
    codes, grain = tokens
    regions = grain[0].numel()
    count, odd = divmod(codes.shape[1] - regions, FINE - 1)
    if odd or not 0 <= count <= regions:
        raise ValueError(f"tokens: {codes.shape[1]} codes do not fit {regions} regions of 1 or {FINE} codes")
    whole, parts = codes.split([regions - count, FINE * count], dim=1)
    cells = torch.cat([whole[:, :, None].expand(-1, -1, FINE, -1), parts.unflatten(1, (count, FINE))], dim=1)
    back = coarse_first(grain).argsort(dim=1)
    cells = cells.flatten(2).gather(1, back[..., None].expand(-1, -1, FINE * codes.shape[2]))
    grid = cells.unflatten(1, grain.shape[1:]).unflatten(3, (2, 2, -1))  # [B, h, w, 2, 2, C]
    return grid.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
