"""explorer.html, opened as a file: what it shows is what Python computes with the same tokenizer."""

import json
import math
import os
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from gpstoken import load_image, partition, splat
from gpstoken.drawing import to_picture
from gpstoken.files.weights import write_weights
from gpstoken.gaussians import Gaussians
from gpstoken.loading import class_path_of
from reports.site import __main__ as site
from reports.site.explorer.runtime import NAME, read_archive, runtime
from tests.reports import chrome, contract

needs_browser = pytest.mark.skipif(chrome.BROWSER is None, reason="no chromium, chromium-browser or google-chrome")
NARROW = {
    "num_tokens": 128, "feature_channels": 8, "image_size": 256, "grid_size": 64, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 4, "stem_channels": 4, "decoder_channels": 4, "decoder_multipliers": (1, 2, 2), "decoder_blocks": 1,
    "norm_groups": 2, "min_region_size": 4,
}  # fmt: skip
STATE = "document.getElementById('explorer').dataset.state"


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer):
    return make_tokenizer(NARROW)


@pytest.fixture(scope="module")
def write_site(tokenizer, tmp_path_factory):
    """(name) to the exit code and the folder of a site with the page of `tokenizer`."""
    folder = tmp_path_factory.mktemp("report")
    weights = folder / "narrow.safetensors"
    write_weights(weights, class_path_of(tokenizer), tokenizer.config, tokenizer.state_dict(), {}, torch.float32)
    report = contract.write(folder / "contract")
    places = ["--report", str(report), "--results", str(report / "results"), "--explorer", str(weights)]
    return lambda name: (site.main([*places, "-o", str(folder / name)]), folder / name)


@pytest.fixture(scope="module")
def page(write_site, tmp_path_factory):
    """A browser with the page, which has answered its first question."""
    try:
        runtime()
    except RuntimeError as error:
        pytest.skip(str(error))
    code, folder = write_site("site")
    assert code == 0
    browser = chrome.Chrome(tmp_path_factory.mktemp("profile"))
    browser.open((folder / "explorer.html").as_uri())
    settled(browser)
    yield browser
    assert browser.complaints == []
    assert [each for each in browser.requests if not each.startswith(("file:", "data:", "blob:"))] == []
    browser.close()


def settled(page) -> dict:
    """What the page shows once it has answered: regions, geometry, picture, and the text beside it."""
    page.wait_for(f"['answered', 'failed'].includes({STATE})")
    assert page.run(STATE) == "answered", page.run("document.getElementById('status').textContent")
    shown = page.run("""({
        regions: EXPLORER.tokens.regions, geometry: [...EXPLORER.tokens.geometry],
        pixels: [...EXPLORER.picture.pixels], psnr: EXPLORER.picture.psnr,
        caption: document.getElementById('psnr').textContent, focus: [...focus],
    })""")
    return shown | {"pixels": np.array(shown["pixels"], np.uint8).reshape(256, 256, 4)}


def move(page, slider: str, value: float) -> dict:
    page.run(f"(slider => {{ slider.value = {value}; slider.dispatchEvent(new Event('input')) }})(find('{slider}'))")
    return settled(page)


@pytest.fixture
def fresh(page):
    """The page with its first photograph, nothing painted and all sliders where they were."""
    page.width(1280)
    page.run("document.querySelectorAll('#photographs input')[0].click(), document.getElementById('clear').click()")
    page.wait_for("chosen.name === 'A pavilion in China'")
    page.drag((2, 2), (2, 2))  # the mouse lies on no picture
    for slider, value in {"tokens": 128, "lambda": 2.5, "support": 3, "brush": 24}.items():
        move(page, slider, value)
    return page


def expected(tokenizer, photo, num_tokens=128, lambda_=2.5, support_factor=3.0, bias=None):
    """Regions, geometry and picture, with the renderer in float64 as in the page."""
    image = load_image(photo, size=256)
    regions = partition(image, num_tokens, lambda_, 4, bias)
    with torch.no_grad():
        tokens = tokenizer.encode(image, regions=regions)
        gaussians = Gaussians.from_tensor(tokens.gaussians.to_tensor().double())
        feature_map = splat(gaussians, tokens.features.double(), (64, 64), support_factor, "reference").float()
        picture = to_picture(tokenizer.decoder(feature_map)[0])
    before, after = (np.asarray(each, np.float64) for each in (to_picture(image[0]), picture))
    psnr = 10 * math.log10(255**2 / np.square(before - after).mean())
    return regions[0].tolist(), tokens.gaussians.to_tensor()[0], np.asarray(picture), psnr


def assert_shows(shown, truth):
    regions, geometry, picture, psnr = truth
    assert shown["regions"] == regions
    torch.testing.assert_close(torch.tensor(shown["geometry"]).view(-1, 5), geometry, rtol=0, atol=1e-4)
    # The networks agree to 1e-4 of a range of 255 / 2 levels: a level that is rounded the other way, here and there.
    difference = np.abs(shown["pixels"][..., :3].astype(int) - picture)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.05
    assert (shown["pixels"][..., 3] == 255).all()
    assert shown["psnr"] == pytest.approx(psnr, abs=0.01)
    assert shown["caption"] == f"{len(regions)} tokens, PSNR {shown['psnr']:.2f} dB"


@needs_browser
def test_it_opens_with_the_first_photograph(fresh, tokenizer):
    assert_shows(settled(fresh), expected(tokenizer, load_sample_image("china.jpg")))
    alternatives = fresh.run("[...document.querySelectorAll('#photographs img')].map(image => image.alt)")
    assert alternatives == ["A pavilion in China", "A flower", "A motorcycle", "A rocket"]


@needs_browser
def test_the_sliders(fresh, tokenizer):
    photo = partial(expected, tokenizer, load_sample_image("china.jpg"))
    assert_shows(move(fresh, "tokens", 16), photo(16))
    assert_shows(move(fresh, "tokens", 512), photo(512))
    assert_shows(move(fresh, "lambda", 0), photo(512, 0.0))
    assert_shows(move(fresh, "support", 1), photo(512, 0.0, 1.0))


@needs_browser
def test_another_photograph(fresh, tokenizer):
    fresh.run("document.querySelectorAll('#photographs input')[1].click()")
    fresh.wait_for("chosen.name === 'A flower'")
    assert_shows(settled(fresh), expected(tokenizer, load_sample_image("flower.jpg")))


def corner(page) -> tuple[float, float, float]:
    """Place and side of the picture to paint on, in the window."""
    page.run("find('paint').scrollIntoView({ block: 'center' })")
    return tuple(page.run("(({ left, top, width }) => [left, top, width])(find('paint').getBoundingClientRect())"))


def within(regions, focus) -> int:
    return sum(focus[(y0 + y1) // 2 * 256 + (x0 + x1) // 2] > 0 for x0, y0, x1, y1 in regions)


@needs_browser
def test_the_brush_draws_tokens_and_clear_takes_them_back(fresh, tokenizer):
    photo = load_sample_image("china.jpg")
    before = settled(fresh)
    left, top, side = corner(fresh)
    fresh.drag((left + 0.7 * side, top + 0.2 * side), (left + 0.8 * side, top + 0.3 * side))  # the sky
    after = settled(fresh)
    assert {0.0, 100.0} == set(after["focus"]) and 2000 < sum(each > 0 for each in after["focus"]) < 6000
    assert within(after["regions"], after["focus"]) > 3 * within(before["regions"], after["focus"])
    bias = torch.tensor(after["focus"]).view(256, 256)
    assert_shows(after, expected(tokenizer, photo, bias=bias))
    fresh.run("document.getElementById('clear').click()")
    assert_shows(settled(fresh), expected(tokenizer, photo))


@needs_browser
def test_the_brush_from_the_keyboard(fresh):
    fresh.run("find('paint').focus()")
    for key in ("ArrowRight", "ArrowUp", "Space"):
        fresh.press(key)
    focus = np.array(settled(fresh)["focus"]).reshape(256, 256)
    y, x = np.ogrid[:256, :256]
    assert np.array_equal(focus > 0, np.hypot(x - 136, y - 120) <= 24)


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_its_window_and_can_be_read(fresh, tmp_path, width, scheme):
    fresh.width(width)
    fresh.media(color_scheme=scheme)
    assert fresh.run("document.documentElement.scrollWidth") <= width
    assert fresh.run(chrome.FAINT) == []
    sides = fresh.run("[...document.querySelectorAll('canvas')].map(canvas => canvas.getBoundingClientRect().width)")
    assert min(sides) > 200
    with Image.open(fresh.picture(tmp_path / f"explorer_{width}_{scheme}.png")) as shot:
        assert len(shot.convert("RGB").getcolors(1 << 24)) > 1000  # photographs


@needs_browser
def test_the_front_page_leads_to_it(page, write_site):
    folder = Path(page.run("decodeURI(location.pathname)")).parent
    assert '<a href="explorer.html">' in (folder / "index.html").read_text()
    described = json.loads((folder / "explorer" / "data.js").read_text().removeprefix("const EXPLORER = ")[:-2])
    assert described["config"]["image_size"] == 256


def test_without_npm_the_site_is_built_without_the_page(write_site, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, folder = write_site("without")
    assert code == 0 and (folder / "index.html").is_file() and not (folder / "explorer.html").exists()
    assert "explorer.html" not in (folder / "index.html").read_text()
    line = capsys.readouterr().out.splitlines()[0]
    assert line == f"without explorer.html: {NAME} comes from npm, which is not installed"


@pytest.mark.skipif(not any(Path(each, "npm").exists() for each in os.get_exec_path()), reason="no npm")
def test_an_unreachable_registry_is_named_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")  # nothing listens there
    monkeypatch.setenv("npm_config_cache", str(tmp_path))
    monkeypatch.setenv("npm_config_fetch_retry_mintimeout", "10")
    with pytest.raises(RuntimeError, match=rf"\Anpm could not get {NAME} [\d.]+: [^\n]*127\.0\.0\.1:9[^\n]*\Z"):
        runtime()


def test_another_package_of_that_name_is_refused(tmp_path):
    (tmp_path / "ort.js").write_text("alert(1)")
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(tmp_path / "ort.js", "package/dist/ort.wasm.min.js")
    with pytest.raises(ValueError, match=r"package\.tgz has sha512 \S+, expected q0y\+"):
        read_archive(tmp_path / "package.tgz")
