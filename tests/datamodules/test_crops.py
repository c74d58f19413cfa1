import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from datamodules.crops import (
    adm_centre_crop,
    centre_and_tiles,
    mirrored_centre,
    random_square,
    release_centre_crop,
    to_tensor,
)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(rows: list[list[int]]) -> np.ndarray:
    return np.repeat(np.array(rows, dtype=np.uint8)[..., None], 3, axis=-1)


def plain_adm_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """The rule of ADM, word by word."""
    image = Image.fromarray(picture)
    width, height = image.size
    while min(width, height) >= 2 * size:
        width, height = width // 2, height // 2
        image = image.resize((width, height), resample=Image.Resampling.BOX)
    scale = size / min(width, height)
    image = image.resize((round(width * scale), round(height * scale)), resample=Image.Resampling.BICUBIC)
    array = np.array(image)
    y, x = (array.shape[0] - size) // 2, (array.shape[1] - size) // 2
    return array[y : y + size, x : x + size]


def test_adm_crop_halves_by_boxes():
    picture = np.zeros((4, 6, 3), dtype=np.uint8)
    picture[::2, ::2] = 200
    # Each 2 x 2 box holds one 200 and three 0, so that the halved picture is 50 everywhere.
    np.testing.assert_array_equal(adm_centre_crop(picture, 2), np.full((2, 2, 3), 50))


def test_adm_crop_is_the_plain_rule_for_ordinary_pictures():
    random = np.random.default_rng(1)
    shapes = [(side, int(side * random.uniform(1, 8))) for side in random.integers(3, 150, 30)]
    shapes += [(10, 160), (7, 100), (11, 171), (16, 16), (1, 1), (1, 16), (127, 128), (400, 301)]
    for shape in shapes:
        for size in (1, 16, 33):
            for picture in (noise(*shape), noise(*shape[::-1])):
                np.testing.assert_array_equal(
                    adm_centre_crop(picture, size), plain_adm_crop(picture, size), err_msg=f"{shape} {size}"
                )


@pytest.mark.parametrize("shape", [(64, 96), (100, 60), (63, 63), (32, 48), (20, 30)])
def test_adm_crop_without_halving_agrees_with_torchvision(shape):
    picture, size = noise(*shape), 40
    reference = v2.Compose([v2.Resize(size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(size)])
    expected = np.asarray(reference(Image.fromarray(picture)))
    cropped = adm_centre_crop(picture, size)
    # torchvision cuts the length of the long side where ADM rounds it: equal where the product is whole.
    whole = size * max(shape) % min(shape) == 0
    assert cropped.shape == (size, size, 3)
    assert whole == np.array_equal(cropped, expected)


@pytest.mark.parametrize("crop", [adm_centre_crop, release_centre_crop])
def test_thin_pictures_are_cut_first(crop):
    # Enlarged whole, a line of a million pixels at 256 would be 201 GB.
    line = noise(1, 1_000_000)
    first = (1_000_000 - 16) // 2
    part = line[:, first : first + 16]
    np.testing.assert_array_equal(crop(line, 256), crop(part, 256))
    np.testing.assert_array_equal(crop(line.transpose(1, 0, 2), 256), crop(part.transpose(1, 0, 2), 256))
    picture = noise(4, 65)  # one pixel more than 16 times its height
    np.testing.assert_array_equal(crop(picture, 8), crop(picture[:, :64], 8))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        # Half: the mean of each 2 x 2 block; of a row of two the left one is the centre, as offsets round down.
        (grey([[0, 100, 7, 7], [50, 50, 7, 7]]), 50),
        (grey([[0, 100], [50, 50], [7, 7], [7, 7]]), 50),
        # A quarter: the four pixels about the centre alone, as there is no antialiasing.
        (grey([[255, 255, 255, 255], [255, 8, 8, 255], [255, 8, 8, 255], [255, 255, 255, 255]]), 8),
    ],
)
def test_release_crop_by_hand(picture, expected):
    np.testing.assert_array_equal(release_centre_crop(picture, 1), np.full((1, 1, 3), expected))


@pytest.mark.parametrize(
    ("shape", "size", "sides", "corner"),
    [
        # (height, width); size; (width, height) after resizing; (top, left) of the square.
        ((3, 5), 2, (3, 2), (0, 0)),  # 5 * 2 / 3 = 3.33
        ((5, 3), 4, (4, 7), (1, 0)),  # 5 * 4 / 3 = 6.67
        ((20, 30), 8, (12, 8), (0, 2)),
        ((10, 25), 1, (2, 1), (0, 0)),  # 2.5: a half goes to the even number
        ((10, 35), 1, (4, 1), (0, 1)),  # 3.5 likewise
        ((16, 16), 16, (16, 16), (0, 0)),
    ],
)
def test_release_crop_by_the_rule_of_albumentations(shape, size, sides, corner):
    picture = noise(*shape)
    resized = cv2.resize(picture, sides, interpolation=cv2.INTER_LINEAR)
    top, left = corner
    expected = resized[top : top + size, left : left + size]
    np.testing.assert_array_equal(release_centre_crop(picture, size), expected)


def test_the_release_crop_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match="crop 'release' needs the package opencv-python-headless"):
        release_centre_crop(noise(8, 8), 4)


@pytest.mark.parametrize(("shape", "tiles"), [((128, 128), 4), ((128, 224), 6), ((200, 300), 6), ((127, 500), 0)])
def test_evaluation_views(shape, tiles):
    picture = noise(*shape)
    views = centre_and_tiles(picture, 64)
    assert len(views) == 1 + tiles
    assert all(view.shape == (64, 64, 3) for view in views)
    np.testing.assert_array_equal(views[0], adm_centre_crop(picture, 64))
    released = centre_and_tiles(picture, 64, release_centre_crop)
    np.testing.assert_array_equal(released[0], release_centre_crop(picture, 64))
    np.testing.assert_array_equal(released[1:], views[1:])


def test_tiles_do_not_overlap_and_are_centred():
    picture = noise(128, 200)  # already at twice the size: tiles are its own pixels
    views = centre_and_tiles(picture, 64)
    rows = [np.concatenate(views[1 + 3 * row : 4 + 3 * row], axis=1) for row in range(2)]
    np.testing.assert_array_equal(np.concatenate(rows), picture[:, 4:196])


def test_random_squares_are_crops_of_every_scale():
    y, x = np.mgrid[:120, :200]
    picture = np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)  # the colour is the place
    sides, mirrored = [], 0
    for seed in range(400):
        square = random_square(picture, 16, np.random.default_rng(seed)).astype(int)
        assert square.shape == (16, 16, 3)
        step = (square[0, 15, 0] - square[0, 0, 0]) / 15
        mirrored += step < 0
        sides.append(16 * abs(step))
    # Uniform in log scale from 16 to 120: the median is their geometric mean, 43.8; the standard error of the median of
    # 400 uniform draws is 1/40 of the range, 2.0 in log-range units of ln 7.5, so that 15 % is three of them.
    assert np.median(sides) == pytest.approx(np.sqrt(16 * 120), rel=0.15)
    assert min(sides) < 18 and max(sides) > 110
    assert 140 < mirrored < 260  # six standard deviations about 200


def test_random_squares_depend_on_the_generator_alone():
    picture = noise(50, 40)
    np.random.seed(1)
    first = random_square(picture, 16, np.random.default_rng(3))
    np.random.seed(2)
    np.testing.assert_array_equal(first, random_square(picture, 16, np.random.default_rng(3)))
    assert not np.array_equal(first, random_square(picture, 16, np.random.default_rng(4)))


@pytest.mark.parametrize("shape", [(16, 16), (10, 12), (1, 5), (1, 1), (5000, 1)])
def test_pictures_no_larger_than_the_view(shape):
    assert random_square(noise(*shape), 16, np.random.default_rng(0)).shape == (16, 16, 3)
    assert adm_centre_crop(noise(*shape), 16).shape == (16, 16, 3)
    assert release_centre_crop(noise(*shape), 16).shape == (16, 16, 3)
    assert [view.shape for view in centre_and_tiles(noise(*shape), 16)] == [(16, 16, 3)]


@pytest.mark.parametrize("crop", [adm_centre_crop, release_centre_crop])
def test_mirrored_centre_is_the_centre_or_its_mirror(crop):
    picture = noise(32, 40)
    centre = crop(picture, 16)
    seen = {
        np.array_equal(mirrored_centre(picture, 16, np.random.default_rng(seed), crop), centre)
        + 2 * np.array_equal(mirrored_centre(picture, 16, np.random.default_rng(seed), crop), centre[:, ::-1])
        for seed in range(10)
    }
    assert seen == {1, 2}


def test_tensor_range_and_layout():
    picture = np.array([[[0, 255, 51], [102, 0, 0]]], dtype=np.uint8)
    tensor = to_tensor(picture)
    assert tensor.dtype == torch.float32 and tensor.shape == (3, 1, 2)
    torch.testing.assert_close(tensor[:, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_a_tensor_shares_nothing_with_a_picture_that_must_not_change():
    picture = np.asarray(Image.new("RGB", (1, 1), (255, 255, 255)))
    assert not picture.flags.writeable
    to_tensor(picture).zero_()
    assert picture.tolist() == [[[255, 255, 255]]]
