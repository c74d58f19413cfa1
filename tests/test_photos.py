"""`gpstoken encode` and `gpstoken decode` as a person runs them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.crops import adm_centre_crop
from gpstoken import GPSToken, Tokens
from gpstoken.cli import main
from gpstoken.commands import photo_memory, photos
from gpstoken.commands.photo_files import find_inputs
from gpstoken.files.checkpoints import write_plain
from gpstoken.images import centre_square, read_photo

NARROW = {
    "num_tokens": 8, "feature_channels": 4, "image_size": 64, "grid_size": 16, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_blocks": 1, "norm_groups": 2,
}  # fmt: skip
TINY = Path(__file__).parent / "golden" / "tokenizer_tiny_weights_fp16.safetensors"


def picture(width=100, height=80, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    return GPSToken(**NARROW).eval()


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    write_plain(
        path,
        {
            "tokenizer": {"class_path": "gpstoken.tokenizer.GPSToken", "init_args": tokenizer.config},
            "state_dict": {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()},
        },
    )
    return path


@pytest.fixture
def run(checkpoint, capfd):
    """run(command, *files, out, ...) -> (exit code, lines on stderr)."""

    def call(*arguments):
        code = main([*map(str, arguments), "--checkpoint", str(checkpoint)])
        return code, capfd.readouterr().err.splitlines()

    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    with Image.open(path) as image:
        return np.array(image)


# What is written


@torch.no_grad()
@pytest.mark.parametrize("quiet", [False, True])
def test_a_photo_to_tokens_and_back(run, tokenizer, tmp_path, quiet):
    picture().save(tmp_path / "cat.png")
    more = ["--quiet"] if quiet else []
    assert run("encode", tmp_path / "cat.png", "-o", tmp_path / "out" / "deep", "--size", 64, *more) == (0, [])
    assert names(tmp_path / "out" / "deep") == ["cat.safetensors"]
    tokens = Tokens.load(tmp_path / "out" / "deep" / "cat.safetensors")
    # The crop of the evaluation, written independently for the data sets
    square = adm_centre_crop(np.asarray(picture()), 64)
    image = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert torch.equal(tokens.to_tensor(), tokenizer.encode(image).to_tensor())
    assert tokens.size == (64, 64) and tokens.canvas is None

    assert run("decode", tmp_path / "out" / "deep" / "cat.safetensors", "-o", tmp_path / "back") == (0, [])
    levels = torch.from_numpy(read(tmp_path / "back" / "cat.png")).permute(2, 0, 1)
    expected = (127.5 * (tokenizer.decode(tokens)[0].clamp(-1, 1) + 1)).round()
    assert torch.equal(levels, expected.to(torch.uint8))


def test_padding_and_tiles_are_said(checkpoint, tmp_path, capfd):
    for width, height in ((64, 64), (63, 65), (451, 300)):
        picture(width, height).save(tmp_path / f"{width}.png")
    model = ["-o", str(tmp_path), "--checkpoint", str(checkpoint)]
    assert main(["encode", str(tmp_path / "[0-9]*.png"), *model]) == 0
    # One tile; to whole grid points of 4 pixels; to 5 x 8 tiles of 64 x 64, because it has more pixels than four tiles.
    sizes = [line.split(": ")[1].split(" tokens")[0] for line in capfd.readouterr().out.splitlines()]
    assert sorted(sizes) == ["300x451, padded to 320x512, in 5x8 tiles, 320", "64x64, 8", "65x63, padded to 68x64, 8"]
    assert main(["decode", str(tmp_path / "451.safetensors"), str(tmp_path / "64.safetensors"),
                 *model[:1], str(tmp_path / "back"), *model[2:]]) == 0  # fmt: skip
    lines = capfd.readouterr().out.splitlines()
    assert "300x451, cropped from 320x512, 320 tokens" in lines[0] and ": 64x64, 8 tokens" in lines[1]


@torch.no_grad()
def test_a_whole_photo_comes_back_in_its_size(run, tokenizer, tmp_path):
    # 300 x 451 is more than four tiles of 64 x 64: 5 x 8 tiles of 8 tokens, the last row and column repeated.
    picture(451, 300).save(tmp_path / "cat.png")
    assert run("encode", tmp_path / "cat.png", "-o", tmp_path) == (0, [])
    tokens = Tokens.load(tmp_path / "cat.safetensors")
    assert tokens.size == (300, 451) and tokens.canvas == (320, 512) and len(tokens) == 5 * 8 * 8
    padded = np.pad(np.asarray(picture(451, 300)), ((0, 20), (0, 61), (0, 0)), mode="edge")
    image = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert torch.equal(tokens.to_tensor(), tokenizer.encode(image).to_tensor())
    assert run("decode", tmp_path / "cat.safetensors", "-o", tmp_path / "back") == (0, [])
    back = read(tmp_path / "back" / "cat.png")
    expected = (127.5 * (tokenizer.decode(tokenizer.encode(image))[0].clamp(-1, 1) + 1)).round().to(torch.uint8)
    assert back.shape == (300, 451, 3) and np.array_equal(back, expected.permute(1, 2, 0)[:300, :451])


def test_one_line_for_each_file(checkpoint, tmp_path, capfd):
    picture().save(tmp_path / "cat.png")
    model = ["--checkpoint", str(checkpoint)]
    assert main(["encode", str(tmp_path / "cat.png"), "-o", str(tmp_path), "--draw", *model]) == 2  # would replace it
    assert capfd.readouterr().out == ""
    assert main(["encode", str(tmp_path / "cat.png"), "-o", str(tmp_path / "t"), *model]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert main(["decode", str(tmp_path / "t/cat.safetensors"), "-o", str(tmp_path / "p"), *model]) == 0
    (back,) = capfd.readouterr().out.splitlines()
    size = (tmp_path / "t/cat.safetensors").stat().st_size
    # PSNR by its definition, of the files: 10 log10(255^2 / mean squared error)
    error = np.square(read(tmp_path / "cat.png").astype(float) - read(tmp_path / "p/cat.png")).mean()
    psnr = f"{10 * np.log10(255**2 / error):.2f}"
    assert line == (
        f"{tmp_path}/cat.png: 80x100, 16 tokens, {size:,} bytes, {8 * size / 8000:.3g} bits per pixel, "
        f"PSNR {psnr} dB -> {tmp_path}/t/cat.safetensors"
    )
    assert back == f"{tmp_path}/t/cat.safetensors: 80x100, 16 tokens -> {tmp_path}/p/cat.png"
    for command in (["encode", str(tmp_path / "cat.png")], ["decode", str(tmp_path / "t/cat.safetensors")]):
        assert main([*command, "-o", str(tmp_path / "q"), "--quiet", *model]) == 0
        assert capfd.readouterr().out == ""


def test_files_have_the_mode_of_the_umask(run, tmp_path):
    picture().save(tmp_path / "cat.png")
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            assert run("encode", tmp_path / "cat.png", "-o", tmp_path / "out", "--draw", "--size", 64)[0] == 0
            assert run("decode", tmp_path / "out" / "cat.safetensors", "-o", tmp_path / "back")[0] == 0
        finally:
            os.umask(before)
        for path in ("out/cat.safetensors", "out/cat.png", "back/cat.png"):
            assert (tmp_path / path).stat().st_mode & 0o777 == mode, path


def test_what_is_too_large_is_refused_before_it_is_decoded(run, tmp_path, monkeypatch):
    picture(100, 80).save(tmp_path / "cat.png")
    code, lines = run("encode", tmp_path / "cat.png", "-o", tmp_path / "out", "--max-pixels", 7999)
    assert (
        code == 2 and len(lines) == 1 and "100 x 80 are 8,000 pixels, but 7,999 are allowed; --max-pixels" in lines[0]
    )
    monkeypatch.setenv("GPSTOKEN_MAX_PIXELS", "7999")
    assert run("encode", tmp_path / "cat.png", "-o", tmp_path / "out")[0] == 2
    assert run("encode", tmp_path / "cat.png", "-o", tmp_path / "out", "--max-pixels", 8000) == (0, [])


def test_memory_that_would_not_do_is_refused_before_it_is_taken(run, tmp_path, monkeypatch):
    picture(100, 80).save(tmp_path / "cat.png")
    assert run("encode", tmp_path / "cat.png", "-o", tmp_path)[0] == 0
    # 80 x 100 pixels of 190 + 13 * 2 * 4 = 294 bytes where decoder_channels is 4, of 136 to encode alone
    monkeypatch.setattr(photo_memory, "free_memory", lambda device: 80 * 100 * 293)
    for command, name in (("encode", "cat.png"), ("decode", "cat.safetensors")):
        code, lines = run(command, tmp_path / name, "-o", tmp_path / "out")
        assert code == 2 and len(lines) == 1
        assert "a whole image of 80x100 takes about 0.0 GB with this tokenizer" in lines[0] and "--size N" in lines[0]
    assert run("encode", tmp_path / "cat.png", "-o", tmp_path / "out", "--quiet") == (0, [])
    assert run("encode", tmp_path / "cat.png", "-o", tmp_path / "out", "--size", 64) == (0, [])


def test_free_memory_is_that_of_the_machine():
    free = photo_memory.free_memory(torch.device("cpu"))
    assert 2**20 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"-x.png", "写真 1.png".encode(), b"a\nb.png"])
def test_names_that_are_not_utf_8(run, tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    picture().save(path)
    assert run("encode", path, "-o", tmp_path / "out", "--draw") == (0, [])
    assert run("decode", tmp_path / "out", "-o", tmp_path / "back") == (0, [])
    expected = {b"caf\xe9.png": "caf\\xe9.png", b"a\nb.png": "a\\x0ab.png"}.get(name, path.name)
    assert names(tmp_path / "back") == [expected]
    path.write_bytes(b"no picture")
    code, lines = run("encode", path, "-o", tmp_path / "out")
    assert code == 2 and "cannot be read as a picture" in lines[-1]


def test_drawing_shows_four_pictures(run, tokenizer, tmp_path):
    picture().save(tmp_path / "cat.jpg")
    assert run("encode", tmp_path / "cat.jpg", "-o", tmp_path / "out", "--draw", "--size", 64)[0] == 0
    assert names(tmp_path / "out") == ["cat.png", "cat.safetensors"]
    sheet = read(tmp_path / "out" / "cat.png")
    # 64 pixels enlarged to 256, four side by side, 4 white pixels between
    assert sheet.shape == (256, 4 * 256 + 3 * 4, 3)
    panels = [sheet[:, start : start + 256] for start in range(0, 1040, 260)]
    with Image.open(tmp_path / "cat.jpg") as photo:
        square = np.asarray(centre_square(photo, 64))
    assert np.array_equal(panels[0], square.repeat(4, 0).repeat(4, 1))
    yellow = [(panel == (255, 214, 10)).all(-1).sum() for panel in panels]
    assert yellow[0] == yellow[3] == 0 and yellow[1] > 200 and yellow[2] > 200


@pytest.mark.parametrize(
    ("options", "photo", "size", "count"),
    [
        ([], (100, 80), (80, 100), 16),
        ([], (101, 83), (83, 101), 17),
        ([], (64, 64), (64, 64), 8),
        ([], (200, 130), (130, 200), 96),  # 3 x 4 tiles
        ([], (3, 5), (5, 3), 1),
        (["--size", "128"], (100, 80), (128, 128), 32),
        (["--size", "32"], (100, 80), (32, 32), 2),
        (["--size", "0"], (129, 66), (66, 129), 18),
        (["--size", "63"], (129, 66), (63, 63), 8),
        (["--tokens", "13"], (100, 80), (80, 100), 13),
        (["--size", "128", "--tokens", "20"], (64, 64), (128, 128), 20),
    ],
)
def test_size_and_number(run, tmp_path, options, photo, size, count):
    picture(*photo).save(tmp_path / "cat.png")
    assert run("encode", tmp_path / "cat.png", "-o", tmp_path, *options) == (0, [])
    tokens = Tokens.load(tmp_path / "cat.safetensors")
    assert tokens.size == size and tokens.features.shape == (1, count, 4)
    assert run("decode", tmp_path / "cat.safetensors", "-o", tmp_path / "back") == (0, [])
    assert read(tmp_path / "back" / "cat.png").shape == (*size, 3)


def test_a_drawing_shows_the_photo_without_its_padding(run, tmp_path):
    # Columns numbered by their value: sides of 101 x 83 are padded to 104 x 84.
    Image.fromarray(np.arange(101, dtype=np.uint8)[None].repeat(83, 0)).save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png", "-o", tmp_path / "out", "--draw")[0] == 0
    sheet = read(tmp_path / "out" / "a.png")
    assert sheet.shape == (3 * 83, 4 * 3 * 101 + 3 * 4, 3)
    assert sheet[0, : 3 * 101 : 3, 0].tolist() == list(range(101))


# Reading photographs


@pytest.mark.parametrize("size", [(40, 40), (64, 64), (65, 64), (128, 128), (300, 130), (130, 517)], ids=str)
def test_crop_is_that_of_the_data_sets(size):
    photo = picture(*size)
    assert np.array_equal(centre_square(photo, 64), adm_centre_crop(np.asarray(photo), 64))


def test_photos_are_read_upright_in_rgb(tmp_path):
    red = Image.new("RGB", (8, 4), "red")
    exif = Image.Exif()
    exif[274] = 6  # taken with the camera turned: rotate by 90 degrees
    red.save(tmp_path / "turned.jpg", exif=exif)
    assert read_photo(tmp_path / "turned.jpg").size == (4, 8)

    cases = {
        "grey.png": (Image.new("L", (2, 2), 99), (99, 99, 99)),
        "deep.png": (Image.fromarray(np.full((2, 2), 99 * 256 + 200, np.uint16)), (99, 99, 99)),
        "clear.png": (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), (255, 255, 255)),
        "half.png": (Image.new("LA", (2, 2), (0, 51)), (204, 204, 204)),
        "print.tif": (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), (255, 0, 0)),
        "bilevel.png": (Image.new("1", (2, 2), 1), (255, 255, 255)),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / name)
        photo = read_photo(tmp_path / name)
        assert photo.mode == "RGB" and photo.getpixel((1, 1)) == expected, name


def test_pictures_that_would_start_a_program_are_not_opened(tmp_path):
    picture().save(tmp_path / "a.eps")
    os.rename(tmp_path / "a.eps", tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg: cannot be read as a picture"):
        read_photo(tmp_path / "a.jpg")


# Which files


def test_folders_globs_and_duplicates(run, tmp_path):
    folder = tmp_path / "album"
    (folder / "more").mkdir(parents=True)
    for name in ("b.png", "a.JPG", ".hidden.png", "more/c.png", "[x].png"):
        picture().save(folder / name)
    (folder / "notes.txt").write_text("not a photo")
    given = [folder, folder / "**/*.png", folder / "b.png", folder / "[x].png"]
    assert run("encode", *given, "-o", tmp_path / "out") == (0, [])
    assert names(tmp_path / "out") == ["[x].safetensors", "a.safetensors", "b.safetensors", "c.safetensors"]
    found, complaints = find_inputs([str(path) for path in given], (".png",))
    assert [path.name for path in found] == ["[x].png", "b.png", "c.png"] and complaints == []


@pytest.mark.parametrize("name", ["none.jpg", "*.png", "empty"])
def test_no_input_is_one_line(run, tmp_path, name):
    (tmp_path / "empty").mkdir()
    code, lines = run("encode", tmp_path / name, "-o", tmp_path / "out")
    assert code == 2 and len(lines) == 1 and str(tmp_path / name) in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_bad_file_is_one_line_and_the_rest_goes_on(run, tmp_path):
    for name in ("a.png", "cut.png", "z.png"):
        picture(600, 400).save(tmp_path / name)
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("<html>\n404\n</html>")
    (tmp_path / "empty.png").touch()
    Image.new("F", (80, 80)).save(tmp_path / "float.tif")
    code, lines = run("encode", tmp_path, tmp_path / "none.png", "-o", tmp_path / "out", "--draw")
    assert code == 2 and names(tmp_path / "out") == ["a.png", "a.safetensors", "z.png", "z.safetensors"]
    bad = ["none.png", "cut.png", "empty.png", "float.tif", "text.jpg"]
    assert len(lines) == len(bad)
    for line, name in zip(lines, bad, strict=True):
        assert line.startswith(f"gpstoken: {tmp_path / name}: ") and line.count(name) <= 2


def test_a_bad_token_file_is_one_line_and_the_rest_goes_on(run, tmp_path):
    random = torch.rand(2, 8, 9)
    Tokens.from_tensor(random[:1], (64, 64)).save(tmp_path / "good.safetensors")
    Tokens.from_tensor(random, (64, 64)).save(tmp_path / "two.safetensors")
    Tokens.from_tensor(random[:1, :, :8], (64, 64)).save(tmp_path / "narrow.safetensors")
    Tokens.from_tensor(random[:1], (63, 64)).save(tmp_path / "odd.safetensors")
    Tokens.from_tensor(random[:1], (64, 64), (6400, 6400)).save(tmp_path / "padded.safetensors")
    shutil.copy(TINY, tmp_path / "weights.safetensors")
    (tmp_path / "text.safetensors").write_text("nothing")
    code, lines = run("decode", tmp_path, "-o", tmp_path / "out")
    assert code == 2 and names(tmp_path / "out") == ["good.png"]
    reasons = {
        "narrow": "expected 4 feature channels, got 3", "odd": "multiples of 4 pixels, got 63x64",
        "padded": "pads by less than 64", "text": "not a readable token file",
        "two": "holds the tokens of 2 images", "weights": "not a token file",
    }  # fmt: skip
    assert len(lines) == len(reasons)
    for line, (name, reason) in zip(lines, reasons.items(), strict=True):
        assert line.startswith(f"gpstoken: {tmp_path / name}.safetensors: ") and reason in line


def test_photos_of_one_name_do_not_overwrite_each_other(run, tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        picture(seed=seed).save(tmp_path / name / "cat.png")
    code, lines = run("encode", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "out")
    assert code == 2 and len(lines) == 1
    assert str(tmp_path / "two/cat.png") in lines[0] and str(tmp_path / "one/cat.png") in lines[0]
    first = (tmp_path / "out/cat.safetensors").read_bytes()
    # Alone, and a second time: what an earlier run wrote is replaced.
    for _ in range(2):
        assert run("encode", tmp_path / "two", "-o", tmp_path / "out") == (0, [])
    assert (tmp_path / "out/cat.safetensors").read_bytes() != first


def test_a_drawing_never_replaces_a_photo(run, tmp_path):
    picture().save(tmp_path / "cat.png")
    before = (tmp_path / "cat.png").read_bytes()
    code, lines = run("encode", tmp_path / "cat.png", "-o", tmp_path, "--draw")
    assert code == 2 and len(lines) == 1 and "cat.png" in lines[0]
    assert names(tmp_path) == ["cat.png"] and (tmp_path / "cat.png").read_bytes() == before


def test_nothing_is_left_half_written(run, tmp_path, monkeypatch):
    picture().save(tmp_path / "cat.png")

    def full(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    code, lines = run("encode", tmp_path / "cat.png", "-o", tmp_path / "out", "--draw")
    assert code == 2 and lines == [f"gpstoken: {tmp_path / 'cat.png'}: disk full"]
    assert names(tmp_path / "out") == ["cat.safetensors"]


# The tokenizer


def test_released_weights(tmp_path, capfd, monkeypatch):
    tiny = {
        "num_tokens": 32, "feature_channels": 8, "grid_size": 64, "width": 64, "depth": 2, "decoder_channels": 32,
        "decoder_multipliers": (1, 2, 2), "decoder_blocks": 2,
    }  # fmt: skip
    monkeypatch.setitem(photos.PRESETS, "gpstoken_m128", tiny)
    picture(64, 64).save(tmp_path / "cat.png")
    model = ["--pretrained", str(TINY), "--preset", "gpstoken_m128"]
    assert main(["encode", str(tmp_path / "cat.png"), "-o", str(tmp_path), "--size", "64", *model]) == 0
    assert main(["decode", str(tmp_path / "cat.safetensors"), "-o", str(tmp_path / "back"), *model]) == 0
    assert names(tmp_path / "back") == ["cat.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "a", "--pretrained", "b"], "not allowed with argument"),
        (["--pretrained", "b"], "--pretrained and --preset go together"),
        (["--checkpoint", "a", "--preset", "gpstoken_m128"], "--pretrained and --preset go together"),
        (["--checkpoint", "a", "--size", "-4"], "--size: expected at least 0, got -4"),
        (["--checkpoint", "a", "--size", "big"], "invalid int value"),
        (["--checkpoint", "a", "--tokens", "0"], "--tokens: expected at least 1, got 0"),
        (["--checkpoint", "a", "--max-pixels", "0"], "--max-pixels: expected at least 1, got 0"),
    ],
)
def test_wrong_options_exit_with_2(tmp_path, capfd, options, message):
    assert main(["encode", "x.png", "-o", str(tmp_path), *options]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("gpstoken: ") and message in line and line.endswith("--help shows the options)")


def test_what_concerns_every_file_is_said_once(run, tmp_path, capfd):
    for name in ("a.png", "b.png"):
        picture().save(tmp_path / name)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for options, message in (
        (["-o", tmp_path / "a.png"], "output folder"),
        (["-o", tmp_path / "out", "--device", "abacus"], "--device abacus"),
    ):
        code, lines = run("encode", *files, *options)
        assert code == 2 and len(lines) == 1 and message in lines[0]
    assert main(["encode", str(files[0]), "-o", str(tmp_path), "--checkpoint", str(tmp_path / "none.ckpt")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "none.ckpt: not a readable checkpoint" in line
