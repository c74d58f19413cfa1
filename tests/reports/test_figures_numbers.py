from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports.declared import every_table
from reports.figures.curves import curves, sensitivity, training
from reports.figures.intervals import arms, domains, rate_distortion, rates, tokens
from reports.figures.speed import panels, speed_quality
from reports.figures.style import STYLE, looks
from reports.tables.results import Result, read_result
from reports.tables.rows import published


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context(STYLE):
        yield


def check_readable(figure: Figure) -> None:
    """Fails where a text is below 7 points, leaves the page or runs into another text."""
    canvas, boxes = FigureCanvasAgg(figure), []
    canvas.draw()
    renderer = canvas.get_renderer()
    # Ticks outside of the view exist and are not drawn.
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        drawn = axis.axes.get_visible()
        outside = [tick for tick in axis.get_major_ticks() if not (drawn and low <= tick.get_loc() <= high)]
        hidden |= {label for tick in outside for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if not text.get_visible() or not text.get_text().strip() or text in hidden:
            continue
        assert text.get_fontsize() >= 7, text
        box = text.get_window_extent(renderer)
        # half a pixel of rounding
        assert min(box.x0, box.y0) >= -0.5, f"{text} leaves the page at {box}"
        assert box.x1 <= figure.bbox.width + 0.5 and box.y1 <= figure.bbox.height + 0.5, f"{text} leaves at {box}"
        boxes.append((text, box))
    for place, (text, box) in enumerate(boxes):
        for other, another in boxes[:place]:
            width = min(box.x1, another.x1) - max(box.x0, another.x0)
            height = min(box.y1, another.y1) - max(box.y0, another.y0)
            # a box has room above and below its letters: two pixels of it may overlap
            assert width <= 1 or height <= 2, f"{text} runs into {other}"


def dots(axes) -> dict[str, list]:
    """Where the points of every labelled line or interval lie."""
    found = {bar.get_label(): bar[0].get_xydata().tolist() for bar in axes.containers}
    return found | {line.get_label(): line.get_xydata().tolist() for line in axes.lines if line.get_label()[0] != "_"}


@pytest.fixture
def varied(study):
    """A result of GPSToken with one argument changed."""

    def make(row: str, psnr: float, **arguments):
        result = read_result(study(row, levels={"psnr": psnr, "lpips_alexnet": 1 - psnr / 40}))
        result.record["tokenizer"]["init_args"] |= {"support_factor": 3.0, "min_region_size": 4} | arguments
        return result

    return make


def draw_sensitivity(results):
    declared = every_table()["sensitivity"]
    return sensitivity(declared, results, published(declared))


def test_sensitivity_by_hand(varied):
    results = {
        "gpstoken_m128": varied("gpstoken_m128", 20.0),
        "uniform_refined": varied("uniform_refined", 19.0, lambda_=0.0),
        "lambda_=5": varied("lambda_=5", 20.5, lambda_=5.0),
        "support_factor=1": varied("support_factor=1", 15.0, support_factor=1.0),
        "both": varied("both", 1.0, support_factor=7.0, lambda_=7.0),
    }
    figure = draw_sensitivity(results)
    panels = np.array(figure.axes).reshape(3, 4)
    assert panels[0, 0].lines[0].get_xydata().tolist() == [[0, 19], [2.5, 20], [5, 20.5]]
    assert panels[1, 0].lines[0].get_xydata().tolist() == [[1, 15], [3, 20]]
    assert panels[2, 0].lines[0].get_xydata().tolist() == [[4, 20]]
    assert panels[1, 1].lines[0].get_ydata().tolist() == [0.625, 0.5]
    # the rebuttal's table, read off it by eye
    assert panels[0, 2].lines[0].get_xydata().tolist() == [[0, 23.52], [2.5, 24.06], [5, 24.06]]
    assert panels[1, 2].lines[0].get_xydata().tolist() == [[1, 17.55], [3, 24.07], [5, 24.06], [7, 24.06]]
    assert panels[2, 3].lines[0].get_xydata().tolist() == [[4, 0.080], [8, 0.080], [16, 0.081]]
    rings = [axes.lines[1].get_xydata().tolist() for axes in panels[:, 0]]
    assert rings == [[[2.5, 20]], [[3, 20]], [[4, 20]]]
    check_readable(figure)


def test_the_band_is_the_interval(varied):
    results = {"gpstoken_m128": varied("gpstoken_m128", 20.0), "lambda_=5": varied("lambda_=5", 20.0, lambda_=5.0)}
    # Two seeds 1 dB apart: mean 20.5, standard error 0.5, Student's t of one degree of freedom 12.706
    results["lambda_=5"].values["psnr"][1] += 1
    band = draw_sensitivity(results).axes[0].collections[0].get_paths()[0].vertices
    assert band[band[:, 0] == 5, 1].min() == pytest.approx(20.5 - 12.706 * 0.5, abs=1e-3)
    assert band[band[:, 0] == 5, 1].max() == pytest.approx(20.5 + 12.706 * 0.5, abs=1e-3)


def test_sensitivity_without_a_second_value_is_not_drawn(varied):
    assert draw_sensitivity({"lambda_=5": varied("lambda_=5", 20.0, lambda_=5.0)}) is None
    assert draw_sensitivity({"gpstoken_m128": varied("gpstoken_m128", 20.0)}) is None


def coded(study, row: str, psnr: float, tokens: int, channels: int, codebook: int | None):
    result = read_result(study(row, num_tokens=tokens, levels={"psnr": psnr}, of=row))
    result.record["evaluated"]["code"] = {"shape": [tokens], "channels": channels, "codebook_size": codebook}
    return result


def test_rates_by_hand(study):
    assert coded(study, "sdxl_vae", 20.0, 64, 4, None).numbers == 256
    indices, pairs = coded(study, "vqvae_f16", 20.0, 16, 1, 1000), coded(study, "vavae", 20.0, 20, 6, 1024)
    assert (indices.numbers, indices.bits) == (16, 160)
    # an index is one of the numbers of a token; without rounding the others have no bits
    assert (pairs.numbers, pairs.bits) == (120, None)
    pairs.record["evaluated"] |= {"token_bits": 8, "bits": 20 * (5 * 8 + 10) + 5 * 2 * 16}
    assert pairs.bits == 1160


def test_rate_distortion_by_hand(study):
    results = {"a": coded(study, "a", 20.0, 16, 21, None), "v": coded(study, "v", 15.0, 16, 1, 1024)}
    declared = {"a": {"name": "A", "paper": "A of the paper"}, "v": {"name": "V"}}
    published = [
        {"method": "A of the paper", "tokens": "16x16", "psnr": "24.06", "lpips": "0.080"},
        {"method": "other", "tokens": "128", "psnr": "23.25"},
    ]
    styles = looks(["a", "v"])
    figure = rate_distortion(declared, results, published, styles)
    by_numbers, by_tokens, theirs = figure.axes[:3]
    assert dots(by_numbers) == {"A": [[336, 20.0]], "V": [[16, 15.0]]}
    assert dots(by_tokens) == {"A": [[16, 20.0]], "V": [[16, 15.0]]}
    assert dots(theirs) == {"A": [[256, 24.06]], "other": [[128, 23.25]]}
    # LPIPS that the paper does not print is not drawn
    assert dots(figure.axes[5]) == {"A": [[256, 0.080]]}
    hollow = {bar.get_label(): bar[0].get_markerfacecolor() == "white" for bar in by_numbers.containers}
    assert hollow == {"A": False, "V": True}
    assert theirs.lines[0].get_color() == styles["a"].colour != theirs.lines[1].get_color()
    assert rate_distortion(declared, {}, published, styles) is None
    check_readable(figure)


def test_rates_are_lines_over_bytes(study):
    names = {"few": "A", "many": "A", "file": "JPEG"}
    results = {
        "many": coded(study, "many", 24.0, 128, 37, None),
        "few": coded(study, "few", 22.0, 64, 37, None),
        "file": coded(study, "file", 30.0, 2000, 1, 256),
    }
    for row, count in (("few", 64), ("many", 128)):
        results[row].evaluated.update(token_bits=8, bits=8 * count * 37 + 32 * 37)
    declared = {"title": "T", "ours": {row: {"name": name} for row, name in names.items()}}
    figure = rates(declared, results)
    # a number has a byte, and each of 37 channels two float16
    assert dots(figure.axes[0]) == {"A, 8 bit": [[64 * 37 + 148, 22.0], [128 * 37 + 148, 24.0]], "JPEG": [[2000, 30.0]]}
    assert rates(declared, {"few": results["few"], "many": results["many"]}) is None
    check_readable(figure)


def profile(counts: dict, **measured) -> Result:
    return Result(Path(), {"image_size": 256, "counts": counts, "measured": measured or None})


def test_speed_and_quality_by_hand(study):
    tokenizer = {"encoder": {"gmacs": 52.0}, "decoder": {"gmacs": 335.5}}
    timed = {"device": "cpu", "batch_size": 4, "latency_ms": 2000.0, "latency_std_ms": 40.0}
    profiles = {
        "gpstoken_m128": profile(tokenizer, **timed),
        "dcae": profile(tokenizer),
        "layout": profile({"network": {"gmacs": 2.0}, "calls": None}),
        "texture": profile({"network": {"gmacs": 118.0}, "calls": 250}),
        "grid": profile({"network": {"gmacs": 118.0}, "calls": None}),
    }
    declared = {"gpstoken_m128": {"name": "M", "paper": "GPSToken-M128"}, "dcae": {"name": "D", "paper": "DCAE"}}
    published = [{"method": "GPSToken-M128", "psnr": "24.06"}, {"method": "DCAE", "psnr": "23.62"}]
    ours = {"gpstoken_m128": read_result(study("gpstoken_m128", levels={"psnr": 20.0}))}
    drawn = panels(declared, ours, published, profiles)
    counted, measured, theirs, sampled, own = ([tuple(point) for point in panel.points] for panel in drawn)
    assert counted == [("GPSToken-M128", 387.5, 24.06, 0), ("DCAE", 387.5, 23.62, 0)]
    assert measured == [("GPSToken-M128", 500.0, 24.06, 10.0)]
    # 44.56 images a second on the A100
    assert theirs == [("GPSToken-M128", pytest.approx(22.44, abs=0.005), 24.06, 0)]
    # 250 calls of 2 and of 118 GMACs are 30 T; as many are taken where the paper tells none
    assert sampled == [("GPSToken two-stage", 30.0, 1.64, 0), ("SiT-XL/2", 29.5, 2.06, 0)]
    assert "250 calls" in drawn[3].x_label
    assert own == [("GPSToken-M128", 0.388347, 20.0, 0)]
    assert ["measured by us" in panel.x_label for panel in drawn] == [False, True, False, False, False]
    assert [panel.y_label.endswith("paper") for panel in drawn] == [True] * 4 + [False]
    profiles["gpstoken_m128"] = profile(tokenizer, **timed | {"latency_ms": 8000.0})
    slow = panels(declared, ours, published, profiles)[1]
    assert (slow.x_label.split()[0], *slow.points[0]) == ("s", "GPSToken-M128", 2.0, 24.06, 0.01)
    figure = speed_quality(declared, ours, published, profiles, looks(["GPSToken-M128", "DCAE"]))
    assert dots(figure.axes[0]) == {"GPSToken-M128": [[387.5, 24.06]], "DCAE": [[387.5, 23.62]]}
    check_readable(figure)


def test_speed_without_counts_is_not_drawn():
    assert speed_quality({}, {}, [], {}, {}) is None


def test_domains_by_hand(study):
    sizes = {"few": ({"psnr": 19.0}, 2), "many": ({"psnr": 20.0}, 4)}
    results = {row: read_result(study(row, levels=levels, photographs=n)) for row, (levels, n) in sizes.items()}
    declared = {
        "title": "T",
        "datasets": {"natural": {"paper": "COCO2017"}, "retina": {"paper": "STARE"}},
        "ours": {"many": {"name": "M", "dataset": "natural"}, "few": {"name": "M", "dataset": "retina"}},
    }
    published = [{"dataset": "STARE", "method": "P", "psnr": "34.75", "lpips": "0.036"}]
    figure = domains(declared, results, published, looks(["M"]))
    ours, theirs = figure.axes[:2]
    # M left of P in the place of each data set; without an interval where there are two photographs
    assert [bar[0].get_xydata().tolist() for bar in ours.containers] == [[[-0.15, 20.0]]]
    assert [line.get_xydata().tolist() for line in ours.lines if line.get_markerfacecolor() == "white"] == [
        [[0.85, 19]]
    ]
    assert dots(theirs) == {"P": [[1.15, 34.75]]}
    assert [label.get_text() for label in ours.get_xticklabels()] == ["natural\n(n = 4)", "retina\n(n = 2)"]
    assert domains(declared, {}, published, {}) is None
    check_readable(figure)


def test_the_other_plots_are_readable(study, write_run, tmp_path):
    sizes = {"small": 64, "large": 128}
    results = {row: read_result(study(row, size, num_tokens=size // 4)) for row, size in sizes.items()}
    name, claim = "a row with rather a long name", {"from": "small", "to": "large", "kind": "no loss"}
    declared = {"title": "Resolution", "ours": {row: {"name": name} for row in sizes}, "figure": ["psnr", "ssim"]}
    declared |= {"sizes_differ": True, "margins": {"psnr": 0.5, "ssim": 0.02}, "claims": [claim]}
    check_readable(arms(declared, results, looks(results)))
    check_readable(tokens({"title": "T", "claims": []}, results, [{"tokens": "32", "psnr": "19.26"}]))
    for row in results:
        write_run(row)
    check_readable(training(tmp_path / "runs" / "laptop" / "tokenizers", dict.fromkeys(results, name), looks(results)))


def test_curves_of_generators_by_hand():
    scores = {"kid_efficientnet_lite0": {"per_seed": [0.06, 0.062, 0.064]}}
    early = {"kid_efficientnet_lite0": {"per_seed": [0.1, 0.2, 0.6]}}
    record = {"scale": "laptop", "seeds": [0, 1, 2]}
    record["curve"] = [{"step": 1200, "scores": scores}, {"step": 300, "scores": early}]
    ours = {"two_stage": Result(Path(), record)}
    figure = curves(ours)
    left, right = figure.axes
    # x1000: the mean of 100, 200 and 600 is 300; of 60, 62 and 64 it is 62
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[300, 300], [1200, 62]])
    band = left.collections[0].get_paths()[0].vertices.round(6)
    assert set(map(tuple, band)) == {(300, 100), (300, 600), (1200, 60), (1200, 64)}
    # FID after half a million and a million iterations, as the discussion has them
    papers = [curve.get_xydata().tolist() for curve in right.lines]
    assert papers == [[[0.5, 19.07], [1.0, 14.5]], [[0.5, 9.57], [1.0, 7.61]]]
    assert left.get_ylabel().endswith("(no FID)")
    check_readable(figure)
    for point in record["curve"]:
        point["scores"]["fid"] = {"per_seed": [50.0, 50.0, 53.0]}
    assert curves(ours).axes[0].lines[0].get_ydata().tolist() == [51, 51]
    assert curves({}) is None
