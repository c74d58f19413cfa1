"""The cache of compiled code: used, and no reason to stop where it is damaged, out of date or cannot be written."""

import importlib.util
import shutil
from pathlib import Path

import numba
import pytest

from gpstoken import compiling


def double(number):
    return 2 * number


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "_functions", [])
    return tmp_path / "cache"


def comes_from_disk(module=compiling):
    """Compiles `double` as a new process would, and checks its value."""
    function = module.compiling()(double)
    assert function(21) == 42
    return sum(function.stats.cache_hits.values()) == 1


def damaged_ones(content):
    middle = len(content) // 2
    yield b""
    yield content[:40]
    yield content[:-1]
    yield content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    yield content[32:]  # as numba itself writes it
    yield b"\x80\x05cno_such_module\nno_such_function\n."


def test_is_used(folder):
    assert not comes_from_disk()
    assert comes_from_disk()


def test_tells_whether_there_is_something_to_compile(folder):
    function = compiling.compiling()(double)
    assert not compiling.is_compiled()
    function(21)
    assert compiling.is_compiled()
    compiling.compiling()(double)
    assert compiling.is_compiled()


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_what_is_damaged_is_made_anew(suffix, folder):
    comes_from_disk()
    (path,) = folder.rglob(f"*.{suffix}")
    whole = path.read_bytes()
    for content in damaged_ones(whole):
        path.write_bytes(content)
        assert not comes_from_disk()
        assert comes_from_disk()


def test_of_another_numba_or_processor_is_made_anew(folder, monkeypatch):
    comes_from_disk()
    with monkeypatch.context() as patch:
        patch.setattr(numba, "__version__", "0.0.1")
        assert not comes_from_disk()
    assert not comes_from_disk()
    with monkeypatch.context() as patch:
        patch.setattr("numba.core.codegen.JITCPUCodegen.magic_tuple", lambda codegen: ("another processor",))
        assert not comes_from_disk()
    assert comes_from_disk()


def test_where_there_is_no_folder_one_line_says_so(caplog):
    compiling._say_that_nothing_is_kept.cache_clear()
    for _ in range(2):
        space = {}
        exec("def double(number): return 2 * number", space)  # a function that lies nowhere
        assert compiling.compiling()(space["double"])(21) == 42
    (message,) = caplog.messages
    assert "set NUMBA_CACHE_DIR to a writable folder" in message and "\n" not in message


def test_a_full_disk_stops_nothing(folder, monkeypatch, caplog):
    compiling._say_that_nothing_is_kept.cache_clear()

    def replace(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.os.replace", replace)
    assert not comes_from_disk()
    assert not comes_from_disk()
    assert len(caplog.messages) == 1


def test_code_of_another_file_that_is_compiled_in_counts_as_well(folder, tmp_path):
    # numba looks at the time of the function's own file alone: a change of what it calls would go unnoticed.
    package = Path(compiling.__file__).parent
    shutil.copytree(package / "partition", tmp_path / "partition", ignore=lambda *_: ["__pycache__"])
    shutil.copy(compiling.__file__, tmp_path)

    def load():
        spec = importlib.util.spec_from_file_location("copied_compiling", tmp_path / "compiling.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    assert [comes_from_disk(load()), comes_from_disk(load())] == [False, True]
    with (tmp_path / "partition" / "reference.py").open("a") as file:
        file.write("# another table\n")
    assert not comes_from_disk(load())
