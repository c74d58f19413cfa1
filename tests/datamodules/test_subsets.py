import importlib.util
import sys
from pathlib import Path

import pytest

from datamodules.subsets import draw

_spec = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(_spec)
sys.modules["layouts"] = layouts
_spec.loader.exec_module(layouts)


@pytest.mark.parametrize("name", ["stare", "whu rs19"])
def test_every_picture_is_test_for_models_trained_elsewhere(tmp_path, name):
    layout = layouts.LAYOUTS[name]
    layout.write(tmp_path)
    data = layouts.load(layout, tmp_path, test_on_all=True)
    assert len(data.photos("test")) == sum(layout.sizes.values())
    kind = type(data).__name__
    for split in ("train", "val"):
        with pytest.raises(ValueError) as raised:
            data.photos(split)
        assert (
            str(raised.value) == f"{kind}: test_on_all puts every picture into test, so {split} has none; leave it off"
        )


def test_a_list_is_written_once_and_then_obeyed(tmp_path):
    layout = layouts.LAYOUTS["coco"]
    layout.write(tmp_path / "data")
    before = sorted(path for path in (tmp_path / "data").rglob("*"))
    path = tmp_path / "lists" / "coco.txt"
    drawn = layouts.load(layout, tmp_path / "data", list_file=str(path)).photos("test").sources
    assert path.read_text().splitlines() == drawn and len(drawn) == 4
    path.write_text("val2017/000000000139.jpg\n\nval2017/000000000224.jpg\n")
    obeyed = layouts.load(layout, tmp_path / "data", list_file=str(path)).photos("test").sources
    assert obeyed == ["val2017/000000000139.jpg", "val2017/000000000224.jpg"]
    for text, message in (
        ("", "an empty list; delete it to draw a new one"),
        ("val2017/000000000139.jpg\nval2017/1.jpg\n", "names 1 pictures that do not exist, the first is val2017/1.jpg"),
        ("val2017/000000000139.jpg\n" * 2, "names a picture twice"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError) as raised:
            layouts.load(layout, tmp_path / "data", list_file=str(path)).photos("test")
        assert str(raised.value) == f"{path}: {message}"
    assert sorted(path for path in (tmp_path / "data").rglob("*")) == before


def test_faces_of_a_list_are_not_trained_on(tmp_path):
    layouts.ffhq_256(tmp_path)
    (tmp_path / "list.txt").write_text("00003.png\n00007.png\n")
    data = layouts.load(layouts.LAYOUTS["ffhq 256"], tmp_path, list_file=str(tmp_path / "list.txt"))
    trained = {*data.photos("train").sources, *data.photos("val").sources}
    assert len(trained) == 14 and not trained & {"00003.png", "00007.png"}


def test_a_draw_is_even_and_stays_when_others_come():
    names = [f"{i:05d}" for i in range(2000)]
    chosen = draw(names, 500)
    assert chosen == sorted(set(chosen)) and len(chosen) == 500
    # Hypergeometric: 250 of the first half are expected, with a standard deviation of 9.7.
    assert abs(sum(name < "01000" for name in chosen) - 250) < 5 * 9.7
    assert len(set(draw([*names, "new"], 500)) & set(chosen)) >= 499
    assert draw(names[:3], 500) == names[:3]
    with pytest.raises(ValueError, match="subset must be at least 1, got 0"):
        draw(names, 0)


def test_all_faces_in_test_leaves_none_to_train_on(tmp_path):
    layouts.ffhq_256(tmp_path)
    data = layouts.load(layouts.LAYOUTS["ffhq 256"], tmp_path, subset=16)
    assert len(data.photos("test")) == 16
    with pytest.raises(ValueError, match="no picture is left for train: test has them all; set a smaller subset"):
        data.dataset("train")
