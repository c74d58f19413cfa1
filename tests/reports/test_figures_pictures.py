import csv
import re

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse
from matplotlib.text import Text
from PIL import Image

from gpstoken import Gaussians, GPSToken
from reports.figures.pictures import (
    failures,
    focus_picture,
    hard_pictures,
    held_out,
    overview,
    samples_page,
    show,
    tokens_picture,
)
from reports.figures.style import STYLE, save
from reports.tables.results import Result

TINY = {
    "num_tokens": 8,
    "feature_channels": 4,
    "image_size": 32,
    "grid_size": 16,
    "width": 16,
    "depth": 1,
    "heads": 2,
    "roi_size": 2,
    "stem_channels": 4,
    "decoder_channels": 4,
    "decoder_multipliers": (1, 2),
    "decoder_blocks": 1,
    "norm_groups": 2,
    "min_region_size": 4,
}
ROWS = [  # path, group, split, licence
    ("b.png", "sitting 1", "test", "MIT"),
    ("a.png", "sitting 1", "test", "MIT"),
    ("c.png", "sitting 2", "test", "CC-BY-2.0"),
    ("d.png", "sitting 3", "train", "CC-BY-2.0"),
]


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context(STYLE):
        yield


@pytest.fixture
def photographs(tmp_path):
    noise = np.random.default_rng(0)
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "domain", "source_id", "group_id", "split", "licence"])
        for path, group, split, licence in ROWS:
            writer.writerow([path, "natural", f"package__{path[0]}", group, split, licence])
            Image.fromarray(noise.integers(0, 256, (40, 48, 3), np.uint8)).save(tmp_path / path)
    return list(held_out(tmp_path, 3))


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return GPSToken(**TINY).eval()


def test_photographs_are_held_out_one_a_sitting_named_makers_first(photographs, tmp_path):
    credits = {"c.png": "c of package (CC-BY-2.0)", "a.png": "a of package (MIT)"}
    held = held_out(tmp_path, 3)
    assert list(held.items()) == [(tmp_path / name, credit) for name, credit in credits.items()]
    assert list(held) == photographs
    assert list(held_out(tmp_path, 1)) == photographs[:1]
    assert held_out(tmp_path / "absent", 3) == {}


def test_ellipses_are_the_one_sigma_contours():
    height, width = 20, 30
    mu = torch.tensor([[[-0.4, 0.2], [0.5, -0.5], [0.0, 0.0]]])
    sigma = torch.tensor([[[0.3, 0.1], [0.1, 0.2], [0.2, 0.2]]])
    rho = torch.tensor([[0.8, -0.6, 0.0]])
    axes = Figure().subplots()
    show(axes, torch.zeros(1, 3, height, width), Gaussians(mu, sigma, rho))
    scale = np.array([(width - 1) / 2, (height - 1) / 2])
    assert len(axes.patches) == 3
    for patch, m, s, r in zip(axes.patches, mu[0].numpy(), sigma[0].numpy(), rho[0].numpy(), strict=True):
        angle = np.linspace(0, 2 * np.pi, 40)
        outline = patch.get_patch_transform().transform(np.stack([np.cos(angle), np.sin(angle)], axis=1))
        # back from pixels to the canvas, then the exponent of Eq. (2): it is 1 where the distance is one sigma
        x, y = ((outline / scale - 1 - m) / s).T
        np.testing.assert_allclose((x * x - 2 * r * x * y + y * y) / (1 - r * r), 1, rtol=1e-5)  # float32 inputs


def test_overview_is_the_flow_at_both_sizes(tokenizer, photographs):
    figure = overview(tokenizer, photographs, "GPSToken, laptop scale")
    axes = np.array(figure.axes).reshape(3, 4)
    assert [place.get_title() for place in axes[0]] == [
        "input", "initial Gaussians", "refined Gaussians", "reconstruction"
    ]  # fmt: skip
    assert [line[0].get_ylabel() for line in axes] == ["32 px, 8 tokens"] * 2 + ["64 px, 32 tokens"]
    assert [len(place.patches) for place in axes[2]] == [0, 32, 32, 0]
    assert axes[2, 3].get_images()[0].get_array().shape == (64, 64, 3)
    assert figure.get_supxlabel() == "GPSToken, laptop scale"


def test_token_counts_with_their_psnr(tokenizer, photographs):
    figure = tokens_picture(tokenizer, photographs, "")
    axes = np.array(figure.axes).reshape(2, 5)
    assert [len(place.patches) for place in axes[0]] == [0, 2, 4, 8, 16]
    assert [place.get_title() for place in axes[0, 1:]] == ["2 tokens", "4 tokens", "8 tokens (trained)", "16 tokens"]
    before, *after = (place.get_images()[0].get_array() for place in (axes[0, 0], *axes[1, 1:]))
    # numpy's own mean squared error of what is shown
    expected = [f"{10 * np.log10(1 / np.mean((each - before) ** 2)):.2f} dB" for each in after]
    assert [place.get_xlabel() for place in axes[1, 1:]] == expected


def test_focus_draws_tokens_into_the_disc(photographs):
    torch.manual_seed(0)
    tokenizer = GPSToken(**TINY | {"num_tokens": 16}).eval()
    figure = focus_picture(tokenizer, photographs, "", radius=0.25, strength=5000)
    axes = np.array(figure.axes).reshape(2, 5)
    for line in axes:
        circles = [patch for place in line for patch in place.patches if isinstance(patch, Circle)]
        assert {(patch.center, patch.radius) for patch in circles} == {((15.5, 15.5), 8.0)}
        # number of Gaussians whose centre lies in the disc, without and with the map
        inside = []
        for place in (line[1], line[3]):
            ellipses = [patch for patch in place.patches if type(patch) is Ellipse]
            assert len(ellipses) == 16
            inside.append(sum(np.hypot(*(np.array(patch.center) - 15.5)) < 8 for patch in ellipses))
        assert inside[1] > inside[0]
        assert re.fullmatch(r"inside [\d.]+ dB\noutside [\d.]+ dB", line[2].get_xlabel())
    assert axes[0, 3].get_title() == "map of strength 5000"


def test_hard_pictures_are_shown_with_their_psnr(tokenizer):
    pictures = hard_pictures(32)
    assert all(picture.size == (32, 32) for picture in pictures.values())
    # what they are: of one colour, of the least and the most, of every colour
    colours = {name: len(picture.getcolors(32 * 32)) for name, picture in pictures.items()}
    assert colours["one colour"] == 1 and colours["gradient"] == 32 and colours["noise"] > 1000
    assert colours["text"] > 2 and colours["thin lines"] == 3
    axes = np.array(failures(tokenizer, "Name").axes).reshape(3, 5)
    assert [place.get_title() for place in axes[0]] == list(pictures)
    for before, gaussians, after in axes.T:
        images = [place.get_images()[0].get_array() for place in (before, after)]
        assert after.get_xlabel() == f"{10 * np.log10(1 / np.mean((images[1] - images[0]) ** 2)):.2f} dB"
        assert len(gaussians.patches) == 8


def test_pictures_are_readable(tokenizer, photographs):
    figures = overview(tokenizer, photographs, "name"), tokens_picture(tokenizer, photographs, "name")
    for figure in (*figures, failures(tokenizer, "name"), focus_picture(tokenizer, photographs, "name", 0.25, 50)):
        assert figure.get_figwidth() == 7.4
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent(canvas.get_renderer())
                assert text.get_fontsize() >= 7
                # a pixel of rounding
                assert min(box.x0, box.y0) >= -1, text
                assert box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1, text


@pytest.fixture
def samples(tmp_path):
    """Samples of one colour a class, neighbours of another; 32 px, so enlarged four times."""
    pictures = np.zeros((2, 10, 32, 32, 3), np.uint8)
    pictures[0, ..., 0], pictures[1, ..., 1] = 200, 150
    nearest = np.zeros_like(pictures)
    nearest[..., 2] = 250
    parts = {"classes": np.array([0, 1]), "samples": pictures, "nearest": nearest}
    np.savez(tmp_path / "grid.samples.npz", **parts, distances=np.arange(20.0).reshape(2, 10))
    return tmp_path / "grid.samples.npz"


def test_a_page_of_samples_keeps_their_pixels(samples, tmp_path):
    sampling = {
        "sampler": "sde", "method": "euler", "steps": 50, "guidance": 1.5, "guidance_interval": [0.2, 1.0],
    }  # fmt: skip
    record = {"row": "grid", "scale": "laptop", "classifier": {"classes": ["a", "b", "c"]}, "sampling": sampling}
    figure = samples_page(Result(tmp_path / "grid.json", record))
    save(figure, tmp_path, "page")
    page = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert page.shape[1] == 7.4 * 160
    # eight pictures of 32 px, four times as large, a class; two classes have a line of neighbours each
    for colour, shown in (((200, 0, 0), 8), ((0, 150, 0), 8), ((0, 0, 250), 16)):
        assert (page == colour).all(axis=-1).sum() == shown * 128 * 128
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [f"{value}" for value in (*range(8), *range(10, 18))]
    assert "2 of 3 classes" in figure.texts[0].get_text()
    assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 7
    assert samples_page(Result(tmp_path / "absent.json", record)) is None and samples_page(None) is None
