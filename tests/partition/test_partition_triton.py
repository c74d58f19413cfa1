"""The partition in Triton: on a GPU where there is one, else in the interpreter (tests/conftest.py), on small tiles."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpstoken.partition import partition

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def crops():
    """64 x 64 pixels of golden images: photographs, and a synthetic one with ties."""
    with np.load(Path(__file__).parents[1] / "golden" / "partition.npz") as golden:
        pixels = torch.from_numpy(golden["images"]).permute(0, 3, 1, 2).float() / 127.5 - 1
        synthetic = [str(name).startswith("syn_") for name in golden["image_names"]]
    return torch.cat([pixels[:2, :, 96:160, 96:160], pixels[synthetic][:1, :, :64, :64]])


def both(image, *arguments, **options):
    """The regions by both backends, as lists; their order may differ only where complexities agree to 14 digits."""
    there = partition(image.to(DEVICE), *arguments, **options, backend="triton")
    assert there.device.type == DEVICE
    return there.tolist(), partition(image, *arguments, **options, backend="cpu").tolist()


# The interpreter takes half a second a region: few images are whole.
@pytest.mark.parametrize(
    ("num_tokens", "image", "size"), [(1, 0, 32), (2, 1, 32), (16, 2, 32), (40, 2, 64), (64, 0, 64)]
)
def test_equals_the_cpu_backend(crops, num_tokens, image, size):
    actual, expected = both(crops[image : image + 1, :, :size, :size], num_tokens)
    assert [sorted(regions) for regions in actual] == [sorted(regions) for regions in expected]
    assert actual == expected


def test_a_batch(crops):
    actual, expected = both(crops[:, :, :32, :32], 7)
    assert actual == expected


@pytest.mark.parametrize(("lambda_", "image"), [(0.0, 1), (5.0, 2)])
def test_other_exponents(crops, lambda_, image):
    assert len(set(map(str, both(crops[image : image + 1, :, :32, :32], 11, lambda_)))) == 1


def test_smaller_regions_and_a_bias(crops):
    bias = torch.zeros(16, 16, dtype=torch.float64)
    bias[:4] = 3.0
    image = crops[:1, :, :16, :16]
    plain, steered = (both(image, 10, min_region_size=4, **options) for options in ({}, {"bias": bias}))
    assert plain[0] == plain[1]
    assert steered[0] == steered[1] != plain[0]


def test_a_flat_image_splits_by_area():
    actual, expected = both(torch.zeros(2, 3, 32, 32), 5)
    assert actual == expected


def test_other_shapes_are_refused():
    for shape in ((48, 48), (32, 64)):
        with pytest.raises(ValueError, match="the triton backend needs square tiles of 2\\^k pixels, got"):
            partition(torch.zeros(1, 3, *shape, device=DEVICE), 4, backend="triton")


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_cpu_backend_where_regions_are_equally_complex(seed):
    # Symmetric and of four levels: many regions hold the same gradients, in other bins or in another order.
    values = torch.randint(0, 4, (1, 1, 16, 16), generator=torch.Generator().manual_seed(seed)) / 1.5 - 1
    values = values.maximum(values.flip(-1)).maximum(values.flip(-2)).expand(-1, 3, -1, -1)
    actual, expected = both(values, 14, min_region_size=4, bias=torch.full((16, 16), 0.1 * seed))
    assert actual == expected
