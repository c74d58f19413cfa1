import pytest
import torch

from gpstoken import Gaussians
from gpstoken.gaussians import MARGIN, merge_tiles, offset, split_tiles


def some_gaussians(batch, count, dtype=torch.float64):
    random = torch.rand(batch, count, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return Gaussians(2 * random[..., 3:] - 1, 0.01 + 0.9 * random[..., :2], 1.8 * random[..., 2] - 0.9)


def test_regions_by_hand():
    # A 4 x 8 image (H x W): its left half, and its last pixel.
    layout = Gaussians.from_regions(torch.tensor([[[0, 0, 4, 4], [7, 3, 8, 4]]]), (4, 8))
    # Released: sides less one over W = 8 and H = 4, times 2/3; the one pixel counts as half a pixel.
    third = 2 / 3
    torch.testing.assert_close(
        layout.sigma, torch.tensor([[[3 / 8 * third, 3 / 4 * third], [0.5 / 8 * third, 0.5 / 4 * third]]])
    )
    # Pixel i of n lies at 2 i / (n - 1) - 1: the half is centred at (1.5, 1.5) of (0..7, 0..3).
    torch.testing.assert_close(layout.mu, torch.tensor([[[3 / 7 - 1, 0.0], [1.0, 1.0]]]))
    assert torch.equal(layout.rho, torch.zeros(1, 2))


def test_paper_sigma_is_a_sixth_of_the_region():
    layout = Gaussians.from_regions(torch.tensor([[[0, 0, 4, 4], [7, 3, 8, 4]]]), (4, 8), "paper")
    # The canvas is two wide: w / (3 W) is a sixth of 2 w / W.
    torch.testing.assert_close(layout.sigma, torch.tensor([[[4 / 24, 4 / 12], [1 / 24, 1 / 12]]]))


def test_an_image_of_one_pixel_is_centred():
    layout = Gaussians.from_regions(torch.tensor([[[0, 0, 1, 1]]]), (1, 1))
    assert layout.to_tensor().isfinite().all() and (layout.sigma > 0).all()


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 4], [3, 0, 2, 4], [-1, 0, 2, 4], [0, 0, 9, 4], [0, 0, 8, 5]], ids=lambda box: str(box)
)
def test_boxes_must_lie_inside(box):
    with pytest.raises(ValueError, match="inside the 4x8 image"):
        Gaussians.from_regions(torch.tensor([[box]]), (4, 8))


def test_bad_arguments():
    with pytest.raises(ValueError, match="sigma_rule"):
        Gaussians.from_regions(torch.tensor([[[0, 0, 1, 1]]]), (4, 8), "third")
    with pytest.raises(ValueError, match=r"long\[B, N, 4\], got shape \(1, 4\)"):
        Gaussians.from_regions(torch.tensor([[0, 0, 1, 1]]), (4, 8))
    with pytest.raises(ValueError, match="expected mu"):
        Gaussians(torch.zeros(1, 3, 2), torch.ones(1, 2, 2), torch.zeros(1, 3))


def test_tensor_round_trip():
    gaussians = some_gaussians(2, 7)
    tensor = gaussians.to_tensor()
    assert tensor.shape == (2, 7, 5)
    # The released order: sigma_x, sigma_y, rho, x, y.
    assert torch.equal(tensor[..., 3], gaussians.mu[..., 0]) and torch.equal(tensor[..., 1], gaussians.sigma[..., 1])
    again = Gaussians.from_tensor(tensor)
    assert all(torch.equal(getattr(again, name), getattr(gaussians, name)) for name in ("mu", "sigma", "rho"))


def test_no_offset_moves_nothing():
    gaussians = some_gaussians(2, 63)
    moved = offset(gaussians, torch.zeros(2, 63, 5, dtype=torch.float64))
    # logit and sigmoid cancel to rounding; the condition number is at most 1 / sigma = 100.
    torch.testing.assert_close(moved.to_tensor(), gaussians.to_tensor(), rtol=0, atol=1e-13)


def test_offset_by_hand():
    start = Gaussians(torch.zeros(1, 1, 2), torch.full((1, 1, 2), 0.5), torch.zeros(1, 1))
    logit = torch.tensor([3.0]).log().item()  # sigmoid(log 3) = 3/4
    moved = offset(start, torch.tensor([[[logit, -logit, logit, -logit, 0.0]]]))
    torch.testing.assert_close(moved.to_tensor(), torch.tensor([[[0.75, 0.25, 0.5, -0.5, 0.0]]]))


@pytest.mark.parametrize("delta", [0.0, 20.0, -20.0, 1e4, -1e4, 3e38, -3e38])
def test_offsets_are_finite_in_float32(delta):
    # Regions of a pixel, of the whole image, and on both corners of the canvas.
    regions = torch.tensor([[[0, 0, 1, 1], [255, 255, 256, 256], [0, 0, 256, 256], [0, 0, 1, 256]]])
    start = Gaussians.from_regions(regions, (256, 256))
    moved_by = torch.full((1, 4, 5), delta, requires_grad=True)
    moved = offset(start, moved_by)
    assert moved.to_tensor().dtype == torch.float32 and moved.to_tensor().isfinite().all()
    assert (moved.sigma >= MARGIN).all() and (moved.sigma < 1).all()
    assert (moved.rho.abs() < 1).all() and (moved.mu.abs() <= 1).all()
    # What the renderer divides by
    assert (1 / (moved.sigma**2 * (1 - moved.rho[..., None] ** 2))).isfinite().all()
    moved.to_tensor().sum().backward()
    assert moved_by.grad.isfinite().all()


def test_gradient_of_a_zero_offset_reaches_every_geometry():
    regions = torch.tensor([[[0, 0, 1, 1], [128, 0, 256, 256]]])
    delta = torch.zeros(1, 2, 5, requires_grad=True)
    offset(Gaussians.from_regions(regions, (256, 256)), delta).to_tensor().sum().backward()
    # The derivative of sigmoid is p (1 - p), twice that for rho and mu; 1e-6 for a centre on the edge of the canvas.
    assert (delta.grad > 0).all()


@pytest.mark.parametrize("tiles", [(1, 1), (2, 2), (1, 3), (3, 2)])
def test_split_undoes_merge(tiles):
    gaussians = some_gaussians(2 * tiles[0] * tiles[1], 5)
    merged = merge_tiles(gaussians, tiles)
    assert merged.rho.shape == (2, tiles[0] * tiles[1] * 5)
    torch.testing.assert_close(split_tiles(merged, tiles).to_tensor(), gaussians.to_tensor(), rtol=0, atol=1e-14)


def test_merge_by_hand():
    # Two rows, one column: the centre of the upper tile is a quarter down, its sigma_y half as large.
    start = Gaussians(torch.zeros(2, 1, 2), torch.full((2, 1, 2), 0.5), torch.tensor([[0.1], [0.2]]))
    merged = merge_tiles(start, (2, 1)).to_tensor()
    torch.testing.assert_close(merged, torch.tensor([[[0.5, 0.25, 0.1, 0.0, -0.5], [0.5, 0.25, 0.2, 0.0, 0.5]]]))


def test_tokens_must_divide_over_the_tiles():
    with pytest.raises(ValueError, match="5 tokens cannot be divided among 4 tiles"):
        split_tiles(some_gaussians(1, 5), (2, 2))
