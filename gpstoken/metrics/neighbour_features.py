"""The nearest training image of each sample by features, in bounded memory even for ImageNet's 1.28 million images."""

import torch
from torch import Tensor

# Entries of a block of features: 32 MB as float32, and three times 64 MB while it is computed in float64.
ENTRIES = 2**23
ROWS = 4096  # rows of a block, at most: 64 MB of similarities
# The components of unit vectors are rounded to multiples of this, so float32 holds them exactly, float64 their sums.
GRAIN = 2.0**-24


def nearest_by_features(queries: Tensor, references: Tensor, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    """The nearest reference of every query by cosine: index long[n] and 1 - cosine, float64[n] in [0, 2].

    Block products in float32, with a bound on their rounding, select the few references that may be nearest to each
    query; exact sums decide among those. Among equally near references the first is taken, and the result depends
    neither on the block size nor on the machine.

    Args:
        queries: features [n, d].
        references: features [m, d], m ≥ 1.
        rows: the most rows of a block.

    Raises:
        ValueError: for shapes that differ, no references, or features of zero length.
    """
    check_alike(queries, references)
    width = queries[0].numel() if len(queries) else references[0].numel()
    rows = max(1, min(rows, ENTRIES // width))
    margin = rounding(width)
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(queries), dtype=torch.long)
    highest = torch.full((len(queries),), -torch.inf)
    for first in range(0, len(references), rows):
        y = direction(references[first : first + rows])
        for start in range(0, len(queries), rows):
            at = slice(start, start + rows)
            x = direction(queries[at])
            similarity = x @ y.T
            highest[at] = torch.maximum(highest[at], similarity.amax(dim=1))
            pairs = (similarity >= (highest[at] - margin)[:, None]).nonzero()
            for part in pairs.split(max(1, ENTRIES // 4 // width)):
                query, reference = part.unbind(dim=1)
                squared = (x[query].double() - y[reference].double()).square().sum(dim=1)
                nearest = torch.full_like(best[at], torch.inf).scatter_reduce(0, query, squared, "amin")
                hit = squared == nearest[query]
                number = torch.full_like(index[at], len(references))
                number = number.scatter_reduce(0, query[hit], first + reference[hit], "amin")
                nearer = nearest < best[at]
                best[at] = torch.where(nearer, nearest, best[at])
                index[at] = torch.where(nearer, number, index[at])
    return index, best.sqrt().square() / 2  # |u - v|² = 2 - 2 u·v of unit vectors


def direction(features: Tensor) -> Tensor:
    """Unit vectors in multiples of `GRAIN`, float32[n, d]."""
    exact = features.double()  # never changed in place: it is the input itself if that is float64
    length = exact.norm(dim=1, keepdim=True)
    if features.ndim != 2 or not bool((length > 0).all() and length.isfinite().all()):
        raise ValueError(f"nearest: expected features [n, d] of finite length above 0, got {list(features.shape)}")
    return ((exact / length).div_(GRAIN).round_() * GRAIN).float()


def rounding(width: int) -> float:
    """How far the nearest reference's product may lie below the highest product in float32.

    A sum of d terms is off by at most d units of rounding in any order of summation, and this error occurs once for
    each of the two compared products; lengths differ from one by half of `GRAIN` in every component.
    """
    return 1.01 * (2 * width + width**0.5 + 4) * 2.0**-24


def check_alike(queries: Tensor, references: Tensor) -> None:
    """Checks that queries and references can be compared.

    Raises:
        ValueError: for shapes that differ, or no references.
    """
    if queries.shape[1:] != references.shape[1:] or not len(references):
        raise ValueError(
            f"nearest: expected one or more references with the shape of the queries, "
            f"got {list(references.shape)} for {list(queries.shape)}"
        )
