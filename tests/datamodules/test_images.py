import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from datamodules.images import (
    adm_centre_crop,
    centre_and_tiles,
    mirrored_centre,
    random_square,
    read_rgb,
    to_rgb,
    to_tensor,
)

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# What EXIF orientation k asks a viewer to do with the stored pixels.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_honoured(tmp_path, orientation):
    stored = noise(5, 9)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), UPRIGHT[orientation](stored))


@pytest.mark.parametrize(("orientation", "shape"), [(1, (24, 36, 3)), (6, (36, 24, 3))])
def test_reduced_reading_keeps_the_orientation_and_the_aspect(tmp_path, orientation, shape):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(400, 600)).save(tmp_path / "a.jpg", exif=exif)
    assert read_rgb(tmp_path / "a.jpg", shortest_side=24).shape == shape


def test_reduced_reading_is_near_an_exact_reduction(tmp_path):
    y, x = np.mgrid[:800, :1200] / 100
    smooth = np.stack([np.sin(x) * np.cos(y), np.cos(x + y), np.sin(y)], axis=-1)
    Image.fromarray((127.5 + 120 * smooth).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        exact = np.asarray(image.resize((96, 64), Image.Resampling.LANCZOS)).astype(float)
    reduced = read_rgb(tmp_path / "a.jpg", shortest_side=64).astype(float)
    # A smooth picture leaves nothing to the choice of filter but a level or two at the edges.
    assert np.abs(reduced - exact).max() <= 3


def test_small_pictures_are_not_enlarged_by_reading(tmp_path):
    Image.fromarray(noise(7, 9)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_rgb(tmp_path / "a.png", shortest_side=8).shape, (8, 10, 3) if 7 > 8 else (7, 9, 3)
    )


def test_modes_become_what_a_person_expects():
    half = Image.new("RGBA", (1, 1), (255, 0, 0, 127))
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *GREEN])
    palette.putdata([0, 1])
    see_through = palette.copy()
    see_through.info["transparency"] = 1
    grey16 = Image.fromarray(np.array([[0, 0x80FF, 0xFFFF]], dtype=np.uint16))
    cases = [
        (half, [(255, 128, 128)]),
        (Image.new("RGBA", (1, 1), (1, 2, 3, 0)), [WHITE]),
        (Image.new("LA", (1, 1), (10, 0)), [WHITE]),
        (Image.new("L", (1, 1), 10), [(10, 10, 10)]),
        (Image.new("1", (1, 1), 1), [WHITE]),
        (palette, [RED, GREEN]),
        (see_through, [RED, WHITE]),
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), [RED]),
        (grey16, [(0, 0, 0), (128, 128, 128), WHITE]),
    ]
    for image, expected in cases:
        np.testing.assert_array_equal(np.asarray(to_rgb(image))[0], expected, err_msg=image.mode)


def test_unreadable_files_are_named(tmp_path):
    Image.fromarray(noise(64, 64)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    broken = {"cut.png": content[: len(content) // 2], "text.jpg": b"not a picture", "empty.png": b""}
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
    Image.new("F", (2, 2)).save(tmp_path / "float.tif")
    for name in (*broken, "float.tif", "absent.png"):
        with pytest.raises(ValueError, match=f"{name}: cannot be read as a picture"):
            read_rgb(tmp_path / name)


def test_adm_crop_halves_by_boxes():
    picture = np.zeros((4, 6, 3), dtype=np.uint8)
    picture[::2, ::2] = 200
    # Each 2 x 2 box holds one 200 and three 0, so that the halved picture is 50 everywhere.
    np.testing.assert_array_equal(adm_centre_crop(picture, 2), np.full((2, 2, 3), 50))


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


@pytest.mark.parametrize(("shape", "tiles"), [((128, 128), 4), ((128, 224), 6), ((200, 300), 6), ((127, 500), 0)])
def test_evaluation_views(shape, tiles):
    picture = noise(*shape)
    views = centre_and_tiles(picture, 64)
    assert len(views) == 1 + tiles
    assert all(view.shape == (64, 64, 3) for view in views)
    np.testing.assert_array_equal(views[0], adm_centre_crop(picture, 64))


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


@pytest.mark.parametrize("shape", [(16, 16), (10, 12), (1, 5)])
def test_pictures_no_larger_than_the_view(shape):
    assert random_square(noise(*shape), 16, np.random.default_rng(0)).shape == (16, 16, 3)
    assert adm_centre_crop(noise(*shape), 16).shape == (16, 16, 3)


def test_mirrored_centre_is_the_centre_or_its_mirror():
    picture = noise(32, 40)
    centre = adm_centre_crop(picture, 16)
    seen = {
        np.array_equal(mirrored_centre(picture, 16, np.random.default_rng(seed)), centre)
        + 2 * np.array_equal(mirrored_centre(picture, 16, np.random.default_rng(seed)), centre[:, ::-1])
        for seed in range(10)
    }
    assert seen == {1, 2}


def test_tensor_range_and_layout():
    picture = np.array([[[0, 255, 51], [102, 0, 0]]], dtype=np.uint8)
    tensor = to_tensor(picture)
    assert tensor.dtype == torch.float32 and tensor.shape == (3, 1, 2)
    torch.testing.assert_close(tensor[:, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))
