import pytest
from PIL import Image

from reports.declared import every_table
from reports.figures.__main__ import main
from reports.figures.curves import read_curves
from reports.figures.style import COLOURS, MARKERS, grey_looks, headline, looks, page


@pytest.fixture
def draw(tmp_path):
    def run(name: str) -> dict[str, bytes]:
        options = ["--results", tmp_path / "results", "--runs", tmp_path / "runs/laptop", "--data", tmp_path / "data"]
        assert main([*map(str, options), "--scale", "laptop", "-o", str(tmp_path / name)]) == 0
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    return run


def test_every_form_is_written_and_same_inputs_give_the_same_bytes(arm, write_run, draw, tmp_path, capsys):
    arm("uniform"), arm("init_only", gain=0.1), arm("gpstoken_m128", gain=0.2)
    for seed in range(2):
        (write_run("gpstoken_m128", seed, 1.0 + seed) / "last.ckpt").unlink()
    first = draw("first")
    assert set(first) == {
        f"{name}.{form}"
        for name in ("ablation", "domains", "rate_distortion", "training")
        for form in ("png", "svg", "pdf")
    } - {f"domains.{form}" for form in ("png", "svg", "pdf")}
    assert draw("second") == first
    assert "overview: nothing to draw yet" in capsys.readouterr().out
    svg = first["ablation.svg"].decode()
    # two of the three claims have both rows
    assert "minus uniform, not refined" in svg
    assert "minus uniform, refined" not in svg
    assert "4 images of 2 photographs" in svg
    assert first["ablation.pdf"].startswith(b"%PDF") and b"CreationDate" not in first["ablation.pdf"]
    with Image.open(tmp_path / "first" / "ablation.png") as picture:
        assert picture.width == 7.4 * 160
        assert picture.info["dpi"] == pytest.approx((160, 160), abs=0.1)


def test_nothing_to_draw(draw, capsys):
    assert draw("empty") == {}
    lines = [line.partition(": ") for line in capsys.readouterr().out.splitlines()]
    assert {text for *_, text in lines} == {"nothing to draw yet"}
    assert {name for name, *_ in lines} >= {
        "overview", "tokens_picture", "focus_picture", "rate_distortion", "rates", "speed_quality", "sensitivity",
        "domains",
        "tokens", "ablation", "resolution", "focus", "training", "fid_curve",
        "samples_two_stage", "samples_one_stage", "samples_grid",
    }  # fmt: skip


def test_rows_look_different_from_each_other():
    rows = dict.fromkeys(row for table in every_table().values() for row in table.get("ours", {}))
    styles = looks(rows)
    assert len(set(styles.values())) == len(rows)
    # the ten tokenizers that the suite trains are told apart by colour alone
    assert len({look.colour for look in looks(map(str, range(10))).values()}) == 10
    assert len({tuple(int(colour[i : i + 2], 16) // 16 for i in (1, 3, 5)) for colour in COLOURS}) == 10
    greys = grey_looks(map(str, range(9)), {}).values()
    assert len({look.marker for look in greys}) == 9
    assert not {look.marker for look in greys} & set(MARKERS)


def test_a_number_is_not_parted_from_its_unit():
    figure = page(1)
    headline(figure, "word " * 20 + "ends in 256 px and goes on")
    assert "256\N{NO-BREAK SPACE}px" in figure.get_suptitle()
    assert max(map(len, figure.get_suptitle().splitlines())) <= 110


def test_curves_keep_only_the_steps_that_every_seed_has(write_run):
    first, second = write_run("uniform", 0, loss=1.0), write_run("uniform", 1, loss=3.0)
    with (second / "metrics.csv").open("a") as file:
        file.write("30,train/loss,9\n")
    curve = read_curves(first.parent)["train/loss"]
    assert curve.reset_index().to_numpy().tolist() == [[10, 1.0, 3.0], [20, 0.5, 1.5]]
