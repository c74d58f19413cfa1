import numpy as np
import pytest

from gpstoken.metrics import summarise
from reports.figures import intervals
from reports.figures.style import Look
from reports.tables.results import read_result

LOOK = Look("black", "-", "s")


def ends(container, axis: int) -> tuple[float, float]:
    """Both ends of an error bar, along x (0) or y (1)."""
    return tuple(container[2][0].get_segments()[0][:, axis])


def test_arms_show_the_measured_means(arm):
    result = read_result(arm("uniform"))
    declared = {"title": "T", "ours": {"uniform": {"name": "U"}}, "figure": ["psnr", "ssim"]}
    declared["claims"] = [{"from": "uniform", "to": "absent", "text": "text"}]
    figure = intervals.arms(declared, {"uniform": result}, {"uniform": LOOK})
    (bar,) = figure.axes[0].containers
    assert ends(bar, 0) == pytest.approx(summarise(result.values["psnr"], result.sources).interval)
    assert figure.axes[0].get_title() == "PSNR (dB), more is better"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["U"]
    assert figure.axes[2].containers == []


def test_arms_mark_what_counts_as_no_loss(study):
    results = {
        "small": read_result(study("small", 64)),
        "large": read_result(study("large", 128, levels={"psnr": 19.75, "lpips_alexnet": 0.26})),
    }
    declared = {
        "title": "T",
        "ours": {"small": {"name": "S"}, "large": {"name": "L"}},
        "figure": ["psnr", "lpips_alexnet"],
        "margins": {"psnr": 0.5, "lpips_alexnet": 0.02},
        "sizes_differ": True,
        "claims": [{"from": "small", "to": "large", "text": "text", "kind": "no loss"}],
    }
    figure = intervals.arms(declared, results, dict.fromkeys(results, LOOK))
    for axes, difference, margin in zip(figure.axes[2:], (-0.25, 0.01), (-0.5, 0.02), strict=True):
        (bar,) = axes.containers
        assert bar[0].get_xdata() == pytest.approx([difference])
        dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert [list(line.get_xdata()) for line in dotted] == [[margin] * 2]
    assert [label.get_text() for label in figure.axes[2].get_yticklabels()] == ["L\nminus S"]


def test_arms_mark_both_sides_of_no_difference(study):
    results = {name: read_result(study(name)) for name in ("small", "large")}
    declared = {"title": "T", "ours": {"small": {"name": "S"}, "large": {"name": "L"}}, "figure": ["psnr", "ssim"]}
    # a claim's own margins before those of the table
    claim = {"from": "small", "to": "large", "kind": "no difference", "margins": {"psnr": 0.25, "ssim": 0.01}}
    declared |= {"claims": [claim, {"from": "small", "sweep": "lambda_"}], "margins": {"psnr": 9, "ssim": 9}}
    figure = intervals.arms(declared, results, dict.fromkeys(results, LOOK))
    for axes, margin in zip(figure.axes[2:], (0.25, 0.01), strict=True):
        assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [-margin, margin]


def test_arms_without_the_metrics_are_not_drawn(study):
    declared = {"ours": {}, "figure": ["psnr_inside", "psnr_outside"], "claims": []}
    assert intervals.arms(declared, {"focus_none": read_result(study("focus_none"))}, {}) is None


def test_tokens_by_hand(study):
    results = {
        "half": read_result(study("half", num_tokens=8, levels={"psnr": 19.0})),
        "whole": read_result(study("whole", num_tokens=16, levels={"psnr": 20.5})),
    }
    declared = {"title": "T", "claims": [{"from": "half", "to": "whole"}, {"from": "whole", "to": "double"}]}
    published = [{"tokens": "64", "psnr": "22.64"}, {"tokens": "128", "psnr": "26.03"}]
    ours, gains, papers = intervals.tokens(declared, results, published).axes
    dots = [bar[0].get_xydata().tolist() for bar in ours.containers]
    assert dots == [[[8, 19.0]], [[16, 20.5]]]
    (gain,) = gains.containers
    assert gain[0].get_xydata().tolist() == [[16, 1.5]]
    assert papers.lines[0].get_xydata().tolist() == [[64, 22.64], [128, 26.03]]
    assert intervals.tokens(declared, {"half": results["half"]}, published) is None


def test_upright_interval_is_along_y(study):
    results = {"few": read_result(study("few", num_tokens=8)), "many": read_result(study("many", num_tokens=16))}
    results["many"].values["psnr"] += np.arange(16).reshape(2, 8)
    declared = {"title": "T", "claims": []}
    bar = intervals.tokens(declared, results, [{"tokens": "1", "psnr": "1"}]).axes[0].containers[1]
    expected = summarise(results["many"].values["psnr"], results["many"].sources)
    assert expected.half_width > 1
    assert ends(bar, 1) == pytest.approx(expected.interval)
    assert ends(bar, 0) == (16, 16)
