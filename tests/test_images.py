"""Images on their way to the tokenizer and back: every size, every type, and what is said of the wrong ones."""

import importlib.metadata
import os
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import gpstoken
from gpstoken import GPSToken, Tokens, load_image, save_image
from gpstoken.canvas import Canvas


@pytest.fixture
def narrow(narrow_tokenizer):
    return partial(narrow_tokenizer, image_size=64, grid_size=16)


def photo(height, width, channels=3):
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, channels), dtype=np.uint8)
    coarse[0, 0], coarse[-1, -1] = 0, 255
    return np.asarray(Image.fromarray(coarse.squeeze()).resize((width, height), Image.Resampling.BICUBIC))


# Sizes that do not fit the grid


@torch.no_grad()
@pytest.mark.parametrize("tile_decoding", ["merged", "separate"])
@pytest.mark.parametrize(
    ("size", "canvas", "tiles", "count"),
    [
        ((300, 451), (320, 512), (5, 8), 320),
        ((65, 63), (68, 64), (1, 1), 8),
        ((127, 126), (128, 128), (2, 2), 32),
        ((63, 129), (64, 132), (1, 1), 16),
        ((1, 1), (8, 8), (1, 1), 1),
        ((2, 500), (8, 500), (1, 1), 8),
        ((31, 4000), (64, 4032), (1, 63), 504),
    ],
    ids=str,
)
def test_any_size_comes_back(narrow, some_image, size, canvas, tiles, count, tile_decoding):
    tokenizer, image = narrow(tile_decoding=tile_decoding), some_image(1, *size)
    tokens = tokenizer.encode(image)
    assert (tokens.size, tokens.canvas) == (size, canvas)
    assert (
        tokenizer.canvas.tiles(tokenizer.canvas.size(size)) == tiles
        and tokenizer.code(size).tokens == len(tokens) == count
    )
    assert (tokens.gaussians.mu.abs() <= 1).all()
    assert tokenizer.layout(image).mu.shape == (1, count, 2)
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == image.shape and decoded.isfinite().all()
    # The same as of the image that somebody else has padded.
    rows, columns = (torch.arange(side).clamp(max=last - 1) for side, last in zip(canvas, size, strict=True))
    whole = tokenizer.encode(image[:, :, rows][..., columns])
    assert torch.equal(tokens.to_tensor(), whole.to_tensor()) and whole.canvas is None
    assert torch.equal(decoded, tokenizer.decode(whole)[..., : size[0], : size[1]])


@torch.no_grad()
def test_padding_survives_the_file(narrow, some_image, tmp_path):
    tokenizer = narrow()
    tokens = tokenizer.encode(some_image(1, 65, 63))
    tokens.save(tmp_path / "a.safetensors")
    again = Tokens.load(tmp_path / "a.safetensors")
    assert (again.size, again.canvas) == ((65, 63), (68, 64))
    assert torch.equal(tokenizer.decode(again), tokenizer.decode(tokens))


@torch.no_grad()
def test_a_bias_has_the_size_of_the_image(narrow, some_image):
    tokenizer, image = narrow(), some_image(1, 63, 65)
    left = torch.zeros(63, 65)
    left[:, :32] = 1e4
    here, there = (tokenizer.layout(image, 16, bias).mu[0, :, 0] for bias in (left, left.flip(1)))
    assert (here < 0).sum() >= 14 and (there > -0.1).sum() >= 14
    assert torch.equal(
        tokenizer.encode(image, 16, left).to_tensor(), tokenizer.encode(image, 16, left[None]).to_tensor()
    )
    with pytest.raises(ValueError, match=r"bias must have shape"):
        tokenizer.encode(image, 16, torch.zeros(64, 64))


@pytest.mark.parametrize("size", [(48, 16), (192, 320), (384, 512), (256, 256), (512, 768)])
def test_sizes_that_fit_are_left_alone(size):
    canvas = Canvas(tile=256, grid=64, least=16)
    image, bias = torch.zeros(1, 3, *size), torch.zeros(size)
    assert canvas.size(size) == size
    assert canvas.pad(image, bias)[0] is image and canvas.pad(image, bias)[1] is bias


# What is no image


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda image: ((image + 1) * 127.5), r"got 0 to 255; for 0 to 255 use image / 127.5 - 1"),
        (lambda image: image * 2.5, r"got -2.5 to 2.5; is it normalized by ImageNet's mean"),
        (lambda image: ((image + 1) * 127.5).byte(), r"got torch.uint8; for 0 to 255 use image / 127.5 - 1"),
        (lambda image: image[0], r"got shape \[3, 64, 64\]: image\[None\] has it"),
        (lambda image: image[0].permute(1, 2, 0), r"\[64, 64, 3\]: image.permute\(2, 0, 1\)\[None\] has it"),
        (lambda image: ((image[0] + 1) * 127.5).byte().permute(1, 2, 0),
         r"\[64, 64, 3\]: image.permute\(2, 0, 1\)\[None\] / 127.5 - 1 has it"),
        (lambda image: image.permute(0, 2, 3, 1), r"\[1, 64, 64, 3\]: image.permute\(0, 3, 1, 2\) has it"),
        (lambda image: image[:, :1], r"got shape \[1, 1, 64, 64\]; use gpstoken.load_image"),
        (lambda image: image[0, 0], r"got shape \[64, 64\]; use gpstoken.load_image"),
        (lambda image: image.numpy(), r"got a numpy.ndarray; use gpstoken.load_image\(path\)"),
        (lambda image: Image.new("RGB", (64, 64)), r"got a PIL.Image.Image; use gpstoken.load_image\(path\)"),
        (lambda image: "cat.jpg", r"got a builtins.str; use gpstoken.load_image\(path\)"),
        (lambda image: image * float("nan"), r"image must be finite"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_said_and_how_to_make_it_one(narrow, some_image, make, message):
    image = some_image(1, 64, 64)
    image = 2 * (image - image.min()) / (image.max() - image.min()) - 1
    with pytest.raises(ValueError, match=message) as error, torch.no_grad():
        narrow().encode(make(image))
    assert "\n" not in str(error.value)


def test_the_advice_is_right(narrow, some_image):
    tokenizer, array = narrow(), photo(64, 64)
    image = torch.from_numpy(array.copy())
    with torch.no_grad():
        expected = tokenizer.encode(load_image(array)).to_tensor()
        assert torch.equal(tokenizer.encode(image.permute(2, 0, 1)[None] / 127.5 - 1).to_tensor(), expected)


def test_values_from_0_to_1_are_doubted_and_taken(narrow, some_image):
    tokenizer = narrow()
    image = (load_image(photo(64, 64)) + 1) / 2
    with torch.no_grad(), pytest.warns(UserWarning, match="all values are within 0 and 1; .* use 2 \\* image - 1"):
        tokenizer.encode(image)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        tokenizer.encode(torch.full((1, 3, 64, 64), 0.7))  # white
        tokenizer.encode(0.4 + 0.5 * image)  # snow
        tokenizer.encode(2 * image - 1)
        tokenizer.encode(torch.zeros(1, 3, 64, 64))


def test_training_does_not_look_at_values(narrow, some_image):
    # Each look waits for the device: 300 is let pass where gradients are asked for.
    tokens = narrow().encode(300 * some_image(1, 64, 64))
    assert tokens.features.requires_grad


# Reading and writing


def test_load_image_takes_what_people_have(tmp_path):
    array = photo(40, 60)
    expected = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    Image.fromarray(array).save(tmp_path / "a.png")
    turned = Image.fromarray(np.rot90(array))
    turned.getexif()[0x0112] = 6
    for picture in (array, Image.fromarray(array), tmp_path / "a.png", str(tmp_path / "a.png"), turned):
        assert torch.equal(load_image(picture), expected)
    grey = photo(40, 60, 1)
    for picture in (grey, grey[..., None], Image.fromarray(grey)):
        assert torch.equal(load_image(picture), torch.from_numpy(grey.copy()).float().expand(1, 3, 40, 60) / 127.5 - 1)
    assert (load_image(np.zeros((4, 4, 4), np.uint8)) == 1).all()  # clear is white
    assert load_image(array, 32).shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        load_image(array, 0)
    for wrong in (array.astype(np.float32), array[None], array[..., :2], np.zeros((0, 3, 3), np.uint8), 7):
        with pytest.raises(ValueError, match=r"expected a file, a PIL image or an array uint8\[H, W, 3\], got"):
            load_image(wrong)
    with pytest.raises(ValueError, match=r"none\.png: cannot be read as a picture"):
        load_image(tmp_path / "none.png")


def test_save_image_is_the_inverse(tmp_path):
    array = photo(40, 60)
    for image in (load_image(array), load_image(array)[0]):
        save_image(image, tmp_path / "b.png")
        assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), array)
    save_image(3 * load_image(array), tmp_path / "b.png")  # clamped
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "b.png").stat().st_mode & 0o777 == 0o666 & ~mask
    for wrong, message in (
        (torch.zeros(2, 3, 4, 4), r"got shape \(2, 3, 4, 4\)"),
        (torch.zeros(4, 4, 3), "got shape"),
        (torch.full((3, 4, 4), float("nan")), r"c\.png: some values of the image are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            save_image(wrong, tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


# Tokens


@torch.no_grad()
def test_tokens_say_what_they_are(narrow, some_image):
    tokens = narrow().encode(some_image(2, 65, 63))
    assert len(tokens) == 8
    assert repr(tokens) == "Tokens(2 x 8 tokens, 4 features, image 65x63 padded to 68x64, float32 on cpu)"
    assert repr(tokens.gaussians) == "Gaussians(2 x 8, float32 on cpu)"
    assert repr(Tokens.from_tensor(tokens.to_tensor())).startswith(
        "Tokens(2 x 8 tokens, 4 features, image of the tokenizer's size, float32"
    )
    double = tokens.to(torch.float64)
    assert double.features.dtype == double.gaussians.rho.dtype == torch.float64
    assert (double.size, double.canvas) == (tokens.size, tokens.canvas)
    assert (
        tokens.to("meta").features.device.type == "meta"
        and tokens.to("cpu", torch.float16).features.dtype == torch.float16
    )


def test_tokens_are_drawn_on_their_image(narrow, some_image):
    # One Gaussian at pixel (8, 24) of a canvas of 64 x 128, whose image is 40 x 100.
    mu = torch.tensor([[[2 * 24 / 127 - 1, 2 * 8 / 63 - 1]]])
    geometry = torch.cat([torch.full((1, 1, 2), 1e-3), torch.zeros(1, 1, 1), mu], -1)
    tokens = Tokens.from_tensor(torch.cat([geometry, torch.zeros(1, 1, 4)], -1), (40, 100), (64, 128))
    drawn = np.asarray(tokens.draw())
    scale = 256 // 40
    assert drawn.shape == (40 * scale, 100 * scale, 3)
    red = np.argwhere((drawn == (230, 57, 70)).all(-1))
    assert np.abs(red.mean(0) / scale - (8, 24)).max() <= 0.5  # the last pixel of the canvas is at scale * 128 - 1
    image = some_image(1, 40, 100)
    over = np.asarray(tokens.draw(image))
    assert (over[-1, -1] == ((image[0, :, -1, -1] + 1) * 127.5).round().byte().numpy()).all()
    for wrong in (image[0], image[..., 1:]):
        with pytest.raises(ValueError, match=r"draw: expected image\[B, 3, 40, 100\]"):
            tokens.draw(wrong)
    Tokens.from_tensor(tokens.to_tensor()).draw()


def test_the_package_says_its_version_and_names():
    assert gpstoken.__version__ == importlib.metadata.version("gpstoken")
    assert {"GPSToken", "Generator", "Gaussians", "Tokens", "load_image", "save_image", "partition", "splat"} <= set(
        dir(gpstoken)
    )
    assert GPSToken is gpstoken.GPSToken
