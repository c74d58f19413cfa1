"""What a reader compares tokenizers with: JPEG, WebP and AVIF, and Gaussians fitted to each image."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import chelsea

from gpstoken import Gaussians, Tokens, load_image
from gpstoken.baselines.codecs import FORMATS, HEADER, Codec
from gpstoken.baselines.fitted_gaussians import FittedGaussians, _means


def used(codes):
    """Bytes up to the zeros that fill up a row; no format ends a file with a zero by itself in these tests."""
    return int(codes.nonzero().max()) + 1


@pytest.mark.parametrize("kind", FORMATS)
def test_more_bytes_are_used_and_make_a_better_picture(kind):
    image, errors = load_image(chelsea(), 128), []
    for most in (1500, 3000, 6000):
        codes = Codec(kind).encode(image, most)
        assert codes.shape == (1, most) and 0.6 * most < used(codes[0]) <= most
        decoded = Codec(kind).decode(codes)
        assert decoded.shape == image.shape
        errors.append((decoded - image).square().mean())
    assert errors[0] > errors[1] > errors[2]


def test_no_higher_quality_fits():
    image, most = load_image(chelsea(), 128), 3000
    codes = Codec("JPEG", most).encode(image)[0]
    picture, files = Image.fromarray(((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()), []
    for quality in range(101):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, **FORMATS["JPEG"])
        files.append(file.getvalue())
    best = max((file for file in files if len(file) <= most - HEADER), key=len)
    assert codes.byte().numpy().tobytes() == bytes([0, 128, 0, 128]) + best.ljust(most - HEADER, b"\0")


@pytest.mark.parametrize("kind", FORMATS)
def test_few_bytes_make_a_small_picture_that_is_enlarged(kind):
    # One of one pixel takes a few hundred bytes in every format, one of 512 pixels far more at the lowest quality.
    noise = np.random.default_rng(0).integers(0, 256, (480, 512, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, quality=0, **FORMATS[kind])
    tokenizer = Codec(kind, file.tell() // 2)
    assert tokenizer(load_image(noise)).shape == (1, 3, 480, 512)


def test_every_image_of_a_batch_has_its_file():
    image = torch.cat([load_image(chelsea(), 64), torch.zeros(1, 3, 64, 64)])
    tokenizer = Codec("JPEG", 2000)
    decoded = tokenizer(image)
    assert (decoded[1] - image[1]).abs().max() <= 2 / 255  # a grey picture is coded without loss but for its rounding
    torch.testing.assert_close(decoded[:1], tokenizer(image[:1]), rtol=0, atol=0)


def test_what_cannot_be_coded():
    with pytest.raises(ValueError, match="kind: expected one of 'JPEG', 'WEBP', 'AVIF', got 'PNG'"):
        Codec("PNG")
    with pytest.raises(ValueError, match="num_tokens: JPEG cannot code 64x64 pixels in 10 bytes"):
        Codec("JPEG").encode(load_image(chelsea(), 64), 10)
    with pytest.raises(ValueError, match="tokens: not the bytes of a WEBP file"):
        Codec("WEBP").decode(Codec("JPEG", 3000).encode(load_image(chelsea(), 64)))
    with pytest.raises(ValueError, match="image: JPEG takes sides below 65536 pixels, got 1x65536"):
        Codec("JPEG").encode(torch.zeros(1, 3, 1, 65536))
    for tokenizer in (Codec(), FittedGaussians()):
        with pytest.raises(ValueError, match="has no weights to train"):
            assert tokenizer.last_layer


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
    tokenizer = FittedGaussians(4, steps=400)
    image = tokenizer.decode(Tokens(Gaussians(mu, sigma, rho), colours, (32, 32)))
    found = tokenizer.encode(image)
    assert found.features.shape == (1, 4, 3) and found.size == (32, 32)
    assert (tokenizer.decode(found) - image).square().mean() < 0.01 * image.var()


def test_more_gaussians_and_more_steps_fit_better():
    image = load_image(chelsea(), 64)
    with torch.inference_mode():  # as in an evaluation
        errors = [
            (FittedGaussians(count, steps)(image) - image).square().mean().item()
            for count, steps in ((64, 0), (64, 20), (64, 100), (200, 100))
        ]
    assert errors == sorted(errors, reverse=True)


def test_numbers_of_gaussians():
    tokenizer = FittedGaussians()
    assert tokenizer.code((256, 256)) == (1184, (1184,), 8, None) and tokenizer.code((256, 256), 296).tokens == 296
    with pytest.raises(ValueError, match="tokens: expected the size of their image"):
        tokenizer.decode(
            Tokens(Gaussians(torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.zeros(1, 1)), torch.zeros(1, 1, 3))
        )
