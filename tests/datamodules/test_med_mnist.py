import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

_spec = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(_spec)
sys.modules["layouts"] = layouts
_spec.loader.exec_module(layouts)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_images": np.zeros((2, 224, 224, 3), np.uint8)}, "'test_labels is not a file in the archive'"),
        (
            {"test_images": np.zeros((2, 28, 28), np.uint8), "test_labels": np.zeros((2, 1), np.uint8)},
            "test_images is uint8[2, 28, 28], expected a 2-D set of 224 pixels",
        ),
        (
            {"test_images": np.zeros((2, 224, 224), np.float32), "test_labels": np.zeros((2, 1), np.uint8)},
            "test_images is float32[2, 224, 224], expected",
        ),
        (
            {"test_images": np.zeros((2, 224, 224), np.uint8), "test_labels": np.zeros((3, 1), np.uint8)},
            "test_labels is uint8[3, 1], expected [2, K]",
        ),
        (
            {"test_images": np.array([None, "pickled"], dtype=object), "test_labels": np.zeros((2, 1), np.uint8)},
            "it holds Python objects, but only numbers are read",
        ),
    ],
)
def test_other_contents_of_an_npz_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "retinamnist_224.npz", **arrays)
    with pytest.raises(ValueError) as raised:
        layouts.load(layouts.LAYOUTS["retinamnist"], tmp_path).photos("test")
    assert str(raised.value).startswith(f"{tmp_path}/retinamnist_224.npz: ") and message in str(raised.value)


def test_download_goes_through_the_package_and_keeps_whole_files_alone(tmp_path, monkeypatch):
    calls = []

    class RetinaMNIST:
        """The package's class as far as it is used: it writes `<root>/<name>_<size>.npz`, having checked the MD5."""

        def __init__(self, split, root, size, download):
            calls.append((split, size, download))
            if len(calls) == 1:
                layouts.put(Path(root) / "retinamnist_224.npz", b"half")
                raise RuntimeError("Something went wrong when downloading!")
            layouts.retinamnist(Path(root))

    package = SimpleNamespace(INFO={"retinamnist": {"python_class": "RetinaMNIST"}}, RetinaMNIST=RetinaMNIST)
    monkeypatch.setitem(sys.modules, "medmnist", package)
    root, layout = tmp_path / "new" / "root", layouts.LAYOUTS["retinamnist"]
    with pytest.raises(ValueError, match="MedMNIST: retinamnist of 224 pixels cannot be fetched: Something went wrong"):
        layouts.load(layout, root, download=True).photos("test")
    assert list(root.iterdir()) == []
    assert layouts.load(layout, root, download=True).photos("test").labels == [4, 0, 2]
    assert [path.name for path in root.iterdir()] == ["retinamnist_224.npz"]
    layouts.load(layout, root, download=True).photos("test")
    assert calls == [("val", 224, True)] * 2
    with pytest.raises(ValueError, match="MedMNIST: no set 'retina'; there are retinamnist"):
        layouts.load(layout, root, name="retina", download=True).photos("test")
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(ValueError, match="download needs the package medmnist: pip install medmnist"):
        layouts.load(layout, tmp_path, name="breastmnist", download=True).photos("test")


def test_names_and_licences_are_those_of_the_package():
    medmnist = pytest.importorskip("medmnist")
    licences = {name: entry["license"] for name, entry in medmnist.INFO.items() if not name.endswith("3d")}
    assert {name for name, licence in licences.items() if licence != "CC BY 4.0"} == {"dermamnist"}
    assert licences["dermamnist"] == "CC BY-NC 4.0"
    for name, entry in medmnist.INFO.items():
        assert entry["url_224" if not name.endswith("3d") else "url_64"].split("/")[-1].startswith(name)
        assert hasattr(medmnist, entry["python_class"])
