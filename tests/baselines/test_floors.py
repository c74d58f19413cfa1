"""What a reader compares tokenizers with: JPEG, WebP and AVIF, and Gaussians fitted to each image."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import chelsea

from gpstoken import Gaussians, Tokens, load_image
from gpstoken.baselines.codecs import FORMATS, coded
from gpstoken.baselines.fitted_gaussians import _means, count_of, fitted, rendered


def photograph(side=64):
    image = load_image(chelsea(), side)
    return np.asarray(((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0))


def mean_square(first, second):
    return np.square(first.astype(float) - second.astype(float)).mean()


@pytest.mark.parametrize("kind", FORMATS)
def test_more_bytes_are_used_and_make_a_better_picture(kind):
    picture = photograph(128)
    errors = []
    for most in (1500, 3000, 6000):
        decoded, used = coded(picture, most, kind)
        assert decoded.shape == picture.shape and decoded.dtype == np.uint8
        assert 0.6 * most < used <= most
        errors.append(mean_square(decoded, picture))
    assert errors[0] > errors[1] > errors[2]


def test_no_higher_quality_fits():
    picture, most = photograph(128), 3000
    decoded, used = coded(picture, most, "JPEG")
    sizes = {}
    for quality in range(101):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality, **FORMATS["JPEG"])
        sizes[quality] = file.tell()
    assert used == max(size for size in sizes.values() if size <= most)
    assert mean_square(decoded, picture) < 150


@pytest.mark.parametrize("kind", FORMATS)
def test_few_bytes_make_a_small_picture_that_is_enlarged(kind):
    # One of one pixel takes a few hundred bytes in every format, one of 512 pixels far more at the lowest quality.
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, quality=0, **FORMATS[kind])
    decoded, used = coded(noise, file.tell() // 2, kind)
    assert decoded.shape == noise.shape and used <= file.tell() // 2


def test_what_cannot_be_coded():
    with pytest.raises(ValueError, match="codec: expected one of JPEG, WEBP, AVIF, got 'PNG'"):
        coded(photograph(), 1000, "PNG")
    with pytest.raises(ValueError, match="codec: JPEG cannot code 64x64 pixels in 10 bytes"):
        coded(photograph(), 10, "JPEG")


def test_means_are_those_of_each_region():
    image = torch.rand(2, 3, 8, 12)
    regions = torch.tensor([[[0, 0, 3, 8], [5, 2, 12, 4]], [[1, 1, 2, 2], [0, 0, 12, 8]]])
    found = _means(image, regions)
    for row in range(2):
        for number, (x0, y0, x1, y1) in enumerate(regions[row].tolist()):
            expected = image[row, :, y0:y1, x0:x1].mean((1, 2))
            torch.testing.assert_close(found[row, number], expected, rtol=0, atol=1e-6)


def test_gaussians_are_found_again():
    """An image that is a sum of four Gaussians is fitted to within a hundredth of its variance."""
    mu = torch.tensor([[[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]])
    sigma = torch.tensor([[[0.3, 0.2], [0.2, 0.25], [0.25, 0.25], [0.2, 0.3]]])
    rho = torch.tensor([[0.3, -0.4, 0.0, 0.2]])
    colours = torch.tensor([[[0.8, -0.5, 0.1], [-0.6, 0.4, 0.7], [0.2, 0.9, -0.7], [-0.3, -0.8, 0.5]]])
    image = rendered(Tokens(Gaussians(mu, sigma, rho), colours, (32, 32)))
    found = fitted(image, 4, steps=400)
    assert found.features.shape == (1, 4, 3) and found.size == (32, 32)
    assert (rendered(found) - image).square().mean() < 0.01 * image.var()


def test_more_gaussians_and_more_steps_fit_better():
    image = load_image(chelsea(), 64)
    errors = [
        (rendered(fitted(image, count, steps)) - image).square().mean().item()
        for count, steps in ((64, 0), (64, 20), (64, 100), (200, 100))
    ]
    assert errors == sorted(errors, reverse=True)


def test_numbers_of_a_gaussian():
    assert (count_of(9472), count_of(7), count_of(16)) == (1184, 1, 2)
    with pytest.raises(ValueError, match="rendered: expected tokens with the size"):
        rendered(Tokens(Gaussians(torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.zeros(1, 1)), torch.zeros(1, 1, 3)))
