from math import inf

import numpy as np
import pytest

from reports.tables.claims import judge
from reports.tables.results import read_result

SAME = np.full((2, 4), 0.5)
ZERO = dict.fromkeys(("psnr", "ssim", "lpips_alexnet", "lpips_vgg16"), (0.0, 0.0))


@pytest.fixture
def pair(write_result):
    """Two results that differ by `difference` (float[seeds, images], second minus first) in every metric."""

    def make(difference, seeds=(0, 1)):
        first = np.full_like(difference, 0.5)
        write_result("first", ZERO, dict.fromkeys(ZERO, first), seeds)
        path = write_result("second", ZERO, dict.fromkeys(ZERO, first + difference), seeds)
        return read_result(path.with_stem("first")), read_result(path)

    return make


# Images 0 and 1 are of one photograph, 2 and 3 of another. By hand: seed means 1.5 and 2.5, mean 2; cluster residuals
# of the image means (1.5, 1.5, 2.5, 2.5) are -1 and 1, so the images add (1 + 1) / 4^2 * 2 / 1 = 0.25 and the seeds
# 0.5 / 2 = 0.25 to the variance.
UP = np.array([[1.0, 1.0, 2.0, 2.0], [2.0, 2.0, 3.0, 3.0]])
ERROR = 0.5**0.5
# Two equal parts of one degree of freedom each make two; the table of Student's t has 4.303 for 97.5 % there.
T = 4.3027


@pytest.mark.parametrize(
    ("difference", "metric", "outcome"),
    [
        (UP + 2, "psnr", "holds"),
        (UP + 2, "lpips_alexnet", "reversed"),
        (-UP - 2, "psnr", "reversed"),
        (-UP - 2, "lpips_vgg16", "holds"),
        (UP, "psnr", "not resolved"),  # 2 - 4.303 * 0.707 < 0
        (UP, "lpips_alexnet", "not resolved"),
        (0 * UP, "psnr", "not resolved"),
    ],
)
def test_verdict(pair, difference, metric, outcome):
    verdict = judge(*pair(difference), metric)
    assert verdict.outcome == outcome
    assert verdict.difference.mean == pytest.approx(difference.mean(), abs=1e-12)


# UP - 2 has the mean 0 and the interval of UP, -3.0424 to 3.0424 about it.
@pytest.mark.parametrize(
    ("difference", "metric", "margin", "outcome"),
    [
        (UP - 2, "psnr", 3.05, "holds"),
        (UP - 2, "psnr", 3.03, "not resolved"),
        (UP - 2, "lpips_alexnet", 3.05, "holds"),
        (UP - 2, "lpips_alexnet", 3.03, "not resolved"),
        (UP - 7, "psnr", 1.95, "reversed"),  # the mean -5: its interval ends at -1.9576
        (UP - 7, "psnr", 1.97, "not resolved"),
        (UP + 3, "lpips_vgg16", 1.95, "reversed"),
        (UP + 3, "lpips_vgg16", 1.97, "not resolved"),
    ],
)
def test_no_loss_beyond_a_margin(pair, difference, metric, margin, outcome):
    verdict = judge(*pair(difference), metric, (-margin, inf))
    assert verdict.outcome == outcome


def test_sizes_may_differ_where_photographs_do_not(study, tmp_path):
    first = read_result(study("small", 64))
    second = read_result(study("large", 128, levels={"psnr": 21.0}))
    with pytest.raises(ValueError, match="small and large: measured with different images, fingerprint 000000000000 "):
        judge(first, second, "psnr")
    assert judge(first, second, "psnr", sizes_differ=True).difference.mean == 1.0
    for other, what in (
        (read_result(study("others", 128, photographs=2)), "photographs, 8 images of 4 and 8 images of 2"),
        (read_result(study("fewer", 128, images=4)), "photographs, 8 images of 4 and 4 images of 4"),
        (read_result(study("same_size", 64, data={"fingerprint": "f" * 64})), "images"),
    ):
        with pytest.raises(ValueError, match=f"measured with different {what}"):
            judge(first, other, "psnr", sizes_differ=True)


def test_interval_by_hand(pair):
    low, high = judge(*pair(UP), "psnr").difference.interval
    assert (low, high) == (pytest.approx(2 - T * ERROR, abs=1e-4), pytest.approx(2 + T * ERROR, abs=1e-4))


def test_one_seed_resolves_nothing(pair):
    assert judge(*pair(UP[:1], seeds=(0,)), "psnr").outcome == "not resolved"


def test_pairs_go_by_seed_and_index_not_by_line(pair, tmp_path):
    first, second = pair(UP)
    path = tmp_path / "results" / "laptop" / "tokenizers" / "second.csv"
    head, *lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([head, *reversed(lines)]))
    shuffled = read_result(path.with_suffix(".json"))
    assert judge(first, shuffled, "psnr") == judge(first, second, "psnr")
