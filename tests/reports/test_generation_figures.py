"""The pages of samples; the other figures of generators are tested with the figures."""

import io

import numpy as np
import pytest
from PIL import Image

from reports.generation_figures import curves, samples_page

RECORD = {
    "row": "grid",
    "scale": "laptop",
    "classifier": {"classes": ["natural", "face"]},
    "sampling": {"sampler": "sde", "steps": 250, "guidance": 1.5},
}


def pictures(count):
    """Samples of one colour a class, neighbours of another; 32 px, so enlarged four times."""
    samples = np.zeros((2, count, 32, 32, 3), np.uint8)
    samples[0, ..., 0], samples[1, ..., 1] = 200, 150
    nearest = np.zeros_like(samples)
    nearest[..., 2] = 250
    distances = np.arange(2.0 * count).reshape(2, count)
    return {"classes": np.array([0, 1]), "samples": samples, "nearest": nearest, "distances": distances}


def test_a_page_of_samples_shows_the_pictures(tmp_path):
    np.savez(tmp_path / "samples.npz", **pictures(10))
    file = io.BytesIO()
    samples_page(tmp_path / "samples.npz", RECORD).savefig(file, dpi=160, bbox_inches="tight")
    page = np.asarray(Image.open(file).convert("RGB"))
    # eight pictures of 32 px, four times as large, a class; two classes have a line of neighbours each
    for colour, shown in (((200, 0, 0), 8), ((0, 150, 0), 8), ((0, 0, 250), 16)):
        assert (page == colour).all(axis=-1).sum() == shown * 128 * 128


def test_a_file_of_samples_of_another_form_is_refused(tmp_path):
    path, parts = tmp_path / "samples.npz", pictures(2)
    np.savez(path, **{name: part for name, part in parts.items() if name != "distances"})
    with pytest.raises(ValueError, match=r"samples\.npz: no 'distances' in it"):
        samples_page(path, RECORD)
    np.savez(path, **parts | {"nearest": parts["nearest"][:, :1]})
    with pytest.raises(ValueError, match="expected samples and nearest uint8"):
        samples_page(path, RECORD)


def test_curves_are_means_within_their_seeds_and_the_papers_points():
    kid = "kid_efficientnet_lite0"
    late, early = {"step": 1200, "scores": {kid: {"per_seed": [0.06, 0.062, 0.064]}}}, [0.1, 0.2, 0.6]
    record = RECORD | {"seeds": [0, 1, 2], "curve": [late, {"step": 300, "scores": {kid: {"per_seed": early}}}]}
    left, right = curves({"two_stage": record, "one_stage": None, "grid": None}).axes
    # x1000: the mean of 100, 200 and 600 is 300; of 60, 62 and 64 it is 62
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[300, 300], [1200, 62]])
    band = left.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in band.round(6)} == {(300, 100), (300, 600), (1200, 60), (1200, 64)}
    # FID after half a million and a million iterations, as the discussion has them
    papers = [curve.get_xydata().tolist() for curve in right.lines]
    assert papers == [[[0.5, 19.07], [1.0, 14.5]], [[0.5, 9.57], [1.0, 7.61]]]
