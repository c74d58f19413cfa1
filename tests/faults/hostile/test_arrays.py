"""Statistics, images and features in npz and safetensors: what hostile ones did before it was mended."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from gpstoken.commands.features import features_of
from gpstoken.metrics.frechet import read_statistics as read_reference
from gpstoken.metrics.labelled import read_array
from gpstoken.metrics.samples import read_batches
from tests.faults.hostile.lines import one_line
from tests.faults.hostile.mutations import safetensors
from tests.faults.hostile.seeds import statistics


def bomb(path, name, shape, dtype="<f8", method=zipfile.ZIP_DEFLATED, content=None):
    """An npz whose member `name` is of a shape, all zero or the content given."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        left = int(np.prod(shape)) * np.dtype(dtype).itemsize if content is None else 0
        while left:
            left -= stream.write(bytes(min(left, 2**20)))
        stream.write(content or b"")
    return path


def test_statistics_that_unpack_to_much_more(tmp_path):
    path = bomb(tmp_path / "statistics.npz", "sigma", (6000, 6000))
    assert path.stat().st_size < 400_000
    with one_line(path, megabytes=100) as caught:
        read_reference(path)
    assert "288,000" in str(caught.value)


def test_an_array_larger_than_its_member(tmp_path):
    path = bomb(tmp_path / "statistics.npz", "mu", (10**11,), content=b"12345678")
    with one_line(path, megabytes=100):
        read_reference(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unpack_at_once_are_not_read(tmp_path, method):
    """Of these Python unpacks all that a piece of the file holds, however much that is."""
    path = bomb(tmp_path / "images.npz", "arr_0", (300, 256, 256, 3), "|u1", method)
    for read in (lambda: next(read_batches(path, 4)), lambda: read_array(path, "arr_0")):
        with one_line(path, megabytes=100):
            read()


@pytest.mark.parametrize(
    "count", [np.timedelta64(3, "s"), np.array(0), np.array(-4), np.array([3]), np.array(True)], ids=str
)
def test_a_count_of_statistics_that_is_none(tmp_path, count):
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2), count=count)
    with one_line(path):
        read_reference(path)


@pytest.mark.parametrize("name", ["mu", "sigma", "mu_s", "sigma_s"])
def test_statistics_that_are_not_finite(tmp_path, name):
    path, arrays = tmp_path / "statistics.npz", statistics()
    np.savez(path, **arrays | {name: arrays[name] + np.inf})
    with one_line(path):
        read_reference(path)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, safetensors({"__metadata__": {"gpstoken.commands.features": "["}}, b"")]
)
def test_damaged_features_beside_images(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(b"")
    (tmp_path / "a.features.safetensors").write_bytes(content)
    network = SimpleNamespace(name="inception", path=tmp_path / "a.npz")  # whose features they are is all that is asked
    with one_line(tmp_path / "a.features.safetensors"):
        features_of(tmp_path / "a.npz", network, "a", {})
