"""The renderer as Triton kernels for GPUs: one program per tile of pixels (forward) or per Gaussian (backward).

Every sum is computed by one program in a fixed order, without atomics, so repeated runs are equal to the bit. With
TRITON_INTERPRET=1, set before the first import, the kernels run on CPU tensors, slowly, for tests.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from gpstoken.splat.operators import Gradients, register
from gpstoken.splat.reference import pixel_positions

TILE = 8  # side of the square of pixels that a program computes (forward) or reads at a time (backward)
CHUNK = 64  # Gaussians that are tested at a time for touching the tile
BLOCK = 16  # touching Gaussians that are weighted and added at a time
WARPS = 4  # no register spills up to C 64; see tests/test_triton_compiles.py


@triton.jit
def _weights(dx, dy, sigma_x, sigma_y, rho, support):
    """Eq. 2 as in the reference: a sum of squares, cut off by a "not outside" test, so that a NaN shows in the map."""
    u = dx / sigma_x
    v = dy / sigma_y
    scale = tl.rsqrt((1 - rho) * (1 + rho) * 2)
    z = scale * v - scale * rho * u
    outside = (tl.abs(dx) > support * sigma_x) | (tl.abs(dy) > support * sigma_y)
    return tl.where(outside, 0.0, tl.exp(-(u * u) / 2 - z * z))


@triton.jit
def _paint(
    mu, sigma, rho, features, boxes, x, y, feature_map,
    num_tokens, channels, height, width, support,
    LANES: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of one map: chunk by chunk, the touching Gaussians are packed into blocks, weighted and added."""
    image = tl.program_id(1).to(tl.int64)
    columns = tl.cdiv(width, TILE)
    row, column = tl.program_id(0) // columns, tl.program_id(0) % columns
    left, top = column * TILE, row * TILE
    right, bottom = tl.minimum(left + TILE, width) - 1, tl.minimum(top + TILE, height) - 1
    x_left, x_right, y_top, y_bottom = tl.load(x + left), tl.load(x + right), tl.load(y + top), tl.load(y + bottom)
    pixel = tl.arange(0, TILE * TILE)
    pixel_x, pixel_y = left + pixel % TILE, top + pixel // TILE
    inside = (pixel_x < width) & (pixel_y < height)
    at_x, at_y = tl.load(x + pixel_x, inside, 0.0), tl.load(y + pixel_y, inside, 0.0)
    lane = tl.arange(0, LANES)
    mu, sigma = mu + image * num_tokens * 2, sigma + image * num_tokens * 2
    rho, features = rho + image * num_tokens, features + image * num_tokens * channels
    chunks = tl.cdiv(num_tokens, CHUNK)
    boxes += image * chunks * 4
    total = tl.zeros((TILE * TILE, LANES), tl.float32)
    for chunk in range(chunks):
        # A box around all supports of the chunk: with merged tiles, most chunks lie elsewhere.
        away = (x_right < tl.load(boxes + 4 * chunk)) | (x_left > tl.load(boxes + 4 * chunk + 1))
        away |= (y_bottom < tl.load(boxes + 4 * chunk + 2)) | (y_top > tl.load(boxes + 4 * chunk + 3))
        if not away:
            token = chunk * CHUNK + tl.arange(0, CHUNK)
            exists = token < num_tokens
            mu_x, mu_y = tl.load(mu + 2 * token, exists, 0.0), tl.load(mu + 2 * token + 1, exists, 0.0)
            limit_x = support * tl.load(sigma + 2 * token, exists, 0.0)
            limit_y = support * tl.load(sigma + 2 * token + 1, exists, 0.0)
            clear = (x_right - mu_x < -limit_x) | (x_left - mu_x > limit_x)
            clear |= (y_bottom - mu_y < -limit_y) | (y_top - mu_y > limit_y)
            touching = (exists & ~clear).to(tl.int32)
            rank = tl.cumsum(touching, 0) - 1
            for start in range(0, tl.sum(touching), BLOCK):
                slot = start + tl.arange(0, BLOCK)
                chosen = (rank[None, :] == slot[:, None]) & (touching[None, :] == 1)
                filled = tl.sum(chosen.to(tl.int32), 1) == 1
                picked = tl.sum(tl.where(chosen, token[None, :], 0), 1)
                centre_x, centre_y = tl.load(mu + 2 * picked), tl.load(mu + 2 * picked + 1)
                wide, high = tl.load(sigma + 2 * picked), tl.load(sigma + 2 * picked + 1)
                dx, dy = at_x[:, None] - centre_x[None, :], at_y[:, None] - centre_y[None, :]
                weight = _weights(dx, dy, wide[None, :], high[None, :], tl.load(rho + picked)[None, :], support)
                weight = tl.where(filled[None, :], weight, 0.0)
                address = features + picked[:, None] * channels + lane[None, :]
                feature = tl.load(address, filled[:, None] & (lane < channels)[None, :], 0.0)
                total = tl.dot(weight, feature, total, input_precision="ieee")
    target = feature_map + image * channels * height * width
    target += lane[None, :].to(tl.int64) * height * width + (pixel_y * width + pixel_x)[:, None]
    tl.store(target, total, inside[:, None] & (lane < channels)[None, :])


@triton.jit
def _range(centre, limit, count):
    """First and last pixel that a support box may contain, with one extra on either side; all pixels for a NaN."""
    low = (centre - limit + 1) * 0.5 * (count - 1) - 1
    high = (centre + limit + 1) * 0.5 * (count - 1) + 1
    low = tl.where(low > 0, tl.where(low > count, count, low), 0.0)
    high = tl.where(high < count - 1, tl.where(high < -1, -1.0, high), count - 1.0)
    return low.to(tl.int32), tl.ceil(high).to(tl.int32)


@triton.jit
def _differentiate(
    gradient, mu, sigma, rho, features, x, y, to_mu, to_sigma, to_rho, to_features,
    num_tokens, channels, height, width, support,
    LANES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """The gradient of one Gaussian over its own box.

    In u = dx / sigma_x, r = sqrt(1 - rho^2) and z = (dy / sigma_y - rho u) / r the exponent is -(u^2 + z^2) / 2. All
    gradients of the geometry follow from five moments of q = w (gradient . f) in u and z, which keep their digits as
    |rho| approaches 1, unlike moments in dx and dy.
    """
    image = tl.program_id(1).to(tl.int64)
    token = image * num_tokens + tl.program_id(0)
    mu_x, mu_y = tl.load(mu + 2 * token), tl.load(mu + 2 * token + 1)
    sigma_x, sigma_y = tl.load(sigma + 2 * token), tl.load(sigma + 2 * token + 1)
    correlation = tl.load(rho + token)
    r = tl.sqrt((1 - correlation) * (1 + correlation))
    lane = tl.arange(0, LANES)
    feature = tl.load(features + token * channels + lane, lane < channels, 0.0)
    first, last = _range(mu_x, support * sigma_x, width)
    low, high = _range(mu_y, support * sigma_y, height)
    pixel = tl.arange(0, TILE * TILE)
    gradient += image * channels * height * width
    sum_u = tl.zeros((TILE * TILE,), tl.float32)
    sum_z, sum_uu, sum_uz, sum_zz = sum_u, sum_u, sum_u, sum_u
    sum_features = tl.zeros((LANES,), tl.float32)
    for top in range(low, high + 1, TILE):
        for left in range(first, last + 1, TILE):
            pixel_x, pixel_y = left + pixel % TILE, top + pixel // TILE
            inside = (pixel_x <= last) & (pixel_y <= high)
            dx = tl.load(x + pixel_x, inside, 0.0) - mu_x
            dy = tl.load(y + pixel_y, inside, 0.0) - mu_y
            weight = tl.where(inside, _weights(dx, dy, sigma_x, sigma_y, correlation, support), 0.0)
            address = gradient + lane[None, :].to(tl.int64) * height * width + (pixel_y * width + pixel_x)[:, None]
            upstream = tl.load(address, inside[:, None] & (lane < channels)[None, :], 0.0)
            sum_features += tl.sum(weight[:, None] * upstream, 0)
            q = weight * tl.sum(upstream * feature[None, :], 1)
            u = dx / sigma_x
            z = (dy / sigma_y - correlation * u) / r
            sum_u += q * u
            sum_z += q * z
            sum_uu += q * u * u
            sum_uz += q * u * z
            sum_zz += q * z * z
    one_u, one_z = tl.sum(sum_u, 0), tl.sum(sum_z, 0)
    uu, uz, zz = tl.sum(sum_uu, 0), tl.sum(sum_uz, 0), tl.sum(sum_zz, 0)
    tl.store(to_mu + 2 * token, (one_u - correlation / r * one_z) / sigma_x)
    tl.store(to_mu + 2 * token + 1, one_z / (r * sigma_y))
    tl.store(to_sigma + 2 * token, (uu - correlation / r * uz) / sigma_x)
    tl.store(to_sigma + 2 * token + 1, (zz + correlation / r * uz) / sigma_y)
    tl.store(to_rho + token, uz / r - correlation / (r * r) * zz)
    tl.store(to_features + token * channels + lane, sum_features, lane < channels)


def _boxes(mu: Tensor, sigma: Tensor, support_factor: float) -> Tensor:
    """[B, chunks, 4]: the ends (x0, x1, y0, y1) of the supports of each CHUNK of Gaussians; unbounded for a NaN."""
    limit = support_factor * sigma
    low, high = (mu - limit).nan_to_num(-torch.inf), (mu + limit).nan_to_num(torch.inf)
    missing = -mu.shape[1] % CHUNK
    low = torch.nn.functional.pad(low, (0, 0, 0, missing), value=torch.inf)
    high = torch.nn.functional.pad(high, (0, 0, 0, missing), value=-torch.inf)
    # Slack for one rounding, because the kernel's own test subtracts in the other order.
    low, high = low.unflatten(1, (-1, CHUNK)).amin(2) - 1e-5, high.unflatten(1, (-1, CHUNK)).amax(2) + 1e-5
    return torch.stack([low[..., 0], high[..., 0], low[..., 1], high[..., 1]], dim=-1).contiguous()


def _lanes(channels: int) -> int:
    return max(16, triton.next_power_of_2(channels))  # tl.dot needs at least 16


def _checked(*tensors: Tensor) -> list[Tensor]:
    if tensors[0].dtype != torch.float32:
        raise ValueError(f"splat: the triton backend computes in float32, got {tensors[0].dtype}")
    return [tensor.detach().contiguous() for tensor in tensors]


def _forward(
    mu: Tensor, sigma: Tensor, rho: Tensor, features: Tensor, height: int, width: int, support_factor: float
) -> Tensor:
    features, mu, sigma, rho = _checked(features, mu, sigma, rho)
    batch, num_tokens, channels = features.shape
    x, y = (pixel_positions(count, dtype=mu.dtype, device=mu.device) for count in (width, height))
    feature_map = features.new_zeros(batch, channels, height, width)
    if feature_map.numel() and num_tokens:
        grid = (triton.cdiv(height, TILE) * triton.cdiv(width, TILE), batch)
        boxes = _boxes(mu, sigma, support_factor)
        _paint[grid](
            mu, sigma, rho, features, boxes, x, y, feature_map,
            num_tokens, channels, height, width, support_factor,
            LANES=_lanes(channels), TILE=TILE, CHUNK=CHUNK, BLOCK=BLOCK, num_warps=WARPS,
        )  # fmt: skip
    return feature_map


def _backward(
    gradient: Tensor, mu: Tensor, sigma: Tensor, rho: Tensor, features: Tensor, support_factor: float
) -> Gradients:
    features, gradient, mu, sigma, rho = _checked(features, gradient, mu, sigma, rho)
    batch, num_tokens, channels = features.shape
    height, width = gradient.shape[2:]
    x, y = (pixel_positions(count, dtype=mu.dtype, device=mu.device) for count in (width, height))
    results = [torch.zeros_like(value) for value in (mu, sigma, rho, features)]
    if features.numel():
        _differentiate[(num_tokens, batch)](
            gradient, mu, sigma, rho, features, x, y, *results,
            num_tokens, channels, height, width, support_factor,
            LANES=_lanes(channels), TILE=TILE, num_warps=WARPS,
        )  # fmt: skip
    return tuple(results)


register("triton", "cpu" if triton.knobs.runtime.interpret else "cuda", _forward, _backward)
