"""Quantisers: nearest entries by scipy, codes counted by hand, and the straight-through gradient."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from gpstoken.baselines.quantisers import Bits, FiniteScalars, NearestCodes


@pytest.fixture
def vectors():
    return torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("normalised", [False, True])
def test_the_nearest_entry(vectors, normalised):
    torch.manual_seed(0)
    codes = NearestCodes(7, 4, normalised)
    codes.load_state_dict(codes.state_of(torch.randn(7, 4)))
    codes.eval()
    found = codes(vectors)
    metric = "cosine" if normalised else "euclidean"
    expected = cdist(vectors.flatten(0, 1).double().numpy(), codes.entries.detach().double().numpy(), metric).argmin(1)
    assert np.array_equal(found.indices.flatten().numpy(), expected) and found.terms == {}
    assert torch.equal(found.entries, codes.entries_of(found.indices))
    if normalised:
        # A length of 1 to a few roundings of float32.
        torch.testing.assert_close(codes.entries.detach().norm(dim=-1), torch.ones(7), rtol=0, atol=1e-6)


def test_training_uses_every_entry(vectors):
    # 24 vectors in four far clusters of six, and four entries: each finds one, whatever their start.
    torch.manual_seed(0)
    centres = 10 * torch.eye(4).repeat_interleave(6, 0).reshape(2, 12, 4)
    codes = NearestCodes(4, 4, codebook=0.0).train()
    for _ in range(20):
        found = codes(centres + 0.01 * vectors)
    assert sorted(found.indices.unique().tolist()) == [0, 1, 2, 3]
    # A running mean over batches of vectors within 0.05 of the centre.
    assert (codes.entries[found.indices] - centres).abs().max() < 0.05


@pytest.mark.parametrize("codebook", [0.0, 0.5])
def test_the_gradient_goes_straight_through_and_the_terms_are_weighted(vectors, codebook):
    torch.manual_seed(0)
    codes = NearestCodes(6, 4, commitment=0.25, codebook=codebook).train()
    given = vectors.clone().requires_grad_()
    found = codes(given)
    weight = torch.randn(found.entries.shape)
    (gradient,) = torch.autograd.grad((found.entries * weight).sum(), given, retain_graph=True)
    torch.testing.assert_close(gradient, weight)
    value, scale = found.terms["codebook"]
    entries = codes.entries[found.indices].detach()
    expected = (0.25 + codebook) * (vectors - entries).square().mean()
    torch.testing.assert_close(scale * value.detach(), expected)
    # Each weight moves its own side: d/dv of mean (v - e)^2 is 2 (v - e) / count.
    (gradient,) = torch.autograd.grad(value, given, retain_graph=True)
    torch.testing.assert_close(gradient, 0.25 * 2 * (vectors - entries) / vectors.numel())
    trained = [parameter for parameter in codes.parameters() if parameter.requires_grad]
    assert len(trained) == (codebook > 0) and sum(each.numel() for each in codes.parameters()) == 6 * 4
    if codebook:
        (gradient,) = torch.autograd.grad(value, trained)
        moved = torch.zeros(6, 4).index_add(0, found.indices.flatten(), (entries - vectors).flatten(0, 1))
        torch.testing.assert_close(gradient[0], 0.5 * 2 * moved / vectors.numel())


def test_an_entry_that_is_not_used_is_replaced(vectors):
    torch.manual_seed(0)
    codes = NearestCodes(6, 4, decay=0.5, least_use=0.1).train()
    codes.load_state_dict(codes.state_of(torch.cat([vectors[0, :5], torch.full((1, 4), 100.0)])))
    for _ in range(4):  # its count halves: 1/2, 1/4, 1/8, 1/16
        assert (codes.entries[5] == 100).all()
        codes(vectors)
    assert codes.entries[5].detach().tolist() in vectors.flatten(0, 1).tolist()


def test_bits_count_from_the_first_channel(vectors):
    bits = Bits(4).eval()
    signs = torch.tensor([[[1.0, -2.0, -0.1, -3.0], [-1.0, 1.0, -1.0, 1.0]]])
    found = bits(signs)
    assert bits.size == 16 and found.indices.tolist() == [[1, 2 + 8]]
    assert torch.equal(found.entries, signs.sign()) and torch.equal(bits.entries_of(found.indices), signs.sign())


def test_the_entropy_term_of_bits(vectors):
    bits = Bits(4, commitment=0.0, entropy=1.0, temperature=0.5).train()
    value, weight = bits(vectors).terms["codebook"]
    codes = bits.entries_of(torch.arange(16)).double()
    share = (2 * vectors.double().flatten(0, 1) @ codes.T / 0.5).softmax(-1)
    entropy = -(share * share.log()).sum(-1).mean() + (share.mean(0) * share.mean(0).log()).sum()
    # The library's logarithm adds 1e-5 to what it takes.
    torch.testing.assert_close(weight * value.double(), entropy, rtol=0, atol=1e-3)


def test_finite_scalars_are_levels_from_minus_one_to_one():
    scalars = FiniteScalars((3, 5)).eval()
    assert scalars.size == 15
    # Far values reach the outermost levels, and 0 the middle one; the first channel is the least significant digit.
    found = scalars(torch.tensor([[[-9.0, -9.0], [0.0, -9.0], [9.0, 0.0], [9.0, 9.0]]]))
    assert found.indices.tolist() == [[0, 1, 2 + 3 * 2, 2 + 3 * 4]]
    assert found.entries.tolist() == [[[-1, -1], [0, -1], [1, 0], [1, 1]]] and found.terms == {}
    assert torch.equal(scalars.entries_of(found.indices), found.entries)
