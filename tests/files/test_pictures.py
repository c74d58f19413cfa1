"""One reader of pictures: data, encode and score take the same files and see the same pixels."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from datamodules.reading import read_rgb
from gpstoken.files import pictures
from gpstoken.files.pictures import printable, read_picture
from gpstoken.images import read_photo
from gpstoken.metrics.samples import _picture

READERS = {"data": read_rgb, "encode": lambda path: np.asarray(read_photo(path)), "score": _picture}


def ramp(width=96, height=80):
    y, x = np.mgrid[0:height, 0:width]
    disc = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 4) ** 2) * 90
    return Image.fromarray(np.stack([x * 255 / width, y * 255 / height, 60 + disc], -1).clip(0, 255).astype(np.uint8))


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_text(**options):
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 3_000_000, zip=True)
    return encoded(ramp(), "PNG", pnginfo=text, **options)


GREY16 = (np.mgrid[0:80, 0:96][1] * 65535 // 96).astype(np.uint16)
RAMP = np.asarray(ramp())
FRAMES = [ramp().rotate(angle) for angle in (0, 30, 60)]
MORE = {"save_all": True, "append_images": FRAMES[1:]}
GREY8 = np.repeat((GREY16 >> 8).astype(np.uint8)[..., None], 3, 2)
ALPHA = np.mgrid[0:80, 0:96][1] * 255 // 96


def over_white(colours):
    """The picture of colours[H, W, 3] that is as clear as ALPHA, within one level of rounding."""
    return colours * (ALPHA[..., None] / 255) + 255 * (1 - ALPHA[..., None] / 255)


def see_through(mode):
    image = ramp().convert(mode)
    image.putalpha(Image.fromarray(ALPHA.astype(np.uint8)))
    return image


GREY = np.asarray(ramp().convert("L").convert("RGB"))
# Name -> (bytes, expected pixels or None where a lossy format leaves them to its decoder, levels they may be off by)
TAKEN = {
    "avif_named.jpg": (lambda: encoded(ramp(), "AVIF"), None, 0),
    "webp_named.jpg": (lambda: encoded(ramp(), "WEBP", lossless=True), RAMP, 0),
    "png_named.jpg": (lambda: encoded(ramp(), "PNG"), RAMP, 0),
    "bmp_named.jpg": (lambda: encoded(ramp(), "BMP"), RAMP, 0),
    "gif_named.jpg": (lambda: encoded(ramp().convert("L"), "GIF"), GREY, 0),
    "named.unknown": (lambda: encoded(ramp(), "PNG"), RAMP, 0),
    "grey16.pgm": (lambda: b"P5\n96 80\n65535\n" + GREY16.astype(">u2").tobytes(), GREY8, 0),
    # 4095 is white: v / 4095 of the range, of which the upper eight bits differ from v / 16 by a level at most
    "grey12in16.pgm": (lambda: b"P5\n96 80\n4095\n" + (GREY16 >> 4).astype(">u2").tobytes(), GREY8, 1),
    "grey16.png": (lambda: encoded(Image.fromarray(GREY16), "PNG"), GREY8, 0),
    "grey16.tif": (lambda: encoded(Image.fromarray(GREY16), "TIFF"), GREY8, 0),
    "multi_picture.jpg": (lambda: encoded(ramp(), "MPO", save_all=True, append_images=[ramp(48, 40)]), None, 0),
    "many_pages.tif": (lambda: encoded(ramp(), "TIFF", **MORE), RAMP, 0),
    "animated.webp": (lambda: encoded(ramp(), "WEBP", lossless=True, **MORE), RAMP, 0),
    "animated.png": (lambda: encoded(ramp(), "PNG", **MORE), RAMP, 0),
    "animated.gif": (lambda: encoded(ramp().convert("L"), "GIF", **MORE), GREY, 0),
    "long_text.png": (with_text, RAMP, 0),
    "long_profile.png": (lambda: encoded(ramp(), "PNG", icc_profile=bytes(3_000_000)), RAMP, 0),
    "cmyk.jpg": (lambda: encoded(ramp().convert("CMYK"), "JPEG", quality=95), None, 0),
    "progressive.jpg": (lambda: encoded(ramp(), "JPEG", progressive=True), None, 0),
    "trailing_bytes.jpg": (lambda: encoded(ramp(), "JPEG") + bytes(300) + b"trailer", None, 0),
    "rgba_ramp.png": (lambda: encoded(see_through("RGB"), "PNG"), over_white(RAMP), 1),
    "grey_alpha.png": (lambda: encoded(see_through("L"), "PNG"), over_white(GREY), 1),
    "palette.png": (lambda: encoded(ramp().convert("L").quantize(256), "PNG"), GREY, 0),
    "bilevel.png": (lambda: encoded(ramp().convert("1"), "PNG"), np.asarray(ramp().convert("1").convert("RGB")), 0),
    "key.png": (lambda: encoded(Image.new("RGB", (96, 80), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), 255, 0),
    "lzw.tif": (lambda: encoded(ramp(), "TIFF", compression="tiff_lzw"), RAMP, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_every_reader_takes_it_and_sees_the_same(tmp_path, name):
    make, expected, tolerance = TAKEN[name]
    (tmp_path / name).write_bytes(make())
    found = {kind: reader(tmp_path / name) for kind, reader in READERS.items()}
    for kind, pixels in found.items():
        assert pixels.shape == (80, 96, 3) and pixels.dtype == np.uint8, kind
        np.testing.assert_array_equal(pixels, found["data"], err_msg=kind)
    if expected is None:  # of a photograph compressed with loss: it is the ramp, not the second picture
        assert np.abs(found["data"].astype(int) - RAMP).mean() < 8
    else:
        assert np.abs(found["data"].astype(float) - expected).max() <= tolerance


def test_a_photograph_of_108_megapixels(tmp_path):
    Image.new("RGB", (12000, 9000), (9, 99, 200)).save(tmp_path / "a.jpg", quality=10)
    for reader in READERS.values():
        pixels = reader(tmp_path / "a.jpg")
        assert pixels.shape == (9000, 12000, 3)
        assert (
            np.abs(pixels[::3000, ::3000].astype(int) - (9, 99, 200)).max() <= 15
        )  # quality 10 rounds luma to 10 levels, chroma to 10.6, which blue has 1.77 times


def large_png(width, height):
    """A PNG that says it is large and holds nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


SIDES = (65000, 65000)
BOMBS = {
    "a.png": lambda: large_png(12000, 12000), "huge.png": lambda: large_png(2**30, 2**30),
    "a.pgm": lambda: b"P5 12000 12000 255\n", "a.ppm": lambda: b"P6 99999 99999 255\n",
    "a.bmp": lambda: encoded(ramp(), "BMP").replace(struct.pack("<II", 96, 80), struct.pack("<II", 30000, 30000)),
    "a.gif": lambda: b"GIF89a" + struct.pack("<HH3x", *SIDES) + b"," + struct.pack("<4H9x", 0, 0, *SIDES),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, name):
    (tmp_path / name).write_bytes(BOMBS[name]())
    for reader in READERS.values():
        tracemalloc.start()
        with pytest.raises(
            ValueError, match=r"pixels, but 134,217,728 are allowed; --max-pixels .*GPSTOKEN_MAX_PIXELS"
        ):
            reader(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**22
        tracemalloc.stop()


def test_the_limit_is_raised_and_lowered(tmp_path, monkeypatch):
    ramp(12, 10).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", max_pixels=120).shape == (10, 12, 3)
    with pytest.raises(ValueError, match="12 x 10 are 120 pixels, but 119 are allowed"):
        read_picture(tmp_path / "a.png", max_pixels=119)
    for value, allowed in (("120", True), ("119", False), ("", True)):
        monkeypatch.setenv("GPSTOKEN_MAX_PIXELS", value)
        if allowed:
            assert read_picture(tmp_path / "a.png").shape == (10, 12, 3)
        else:
            with pytest.raises(ValueError, match="119 are allowed"):
                read_picture(tmp_path / "a.png")
    for value in ("0", "-3", "1e9", "many"):
        monkeypatch.setenv("GPSTOKEN_MAX_PIXELS", value)
        with pytest.raises(ValueError, match="GPSTOKEN_MAX_PIXELS: expected a whole number of pixels"):
            read_picture(tmp_path / "a.png")
    # PIL's own limit is that of other programs in the same process
    monkeypatch.delenv("GPSTOKEN_MAX_PIXELS")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    assert read_picture(tmp_path / "a.png").shape == (10, 12, 3)


def bad_files(folder):
    """Files that are no pictures, and why."""
    whole = encoded(ramp(300, 200), "JPEG")
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_bytes(b"<html>403 Forbidden</html>")
    (folder / "program.jpg").write_bytes(encoded(ramp(), "EPS"))
    (folder / "folder.jpg").mkdir()
    (folder / "float.tif").write_bytes(encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))
    (folder / "gone.png").symlink_to("/nowhere/gone.png")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    return {
        "truncated.jpg": "truncated", "empty.jpg": "empty, or not a known format", "gone.png": "No such file",
        "page.jpg": "empty, or not a known format", "program.jpg": "empty, or not a known format",
        "folder.jpg": "Is a directory", "float.tif": "mode F", "loop.png": "symbolic links", "pipe.png": "not a file",
    }  # fmt: skip


def test_every_reader_refuses_it_alike(tmp_path):
    for name, reason in bad_files(tmp_path).items():
        lines = set()
        for reader in READERS.values():
            with pytest.raises(ValueError, match=reason) as error:
                reader(tmp_path / name)
            lines.add(str(error.value))
        (line,) = lines
        assert line.startswith(f"{tmp_path / name}: cannot be read as a picture: ") and "\n" not in line


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    with (tmp_path / "a.webp").open("wb") as file:
        file.truncate(2**31 + 1)  # takes no room on the disk
    with pytest.raises(ValueError, match="2,147,483,649 bytes, but 2,147,483,648 are allowed"):
        read_picture(tmp_path / "a.webp")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (b"plain.png", "plain.png"),
        ("Fotos_aéö_写真".encode(), "Fotos_aéö_写真"),
        (b"caf\xe9.png", r"caf\xe9.png"),
        (rb"caf\xe9.png", r"caf\\xe9.png"),
        (b"two\nlines.png", r"two\x0alines.png"),
    ],
)
def test_names_are_written_reversibly(name, written):
    assert printable(os.fsdecode(name)) == written


def test_memory_that_ends_is_said(tmp_path, monkeypatch):
    ramp().save(tmp_path / "a.png")

    def none_left(*_):
        raise MemoryError

    monkeypatch.setattr(pictures, "to_rgb", none_left)
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as a picture: not enough memory"):
        read_picture(tmp_path / "a.png")
