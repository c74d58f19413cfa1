"""What the partition must do whatever the image: hand-typed cases, symmetries, tiles, backends against each other."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gpstoken.partition import cpu, max_regions, partition, reference
from tests.threads import torch_threads

BACKENDS = ["reference", "cpu"]
# (height, width, min_region_size): prime sides, a strip, the smallest admitted, less than 64, more than 256.
AWKWARD = [(67, 131, 8), (16, 300, 8), (8, 8, 4), (33, 33, 3), (2, 2, 1), (5, 3, 1), (320, 257, 16)]


@pytest.fixture
def two_threads():
    with torch_threads(2):
        yield


def noise(*shape, seed=0):
    """Noise in one half and a smooth slope in the other: regions of very different complexity."""
    image = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    image[..., shape[-1] // 2 :] *= torch.linspace(0.3, 0, shape[-2])[:, None]
    return image


def photographs():
    with np.load(Path(__file__).parents[1] / "golden" / "partition.npz") as golden:
        real = [not name.startswith("syn_") for name in golden["image_names"]]
        return torch.from_numpy(golden["images"][real]).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_sets(regions):
    return [sorted(map(tuple, image)) for image in regions.tolist()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_ties_go_to_the_older_and_a_square_to_top_and_bottom(backend):
    regions = partition(torch.zeros(1, 3, 32, 32), 5, backend=backend)
    # Top and bottom; top in two; bottom (twice the area) in two; of four equal quarters the oldest, top left.
    assert regions[0].tolist() == [
        [16, 0, 32, 16],
        [0, 16, 16, 32],
        [16, 16, 32, 32],
        [0, 0, 16, 8],
        [0, 8, 16, 16],
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("transpose", [False, True])
def test_a_square_is_cut_so_that_the_simplest_child_comes_free(backend, transpose):
    image = torch.zeros(1, 3, 64, 64)
    image[..., :32] = noise(1, 1, 64, 32)
    expected = [[0, 0, 32, 64], [32, 0, 64, 64]]
    if transpose:
        image, expected = image.mT, [[0, 0, 64, 32], [0, 32, 64, 64]]
    assert partition(image, 2, backend=backend)[0].tolist() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_odd_side_leaves_the_smaller_child_first(backend):
    assert partition(torch.zeros(1, 3, 17, 35), 2, backend=backend)[0].tolist() == [[0, 0, 17, 17], [17, 0, 35, 17]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_bias_steers(backend):
    bias = torch.zeros(32, 32)
    bias[16:, 16:] = 10.0
    regions = partition(torch.zeros(1, 3, 32, 32), 4, bias=bias, backend=backend)
    # Without it, the second split would be that of the top.
    assert regions[0].tolist() == [[0, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 24], [16, 24, 32, 32]]
    images = torch.zeros(2, 3, 32, 32)
    apart = partition(images, 4, bias=torch.stack([bias, bias.flip(0)]), backend=backend)
    assert apart[0].tolist() == regions[0].tolist() != apart[1].tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", AWKWARD)
def test_regions_tile_the_image_and_children_end_the_list(shape, backend):
    height, width, min_region_size = shape
    image = noise(1, 3, height, width)
    most = min(max_regions(*shape), 60)
    for num_tokens in sorted({1, min(2, most), min(3, most), most}):
        regions = partition(image, num_tokens, min_region_size=min_region_size, backend=backend)
        assert regions.shape == (1, num_tokens, 4) and regions.dtype == torch.long
        covered = torch.zeros(height, width)
        values = []
        for x0, y0, x1, y1 in regions[0].tolist():
            covered[y0:y1, x0:x1] += 1
            grey = (0.299 * image[0, 0] + 0.587 * image[0, 1] + 0.114 * image[0, 2] + 1) / 2
            values.append(reference.complexity(grey[y0:y1, x0:x1], 2.5))
        assert (covered == 1).all()
        assert all(later <= earlier for earlier, later in pairwise(values[:-2]))
        if num_tokens > 1:
            (x0, y0, x1, y1), (u0, v0, u1, v1) = regions[0, -2:].tolist()
            assert (x1 == u0 and (y0, y1) == (v0, v1)) or (y1 == v0 and (x0, x1) == (u0, u1))


@pytest.mark.parametrize("shape", AWKWARD)
def test_backends_agree(shape):
    height, width, min_region_size = shape
    image = noise(2, 3, height, width)
    bias = noise(2, height, width, seed=1)
    num_tokens = min(max_regions(*shape), 40)
    for lambda_, added in ((0.0, None), (2.5, None), (2.5, bias)):
        exact = partition(image, num_tokens, lambda_, min_region_size, added, "reference")
        fast = partition(image, num_tokens, lambda_, min_region_size, added, "cpu")
        assert torch.equal(fast, exact)


@pytest.mark.parametrize("num_tokens", [64, 128, 256])
def test_mirrored_photograph_has_mirrored_regions(num_tokens):
    images = photographs()
    x0, y0, x1, y1 = partition(images, num_tokens, backend="cpu").unbind(-1)
    mirrored = partition(images.flip(-1), num_tokens, backend="cpu")
    assert as_sets(mirrored) == as_sets(torch.stack([256 - x1, y0, 256 - x0, y1], dim=-1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_tiles_are_partitioned_on_their_own_row_by_row(backend):
    image, bias = noise(2, 3, 64, 96), noise(64, 96, seed=1)
    tiled = partition(image, 6 * 4, bias=bias, backend=backend, tile_size=32)
    for index, (y, x) in enumerate((y, x) for y in (0, 32) for x in (0, 32, 64)):
        window = (slice(y, y + 32), slice(x, x + 32))
        alone = partition(image[:, :, *window], 4, bias=bias[window], backend=backend)
        assert torch.equal(tiled[:, 4 * index : 4 * index + 4], alone + torch.tensor([x, y, x, y]))
    whole = partition(image, 24, bias=bias, backend=backend, tile_size=None)
    assert as_sets(whole) != as_sets(tiled)
    # 64 does not divide 96, and one tile is the image itself.
    assert torch.equal(partition(image, 24, bias=bias, backend=backend, tile_size=64), whole)
    assert torch.equal(partition(image[..., :64], 9, tile_size=64), partition(image[..., :64], 9, tile_size=None))


def test_default_tile_is_256():
    image = torch.zeros(1, 3, 256, 512)
    image[..., 256:] = noise(1, 3, 256, 256)
    regions = partition(image, 32, backend="cpu")
    assert (regions[0, :16, 2] <= 256).all() and (regions[0, 16:, 0] >= 256).all()


@pytest.mark.parametrize("shape", [(256, 256, 16), (256, 256, 8), (256, 256, 4)])
def test_max_regions_of_a_power_of_two(shape):
    assert max_regions(*shape) == (256 // shape[2]) ** 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(16, 16, 8), (37, 53, 8), (19, 31, 2), (2, 3, 1)])
def test_limit_is_reached_and_named(shape, backend):
    height, width, min_region_size = shape
    most = max_regions(*shape)
    arguments = {"min_region_size": min_region_size, "backend": backend}
    regions = partition(noise(1, 3, height, width), most, **arguments)[0].tolist()
    assert len(set(map(tuple, regions))) == most
    with pytest.raises(ValueError, match=rf"num_tokens must be at most {most} .* got {most + 1}$"):
        partition(noise(1, 3, height, width), most + 1, **arguments)


def test_batch_in_threads_is_each_image_alone(two_threads):
    images = noise(5, 3, 48, 64)
    together = partition(images, 12, backend="cpu")
    assert torch.equal(together, torch.cat([partition(image[None], 12, backend="cpu") for image in images]))


class Layouts(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return partition(noise(2, 3, 32, 32, seed=index), 6, backend="cpu")


# Newer Pythons warn of any fork; that it works all the same is what is tested.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_works_in_forked_workers_after_threads_ran(two_threads):
    expected = [Layouts()[index] for index in range(4)]
    loader = DataLoader(Layouts(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=600)
    assert all(torch.equal(*pair) for pair in zip(loader, expected, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_float_layout_and_gradient(dtype, backend):
    image = noise(2, 40, 3, 24).to(dtype).transpose(1, 2).requires_grad_()
    before = image.detach().clone()
    assert torch.equal(partition(image, 6, backend=backend), partition(image.detach().contiguous(), 6, backend=backend))
    assert torch.equal(image, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batch(backend):
    assert partition(torch.zeros(0, 3, 32, 32), 4, backend=backend).shape == (0, 4, 4)


def test_without_numba_auto_is_the_reference_and_cpu_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "gpstoken.partition.cpu")
    monkeypatch.delattr(sys.modules["gpstoken.partition"], "cpu")
    image = noise(1, 3, 32, 32)
    assert torch.equal(partition(image, 6), partition(image, 6, backend="reference"))
    with pytest.raises(ImportError, match="numba"):
        partition(image, 6, backend="cpu")


def test_auto_is_cpu(monkeypatch):
    monkeypatch.setattr(cpu, "split", lambda *_: torch.full((1, 2, 4), 7))
    assert partition(torch.zeros(1, 3, 32, 32), 2).unique().tolist() == [7]


IMAGE = torch.zeros(2, 3, 32, 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": IMAGE[0]}, r"image must be float\[B, 3, H, W\]"),
        ({"image": IMAGE[:, :1]}, r"got shape \(2, 1, 32, 48\)"),
        ({"image": IMAGE.byte()}, "floating point .* torch.uint8"),
        ({"image": IMAGE.index_fill(3, torch.tensor(47), torch.nan)}, "image must be finite"),
        ({"image": IMAGE.index_fill(1, torch.tensor(2), -torch.inf)}, "image must be finite"),
        ({"image": IMAGE[:, :, :15]}, "at least 2 .* = 16 pixels, got 15x48"),
        ({"image": IMAGE[:, :, :, :0]}, r"got shape \(2, 3, 32, 0\)"),
        ({"bias": torch.zeros(48, 32)}, r"\[32, 48\] or \[2, 32, 48\], got \[48, 32\]"),
        ({"bias": torch.zeros(1, 32, 48)}, "got .1, 32, 48"),
        ({"bias": torch.full((32, 48), torch.nan)}, "bias must be real and finite"),
        ({"bias": torch.zeros(32, 48, dtype=torch.complex64)}, "bias must be real and finite"),
        ({"num_tokens": 0}, "num_tokens must be at least 1, got 0"),
        ({"num_tokens": 33}, "at most 32 .* got 33"),
        ({"num_tokens": 7, "tile_size": 16}, "multiple of the 6 tiles, got 7"),
        ({"num_tokens": 25 * 6, "tile_size": 16}, "at most 24 .* got 150"),
        ({"tile_size": 0}, "tile_size must be at least 1"),
        ({"lambda_": -0.1}, "lambda_ .* got -0.1"),
        ({"lambda_": float("nan")}, "lambda_ .* got nan"),
        ({"lambda_": float("inf")}, "lambda_ .* got inf"),
        ({"min_region_size": 0}, "min_region_size must be at least 1 pixel, got 0"),
        ({"backend": "cuda"}, "backend must be .* got 'cuda'"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message) as raised:
        partition(**{"image": IMAGE, "num_tokens": 6, **change})
    assert "\n" not in str(raised.value)
