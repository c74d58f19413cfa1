"""Deformable attention against loops over queries, heads, points and the four cells around a point."""

import math

import pytest
import torch

from gpstoken.baselines.deformable import DeformableAttention, MapLayer, QueryLayer, cell_centres


def read(cells, x, y):
    """The map float[h, w, C] at a point in cells, of which the centres are whole numbers; zero outside."""
    height, width, channels = cells.shape
    total = torch.zeros(channels, dtype=cells.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total = total + (1 - abs(x - column)) * (1 - abs(y - row)) * cells[row, column]
    return total


def by_loops(layer, query, reference, cells, size):
    height, width = size
    values = layer.value_proj(cells).reshape(len(cells), height, width, layer.heads, -1)
    result = torch.zeros_like(query)
    for image in range(len(query)):
        for place in range(query.shape[1]):
            offsets = layer.sampling_offsets(query[image, place]).reshape(layer.heads, layer.points, 2)
            logits = layer.attention_weights(query[image, place]).reshape(layer.heads, layer.points)
            found = []
            for head in range(layer.heads):
                total = 0
                for point in range(layer.points):
                    x = reference[image, place, 0] * width + offsets[head, point, 0] - 0.5
                    y = reference[image, place, 1] * height + offsets[head, point, 1] - 0.5
                    weight = logits[head, point].exp() / logits[head].exp().sum()
                    total = total + weight * read(values[image, :, :, head], x.item(), y.item())
                found.append(total)
            result[image, place] = layer.output_proj(torch.cat(found))
    return result


@pytest.fixture
def given():
    chance = torch.Generator().manual_seed(0)
    return (
        torch.randn(2, 5, 8, generator=chance, dtype=torch.float64),
        torch.rand(2, 5, 2, generator=chance, dtype=torch.float64),
        torch.randn(2, 12, 8, generator=chance, dtype=torch.float64),
    )


@torch.no_grad()
def test_it_reads_what_loops_read(given):
    torch.manual_seed(0)
    layer = DeformableAttention(8, 2, 3).double()
    for parameter in layer.parameters():  # offsets of some cells, so that points lie outside too
        parameter.normal_()
    found = layer(*given, (3, 4))
    # float64, with some hundred additions
    torch.testing.assert_close(found, by_loops(layer, *given, (3, 4)), rtol=0, atol=1e-10)


@torch.no_grad()
def test_at_first_heads_look_into_different_directions():
    layer = DeformableAttention(8, 4, 2)
    offsets = layer.sampling_offsets(torch.randn(8)).reshape(4, 2, 2)
    expected = [[[1, 0], [2, 0]], [[0, 1], [0, 2]], [[-1, 0], [-2, 0]], [[0, -1], [0, -2]]]
    torch.testing.assert_close(offsets, torch.tensor(expected).float(), rtol=0, atol=1e-6)


def test_centres_of_cells():
    assert cell_centres((2, 4), torch.device("cpu")).tolist() == [
        [0.125, 0.25], [0.375, 0.25], [0.625, 0.25], [0.875, 0.25],
        [0.125, 0.75], [0.375, 0.75], [0.625, 0.75], [0.875, 0.75],
    ]  # fmt: skip


@torch.no_grad()
def test_positions_are_of_queries_alone(given):
    # With zeros for all positions of queries and of cells, a layer that added them to what is read would differ.
    query, reference, cells = given
    torch.manual_seed(0)
    layer, other = MapLayer(8, 2, 3, 16).double(), QueryLayer(8, 2, 3, 16).double()
    position = torch.randn(12, 8, dtype=torch.float64)
    centres = cell_centres((3, 4), query.device).double().expand(2, -1, -1)
    x = layer.norm1(cells + by_loops(layer.attention, cells + position, centres, cells, (3, 4)))
    expected = layer.norm2(x + layer.feed_forward[2](layer.feed_forward[0](x).clamp_min(0)))
    torch.testing.assert_close(layer(cells, position, centres, (3, 4)), expected, rtol=0, atol=1e-10)
    position = torch.randn(2, 5, 8, dtype=torch.float64)
    attention = other.self_attention
    projected = [
        placed @ weight.T + bias
        for placed, weight, bias in zip(
            (query + position, query + position, query),
            attention.in_proj_weight.chunk(3),
            attention.in_proj_bias.chunk(3),
            strict=True,
        )
    ]
    heads = []
    for head in range(2):
        q, k, v = (each[..., 4 * head : 4 * head + 4] for each in projected)
        heads.append(torch.softmax(q @ k.mT / 2, -1) @ v)
    x = other.norm1(query + attention.out_proj(torch.cat(heads, -1)))
    x = other.norm2(x + by_loops(other.attention, x + position, reference, cells, (3, 4)))
    expected = other.norm3(x + other.feed_forward[2](other.feed_forward[0](x).clamp_min(0)))
    torch.testing.assert_close(other(query, position, reference, cells, (3, 4)), expected, rtol=0, atol=1e-10)
