import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datamodules.reading import read_rgb, to_rgb

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


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


def orientation(k: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = k
    return exif


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("k", UPRIGHT)
def test_exif_orientation_is_honoured(tmp_path, k, suffix):
    stored = noise(5, 9)
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=orientation(k), lossless=True)
    np.testing.assert_array_equal(read_rgb(tmp_path / f"a.{suffix}"), UPRIGHT[k](stored))


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "1", "RGBA"])
def test_exif_orientation_in_other_modes(tmp_path, mode):
    grey = np.array([[0, 255, 255], [255, 255, 255]], dtype=np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    assert image.mode == mode
    image.save(tmp_path / "a.png", exif=orientation(6))  # a quarter turn clockwise: the corner goes to the right
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png")[..., 0], [[255, 0], [255, 255], [255, 255]])


@pytest.mark.parametrize(("k", "shape"), [(1, (24, 36, 3)), (6, (36, 24, 3))])
def test_reduced_reading_keeps_the_orientation_and_the_aspect(tmp_path, k, shape):
    Image.fromarray(noise(400, 600)).save(tmp_path / "a.jpg", exif=orientation(k))
    assert read_rgb(tmp_path / "a.jpg", shortest_side=24).shape == shape


# PIL's word to the user, who gets the picture all the same.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01", b"Exif\0\0"])
def test_good_pixels_with_a_broken_exif_block_are_read(tmp_path, exif):
    Image.fromarray(noise(16, 24)).save(tmp_path / "whole.jpg")
    Image.fromarray(noise(16, 24)).save(tmp_path / "broken.jpg", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "broken.jpg"), read_rgb(tmp_path / "whole.jpg"))


def test_reduced_reading_is_near_an_exact_reduction(tmp_path):
    y, x = np.mgrid[:800, :1200] / 100
    smooth = np.stack([np.sin(x) * np.cos(y), np.cos(x + y), np.sin(y)], axis=-1)
    Image.fromarray((127.5 + 120 * smooth).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        exact = np.asarray(image.resize((96, 64), Image.Resampling.LANCZOS)).astype(float)
    reduced = read_rgb(tmp_path / "a.jpg", shortest_side=64).astype(float)
    # A smooth picture leaves nothing to the choice of filter but a level or two at the edges.
    assert np.abs(reduced - exact).max() <= 3


@pytest.mark.parametrize("shape", [(7, 9), (1, 1), (1, 3000), (3000, 1)])
def test_small_and_thin_pictures_are_not_enlarged_by_reading(tmp_path, shape):
    Image.fromarray(noise(*shape)).save(tmp_path / "a.png")
    for shortest_side in (None, 8):
        np.testing.assert_array_equal(read_rgb(tmp_path / "a.png", shortest_side), noise(*shape))


def test_modes_become_what_a_person_expects():
    half = Image.new("RGBA", (1, 1), (255, 0, 0, 127))
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *GREEN])
    palette.putdata([0, 1])
    see_through = palette.copy()
    see_through.info["transparency"] = 1
    keyed = Image.new("RGB", (2, 1), RED)
    keyed.putpixel((1, 0), BLUE)
    keyed.info["transparency"] = BLUE
    grey16 = Image.fromarray(np.array([[0, 0x80FF, 0xFFFF]], dtype=np.uint16))
    cases = [
        (half, [(255, 128, 128)]),
        (Image.new("RGBA", (1, 1), (1, 2, 3, 0)), [WHITE]),
        (Image.new("LA", (1, 1), (10, 0)), [WHITE]),
        (Image.new("L", (1, 1), 10), [(10, 10, 10)]),
        (Image.new("1", (1, 1), 1), [WHITE]),
        (palette, [RED, GREEN]),
        (see_through, [RED, WHITE]),
        (keyed, [RED, WHITE]),
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), [RED]),
        (grey16, [(0, 0, 0), (128, 128, 128), WHITE]),
    ]
    for image, expected in cases:
        np.testing.assert_array_equal(np.asarray(to_rgb(image))[0], expected, err_msg=image.mode)


def test_files_of_16_bits(tmp_path):
    colours = np.array([[[0x80FF, 0, 0xFFFF]]], dtype=np.uint16)  # red, green, blue
    grey = np.array([[0x80FF]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "colour.png"), colours[..., ::-1])  # OpenCV's order is blue first
    cv2.imwrite(str(tmp_path / "colour.tif"), colours[..., ::-1])
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "grey.tif"), grey)
    (tmp_path / "colour.ppm").write_bytes(b"P6 1 1 65535\n" + colours.astype(">u2").tobytes())
    (tmp_path / "grey.pgm").write_bytes(b"P5 1 1 65535\n" + grey.astype(">u2").tobytes())
    (tmp_path / "grey.12bit.pgm").write_bytes(b"P5 1 1 4095\n" + np.array([2048], dtype=">u2").tobytes())
    for path in tmp_path.iterdir():
        expected = (128, 0, 255) if path.name.startswith("colour") else (128, 128, 128)
        np.testing.assert_array_equal(read_rgb(path)[0, 0], expected, err_msg=path.name)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_files(tmp_path, suffix):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / f"a.{suffix}")
    # A level or two for the rounding of JPEG.
    assert np.abs(read_rgb(tmp_path / f"a.{suffix}").astype(int) - RED).max() <= 2


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 3), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert image.n_frames == 3
    np.testing.assert_array_equal(read_rgb(tmp_path / f"a.{suffix}"), np.full((3, 4, 3), RED))


@pytest.mark.parametrize("suffix", ["bmp", "gif", "jpg", "png", "ppm", "tif", "webp"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_truncated_files_are_named(tmp_path, suffix, kept):
    buffer = io.BytesIO()
    smooth = Image.fromarray(noise(9, 9)).resize((160, 120), Image.Resampling.BICUBIC)
    smooth.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(buffer.getvalue()[: int(kept * buffer.tell())])
    for shortest_side in (None, 16):
        with pytest.raises(ValueError, match=rf"^\S*cut\.{suffix}: cannot be read as a picture: .+$"):
            read_rgb(path, shortest_side)


def test_files_that_are_no_picture_are_named_in_one_line(tmp_path):
    (tmp_path / "text.jpg").write_bytes(b"not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    Image.new("F", (2, 2)).save(tmp_path / "float.tif")
    Image.new("I", (2, 2)).save(tmp_path / "integer.tif")
    reasons = {
        "text.jpg": "empty, or not a known format",
        "empty.png": "empty, or not a known format",
        "folder.png": "Is a directory",
        "absent.png": "No such file or directory",
        "float.tif": "mode F (32 bits per pixel) has no known range; save it with 8 or 16 bits",
        "integer.tif": "mode I (32 bits per pixel) has no known range; save it with 8 or 16 bits",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError) as error:
            read_rgb(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: cannot be read as a picture: {reason}"


def test_members_of_other_files_are_read_and_named(tmp_path):
    class Inside:
        path = Path("photos.zip")

        def __init__(self, content: bytes) -> None:
            self.content = content

        def __str__(self) -> str:
            return "photos.zip!a.png"

        def read_bytes(self) -> bytes:
            return self.content

    Image.fromarray(noise(5, 9)).save(tmp_path / "a.png", exif=orientation(8))
    content = (tmp_path / "a.png").read_bytes()
    np.testing.assert_array_equal(read_rgb(Inside(content)), np.rot90(noise(5, 9)))
    with pytest.raises(ValueError, match=r"^photos\.zip!a\.png: cannot be read as a picture: "):
        read_rgb(Inside(content[:100]))
