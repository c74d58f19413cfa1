"""The renderer with culling: for each tile of 8 x 8 pixels, only the Gaussians whose support touches it.

For tokens of photographs only three or four Gaussians touch a pixel, whatever their number, so nearly all terms of the
dense sum are zero. It is plain torch with autograd, differentiable in mu, sigma, rho and the features.
"""

import torch
from torch import Tensor

from gpstoken.gaussians import Gaussians
from gpstoken.splat.reference import full_precision_product, gaussian_weight, inside_support, pixel_positions

TILE = 8


def splat(gaussians: Gaussians, features: Tensor, size: tuple[int, int], support_factor: float) -> Tensor:
    """The same map as `gpstoken.splat.reference.splat` (same arguments), summed over touching Gaussians only.

    A pair is a tile of an image and a Gaussian that touches it. Pairs are sorted by the number of pairs of their tile,
    so all tiles with the same number form a dense block: one batched product per block, without padding and without a
    limit on the Gaussians per tile.
    """
    (height, width), (batch, num_tokens, channels) = size, features.shape
    x, y = (_tile_positions(count, features) for count in (width, height))
    columns, rows = len(x), len(y)

    touching_x, touching_y = (_touching(gaussians, axis, line, support_factor) for axis, line in enumerate((x, y)))
    touching = (touching_y[:, :, None] & touching_x[:, None]).reshape(batch * rows * columns, num_tokens)
    length, order = touching.sum(-1).sort(stable=True)
    rank, token = touching[order].nonzero(as_tuple=True)
    tile = order[rank]
    token = token + tile // (rows * columns) * num_tokens

    # index_select instead of plain indexing, which adds gradients atomically and in any order on several CPU threads.
    geometry = torch.cat([gaussians.mu, gaussians.sigma, gaussians.rho[..., None]], dim=-1).reshape(-1, 5)
    mu_x, mu_y, sigma_x, sigma_y, rho = geometry.index_select(0, token)[:, :, None, None].unbind(1)  # [P, 1, 1] each
    dx = x[tile % columns][:, None] - mu_x
    dy = y[tile // columns % rows][:, :, None] - mu_y
    weight = gaussian_weight(dx, dy, sigma_x, sigma_y, rho, support_factor).flatten(1)  # [P, 64]
    feature = features.reshape(-1, channels).index_select(0, token)

    blocks = []
    lengths, tiles = (value.tolist() for value in length.unique_consecutive(return_counts=True))
    pairs = [count * number for count, number in zip(lengths, tiles, strict=True)]
    split = zip(lengths, tiles, weight.split(pairs), feature.split(pairs), strict=True)
    for count, number, block_weight, block_feature in split:
        block_weight = block_weight.reshape(number, count, TILE * TILE)
        block_feature = block_feature.reshape(number, count, channels)
        blocks.append(full_precision_product(block_weight.mT, block_feature))
    feature_map = torch.cat(blocks).index_select(0, order.argsort()).reshape(batch, rows, columns, TILE, TILE, channels)
    return feature_map.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, rows * TILE, -1)[..., :height, :width]


def count_pairs(gaussians: Gaussians, size: tuple[int, int], support_factor: float) -> int:
    """The number of pairs of a tile and a Gaussian that touches it, over the whole batch: the cost of `splat`."""
    x, y = (_tile_positions(count, gaussians.mu) for count in (size[1], size[0]))
    touching_x, touching_y = (_touching(gaussians, axis, line, support_factor) for axis, line in enumerate((x, y)))
    return int((touching_x.sum(1) * touching_y.sum(1)).sum())


def _tile_positions(count: int, like: Tensor) -> Tensor:
    """Positions [tiles, 8] of the pixels of one side; the last tile repeats the last pixel, to be cropped later."""
    x = pixel_positions(count, dtype=like.dtype, device=like.device)
    index = torch.arange(-(-count // TILE) * TILE, device=like.device).clamp(max=count - 1)
    return x[index].reshape(-1, TILE)


def _touching(gaussians: Gaussians, axis: int, positions: Tensor, support_factor: float) -> Tensor:
    """Whether any pixel [tiles, 8] of a tile lies in the support along axis 0 (x) or 1 (y): bool[B, tiles, N].

    The test of every pixel is exactly that of its weight, so rounding cannot lose a pixel on the edge.
    """
    mu, sigma = (value[:, None, None, :, axis] for value in (gaussians.mu, gaussians.sigma))
    return inside_support(positions[:, :, None] - mu, sigma, support_factor).any(2)
