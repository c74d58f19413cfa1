"""The real page of `gpstoken explore` in a real browser: it shows what Python computes with the same tokenizer."""

import base64
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from gpstoken import GPSToken, load_generator, load_image
from gpstoken.drawing import CENTRE
from gpstoken.explorer.views import dropped, generated, measures, mixed, pictures, settings_of, view
from tests.reports import chrome

pytest.importorskip("gradio", reason="gpstoken explore needs gradio: pip install 'gpstoken[explore]'")
pytestmark = pytest.mark.skipif(chrome.BROWSER is None, reason="no chromium, chromium-browser or google-chrome")

# What Gradio's own script writes to the console, of its warnings and of the end of its stream.
GRADIOS = ("warning: ", "error: AbortError: signal is ", "error: Unexpected error Connection errored out.")
ROOT, SIDE = Path(__file__).parents[2], 256
TEXT = "(document.querySelector('#measures .prose')?.innerText ?? '')"
# A picture of the page, which is sent without loss, as a PNG in base64.
PICTURE = """(() => {
  const picture = document.querySelector('#NAME img'), canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  canvas.getContext('2d').drawImage(picture, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
})()"""


@pytest.fixture(scope="module")
def address():
    """Where the command serves its page."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "gpstoken.cli", "explore", "--port", str(port), "--device", "cpu"]
    # What a shell starts in the background ignores Ctrl-C, and so would the server.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **heeding) as process:
        try:
            line = process.stdout.readline()
            assert line == f"the explorer: http://127.0.0.1:{port} (Ctrl-C ends it)\n"
            yield f"http://127.0.0.1:{port}/"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


@pytest.fixture
def page(browser, address):
    """The page with its first answer; it asks nothing of any other machine and throws no error.

    Gradio ends the stream of its answers by an abort, which its own script does not catch and the console may show.
    Whether an answer came is what every test waits for.
    """
    browser.complaints.clear(), browser.requests.clear()
    browser.width(1440, 1700)
    browser.open(address)
    answer(browser, "")
    yield browser
    ours = [each for each in browser.complaints if not each.startswith(GRADIOS)]
    assert ours == []
    away = [each for each in browser.requests if not each.startswith((address, "data:", "blob:"))]
    assert away == [] and browser.requests


@pytest.fixture(scope="module")
def tokenizer():
    return GPSToken.from_pretrained("small")


@pytest.fixture(scope="module")
def china(tokenizer):
    return view(tokenizer, load_image(load_sample_image("china.jpg"), SIDE), settings_of(tokenizer))


def answer(page, before: str) -> str:
    """The text of the next answer."""
    return page.wait_for(f"(text => text.includes('PSNR') && text !== {before!r} && text)({TEXT})")


def after(page, act) -> str:
    before = page.run(TEXT)
    act()
    return answer(page, before)


def slide(page, name: str, value: float) -> None:
    page.run(f"""(number => {{
        number.value = {value}; number.dispatchEvent(new Event('input', {{bubbles: true}}));
    }})(document.querySelector('#{name} input[type=number]'))""")


def click(page, name: str, x: float, y: float) -> None:
    """The mouse on a picture, at a point of the canvas, [-1, 1] each way."""
    page.wait_for(
        f"(each => each?.complete && each.naturalWidth === {2 * SIDE})(document.querySelector('#{name} img'))"
    )
    left, top, width, height = page.run(
        f"(box => [box.x, box.y, box.width, box.height])(document.querySelector('#{name} img').getBoundingClientRect())"
    )
    place = (left + (x + 1) / 2 * width, top + (y + 1) / 2 * height)
    page.drag(place, place)


def press(page, words: str) -> None:
    page.run(
        f"[...document.querySelectorAll('label, button')].find(each => each.innerText.trim() === {words!r}).click()"
    )


def picture(page, name: str) -> np.ndarray:
    """uint8[512, 512, 3], as the browser has it."""
    page.wait_for(f"document.querySelector('#{name} img')?.complete")
    drawn = Image.open(io.BytesIO(base64.b64decode(page.run(PICTURE.replace("NAME", name)))))
    assert drawn.size == (2 * SIDE, 2 * SIDE)
    return np.asarray(drawn.convert("RGB"))


def assert_shows(text: str, truth) -> None:
    """The numbers of a view, to the two decimals that are shown: PSNR, its change, tokens and bytes."""
    values = measures(truth)
    count = len(truth.tokens)
    assert float(re.search(r"PSNR ([\d.]+) dB", text)[1]) == pytest.approx(values["psnr"], abs=0.011)
    assert f"{count} tokens: {2 * count * (5 + 32):,} bytes in float16" in text
    change = re.search(r"\(([-+][\d.]+) dB by the last click\)", text)
    assert (change is None) == (truth.previous is None)
    if change:
        assert float(change[1]) == pytest.approx(values["change"], abs=0.011)


def test_the_first_answer(page, china):
    assert_shows(page.run(TEXT), china)
    assert "Answered in" in page.run(TEXT)
    shown = picture(page, "reconstruction")[::2, ::2]
    expected = ((china.reconstruction[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    # Half a level of rounding, and what another number of threads rounds otherwise.
    assert np.abs(shown - expected).max() < 1
    drawn = pictures(china)
    for name in ("initial", "refined", "error"):
        assert np.abs(picture(page, name).astype(int) - np.asarray(getattr(drawn, name))).mean() < 0.1
    assert page.run("document.querySelector('#changed img')") is None


def test_it_fits_a_phone(page):
    page.width(390)
    assert page.run("document.documentElement.scrollWidth") <= 390


def test_sliders(page, tokenizer, china):
    values = {"tokens": 64, "lambda_": 1.0, "min_region_size": 32, "support_factor": 2.0}
    for number, (field, slider) in enumerate(zip(values, ("tokens", "lambda", "smallest", "support"), strict=True)):
        text = after(page, lambda field=field, slider=slider: slide(page, slider, values[field]))
        chosen = dict(list(values.items())[: number + 1])
        assert_shows(text, view(tokenizer, china.image, replace(china.settings, **chosen)))


def test_too_many_tokens_leave_the_pictures(page):
    before = picture(page, "reconstruction")
    slide(page, "smallest", 32)
    page.wait_for(f"{TEXT}.includes('Not possible')")
    assert "256 tokens are too many: with s_min = 32 px" in page.run(TEXT)
    assert "at most 64 regions" in page.run(TEXT)
    assert np.array_equal(picture(page, "reconstruction"), before)
    assert "256 tokens:" in after(page, lambda: slide(page, "smallest", 4))


def centres(page) -> int:
    """Red pixels of the centres of initial Gaussians in the sky, the upper right quarter."""
    return int((picture(page, "initial")[:SIDE, SIDE:] == CENTRE).all(-1).sum())


def test_the_brush_draws_tokens(page):
    before = centres(page)
    left, top, width, height = page.run(
        "(box => [box.x, box.y, box.width, box.height])"
        "(document.querySelector('#photograph canvas').getBoundingClientRect())"
    )
    source = "document.querySelector('#initial img').src"
    drawn = page.run(source)
    start, stop = (left + 0.55 * width, top + 0.3 * height), (left + 0.7 * width, top + 0.35 * height)
    text = after(page, lambda: page.drag(start, stop))
    assert "256 tokens:" in text
    page.wait_for(f"{source} !== {drawn!r}")
    assert centres(page) > 2 * before  # the sky is flat, and had a few large ones


def test_click_move_and_drop(page, tokenizer, china):
    # The largest Gaussian, in the sky: another one is nowhere near its centre.
    gaussians = china.tokens.gaussians
    largest = int(gaussians.sigma[0].prod(-1).argmax())
    x, y = gaussians.mu[0, largest].tolist()
    chosen = after(page, lambda: click(page, "refined", x, y))
    centre = [(value + 1) / 2 * (SIDE - 1) for value in (x, y)]
    assert [float(each) for each in re.search(r"centre \((\d+), (\d+)\)", chosen).groups()] == pytest.approx(
        centre, abs=0.51
    )
    assert_shows(chosen, china)
    press(page, "move the chosen one here")
    text = after(page, lambda: click(page, "refined", 0.0, -0.5))
    # To a pixel of the window, which is 0.8 pixels of the photograph or less.
    place = [float(each) for each in re.search(r"centre \((\d+), (\d+)\)", text).groups()]
    assert place == pytest.approx([127.5, 63.75], abs=1.5)
    assert float(re.search(r"\(([-+][\d.]+) dB", text)[1]) < 0
    undone = after(page, lambda: press(page, "undo all clicks and mixing"))
    assert_shows(undone, china)
    press(page, "drop a Gaussian")
    fewer = dropped(tokenizer, china, largest)
    assert_shows(after(page, lambda: click(page, "refined", x, y)), fewer)
    change = fewer.reconstruction.clamp(-1, 1) - china.reconstruction.clamp(-1, 1)
    change = change[0].abs().permute(1, 2, 0).numpy()
    shown = picture(page, "changed")[::2, ::2]
    assert np.abs(shown - (4 * 127.5 * change).clip(max=255)).max() < 1
    # A mixture keeps what was dropped.
    flower = load_image(load_sample_image("flower.jpg"), SIDE)
    text = after(page, lambda: press(page, "put these textures into this layout"))
    assert text.startswith("flower.jpg in the layout of china.jpg, compared with flower.jpg")
    assert_shows(text, mixed(tokenizer, fewer, flower))


def test_a_generated_image_and_an_edit_of_it(page):
    sources = "['initial', 'refined', 'reconstruction'].map(name => document.querySelector(`#${name} img`).src)"
    for name in ("initial", "refined", "reconstruction"):
        picture(page, name)  # of the first answer, which may come after its text
    before = page.run(sources)
    slide(page, "number", 3)
    press(page, "generate an image")
    text = page.wait_for(f"(text => text.includes('a generated image') && text)({TEXT})")
    assert text.startswith("a generated image of class natural, number 3") and "PSNR" not in text
    page.wait_for(f"{sources}.every(source => !{before!r}.includes(source))")
    generator, tokenizer, _ = load_generator("small")
    truth = generated(generator, tokenizer, label=0, number=3)
    expected = pictures(truth)
    for name in ("initial", "refined", "reconstruction"):
        # Two processes may sum in another order, which 25 steps of the sampler carry on.
        assert np.abs(picture(page, name).astype(int) - np.asarray(getattr(expected, name))).mean() < 1
    assert page.run("document.querySelector('#error img')") is None
    time.sleep(3)  # what Gradio still says of the photograph under the brush does not bring it back
    assert page.run(TEXT) == text
    press(page, "drop a Gaussian")
    x, y = truth.tokens.gaussians.mu[0, 5].tolist()
    count = len(truth.tokens)
    assert f"{count - 1} tokens:" in after(page, lambda: click(page, "refined", x, y))


def test_a_photograph_of_ones_own(page, tokenizer, tmp_path):
    photo = Image.fromarray(load_sample_image("flower.jpg")).crop((100, 50, 330, 420))  # upright, not a square
    photo.save(tmp_path / "mine.png")
    own = view(tokenizer, load_image(photo, SIDE), settings_of(tokenizer))
    assert_shows(after(page, lambda: page.upload("input[type=file]", tmp_path / "mine.png")), own)
    (tmp_path / "text.png").write_text("not a picture")
    page.upload("input[type=file]", tmp_path / "text.png")
    page.wait_for("document.querySelector('.toast-body')?.innerText.includes('text.png: cannot be read as a picture')")
    assert_shows(page.run(TEXT), own)


def test_the_port_is_checked_first(address):
    port = address.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-m", "gpstoken.cli", "explore", "--port", port]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"gpstoken: --port {port}: ") and run.stderr.count("\n") == 1
