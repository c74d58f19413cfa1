"""The reader of the released layouts: everything numpy writes, and nothing else."""

import os
import pickle
import pickletools
import struct
import subprocess

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gpstoken import cli
from gpstoken.commands.released_layouts import main
from gpstoken.files.released_layouts import convert, read_layouts

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def some(*sizes, dtype=np.float32, tokens=4):
    """Layouts within the canvas, of which no two are equal."""
    return np.random.default_rng(len(sizes) + sum(sizes)).uniform(0.01, 0.99, (*sizes, tokens, 5)).astype(dtype)


def written(tmp_path, content, protocol=4):
    path = tmp_path / "initg.pickle"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def as_numpy_1(data):
    """The same pickle as numpy 1 writes it: the modules' names differ, and with them the lengths before them."""
    old = data.replace(b"cnumpy._core.", b"cnumpy.core.")
    for name in (b"multiarray", b"numeric"):
        new = b"numpy._core." + name
        old = old.replace(bytes([0x8C, len(new)]) + new, bytes([0x8C, len(new) - 1]) + b"numpy.core." + name)
    if old[2:3] == pickle.FRAME:  # which says how long it is
        size = struct.unpack_from("<Q", old, 3)[0] - (len(data) - len(old))
        old = old[:3] + struct.pack("<Q", size) + old[11:]
    return old


def refused(path, message):
    with pytest.raises(ValueError, match=rf"\A\S*{path.name}: [^\n]*{message}[^\n]*\Z") as raised:
        read_layouts(path)
    assert len(str(raised.value)) < 400 + len(str(path))


# What is read


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("numpy_version", [1, 2])
@pytest.mark.parametrize("contiguous", [True, False])
def test_every_protocol_of_numpy_1_and_2(tmp_path, protocol, numpy_version, contiguous):
    expected = some(2)
    array = expected if contiguous else np.asfortranarray(expected.repeat(2, 0))[::2]
    assert array.flags.c_contiguous == contiguous
    data = pickle.dumps({np.int64(7): array, 0: np.asfortranarray(array)}, protocol)
    if numpy_version == 1:
        data = as_numpy_1(data)
        names = [argument for _, argument, _ in pickletools.genops(data) if "numpy." in str(argument)]
        assert any("numpy.core." in name for name in names) and not any("_core" in name for name in names)
    layouts = read_layouts(written(tmp_path, data))
    assert list(layouts) == [0, 7]
    assert all(np.array_equal(layout.numpy(), expected) for layout in layouts.values())


A, B, C = some(), some(3), some(1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({0: A, 1: B}, {0: A[None], 1: B}),
        ([B, A], {0: B, 1: A[None]}),
        ((B, B), {0: B, 1: B}),
        ({0: [A, A], 1: [B, C]}, {0: np.stack([A, A]), 1: np.concatenate([B, C])}),
        ([(A, B), [C]], {0: np.concatenate([A[None], B]), 1: C}),
        ({"12": B, "3": A}, {3: A[None], 12: B}),
        ({5: B, np.uint8(4): A}, {4: A[None], 5: B}),
    ],
    ids=["dict", "list", "tuple", "dict of lists", "list of lists", "digits", "numpy's integers"],
)
def test_every_structure(tmp_path, content, expected):
    # Each array by itself: one that the file holds once and names twice is another test's matter.
    copies = pickle.loads(pickle.dumps(content)) if not isinstance(content, tuple) else tuple(x.copy() for x in content)
    layouts = read_layouts(written(tmp_path, copies))
    assert list(layouts) == list(expected)
    for label, layout in layouts.items():
        assert layout.dtype == torch.float32 and np.array_equal(layout.numpy(), expected[label])


@pytest.mark.parametrize("dtype", ["<f8", ">f4", ">f8", "<f2"])
def test_other_floats_become_float32(tmp_path, dtype):
    array = some(2, dtype=dtype)
    assert np.array_equal(read_layouts(written(tmp_path, [array]))[0].numpy(), array.astype(np.float32))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_converted_file_is_the_pickle_bit_for_bit(tmp_path, protocol):
    content = {11: some(3), 2: some(2), 1: [some(), some(2)]}
    path = written(tmp_path, content, protocol)
    returned = convert(path, tmp_path / "layouts.safetensors")
    layouts = read_layouts(tmp_path / "layouts.safetensors")
    assert list(layouts) == list(returned) == [1, 2, 11]
    assert layouts[11].numpy().tobytes() == content[11].tobytes() == returned[11].numpy().tobytes()
    assert layouts[1].numpy().tobytes() == content[1][0].tobytes() + content[1][1].tobytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["initg.pickle", "layouts.safetensors"]


# Pickles that would run something


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Calls(os.system, "touch executed"), r"(posix|nt)\.system"),
        (Calls(eval, "open('executed', 'w')"), r"(__builtin__|builtins)\.eval"),
        (Calls(getattr, "", "join"), r"(__builtin__|builtins)\.getattr"),
        (Calls(subprocess.call, ["touch", "executed"]), r"(subprocess|commands)\.call"),
        (Calls(np.load, "x.npy"), r"numpy\.load"),
        (Calls(np.fromfile, "/etc/hostname"), r"numpy\.\S*fromfile"),
        (torch.zeros(2), r"torch\._utils\._rebuild_tensor_v2"),
        (Calls(torch.storage._load_from_bytes, b""), r"torch\.storage\._load_from_bytes"),
        (np.random.default_rng(0), r"numpy\.random"),
        (np.ma.zeros(3), r"numpy\.ma"),
    ],
)
def test_whatever_else_is_named_is_refused_by_its_name(tmp_path, monkeypatch, call, name, protocol):
    monkeypatch.chdir(tmp_path)
    refused(written(tmp_path, {0: some(), 1: call}, protocol), f"it names '{name}")
    assert [file.name for file in tmp_path.iterdir()] == ["initg.pickle"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x04\x8c\x05numpy\x8c\x0acore.os.rm\x93.", r"it names 'numpy\.core\.os\.rm'"),
        (b"(S'touch executed'\nios\nsystem\n.", r"it names 'os\.system'"),
        (b"cos\nsystem\n" * 2 + b".", r"it names 'os\.system'"),
        (b"c" + b"x" * 10**5 + b"\ny\n.", r"it names 'xxx"),
        (b"\x82\x01.", "extension"),
        (b"Pname\n.", "persistent"),
        (b"\x80\x05\x97.", "buffer"),
    ],
    ids=["dotted", "instance", "global", "endless name", "extension", "persistent", "out of band"],
)
def test_other_doors_of_pickle_are_shut(tmp_path, data, message):
    refused(written(tmp_path, data), message)


# Pickles that misuse numpy's own functions


def forged(shape=(4, 5), code="f4", state=None, data=None, function=np._core.multiarray._reconstruct, order="<"):
    """{0: array} with every part of the array as one likes."""

    class Type:
        def __reduce__(self):
            return np.dtype, (code, False, True), (3, order, None, None, None, -1, -1, 0)

    class Array:
        def __reduce__(self):
            content = some(tokens=4).tobytes() if data is None else data
            return function, (np.ndarray, (0,), b"b"), (1, shape, Type(), False, content) if state is None else state

    return {0: Array()}


def test_a_forgery_without_a_fault_is_read(tmp_path):
    assert np.array_equal(read_layouts(written(tmp_path, forged()))[0].numpy(), some()[None])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"code": "O8", "order": "|"}, "an array of 'O8', but only numbers"),
        ({"code": "O8", "order": "|", "data": [1] * 20}, "an array's bytes, got a list"),
        ({"code": "V4", "order": "|"}, "an array of 'V4'"),
        ({"code": "S4", "order": "|"}, "an array of 'S4'"),
        ({"code": "M8", "order": "<"}, "an array of 'M8'"),
        ({"code": "f4,O", "order": "|"}, "an array of 'f4,O'"),
        ({"order": ">>"}, "a numeric type"),
        ({"shape": (2**40, 4, 5)}, r"an array of shape \(1099511627776, 4, 5\) and type float32 in 80 bytes"),
        ({"shape": (2**62, 4, 5)}, "in 80 bytes"),  # 2^62 * 4 * 5 * 4 is 0 modulo 2^64
        ({"shape": (-4, 5)}, r"got \(-4, 5\)"),
        ({"shape": (-4, -1, 5)}, r"got \(-4, -1, 5\)"),
        ({"shape": (0, 4, 5), "data": b""}, r"got \(0, 4, 5\)"),
        ({"shape": (4.0, 5)}, r"got \(4\.0, 5\)"),
        ({"shape": (1,) * 64}, "expected layouts"),
        ({"shape": (20,)}, r"got \(20,\)"),
        ({"shape": (5, 4)}, r"got \(5, 4\)"),
        ({"shape": (3, 5)}, "in 80 bytes"),
        ({"shape": None}, "expected a numpy array"),
        ({"state": (1, (4, 5))}, "expected a numpy array"),
        ({"state": "nonsense"}, "expected a numpy array"),
        ({"function": np.ndarray}, "expected a numpy array, got numpy's ndarray"),
        ({"function": np.dtype}, "expected a numpy array, got numpy's dtype"),
        ({"function": np._core.multiarray.scalar}, "expected a numpy array, got numpy's scalar"),
    ],
)
def test_forged_arrays_are_refused(tmp_path, fault, message):
    refused(written(tmp_path, forged(**fault), 3), message)


def test_object_arrays_are_refused(tmp_path):
    refused(written(tmp_path, {0: np.array([some(), None], dtype=object)}), "only numbers are read|an array's bytes")


@pytest.mark.parametrize("codec", ["zip", "utf-16", "rot13", "../../evil"])
def test_bytes_come_by_latin1_alone(tmp_path, codec):
    data = pickle.dumps({0: some()}, 2)
    assert b"latin1" in data
    spoilt = data.replace(struct.pack("<I", 6) + b"latin1", struct.pack("<I", len(codec)) + codec.encode())
    assert spoilt != data
    refused(written(tmp_path, spoilt), "an array's bytes")


# Files that would take all memory or never end


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x05Nr" + struct.pack("<I", 2**32 - 1) + b".", "memo 4294967295 in 9 bytes"),
        (b"\x80\x05Nr" + struct.pack("<I", 10) + b".", "memo 10 in 9 bytes"),
        (b"\x80\x05Np99999999999\n.", "memo 99999999999 in 17 bytes"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b"abc.", "bytearray8, but only 4 remain"),
        (b"\x80\x05\x8e" + struct.pack("<Q", 2**62) + b"abc.", "bytes8, but only 4 remain"),
        (b"\x80\x05\x8b\xff\xff\xff\x7fabc.", "not enough data in stream"),
    ],
    ids=["memo", "small memo", "text memo", "bytearray", "bytes", "integer"],
)
def test_declared_sizes_are_not_believed(tmp_path, data, message):
    refused(written(tmp_path, data), message)


def test_arrays_named_again_and_again_do_not_multiply(tmp_path):
    layouts = [some()] * 1000
    refused(written(tmp_path, [layouts] * 1000), "its arrays are larger than the file")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truncated_files_are_refused(tmp_path, protocol):
    data = pickle.dumps({0: some(), 1: [some(2)]}, protocol)
    for end in sorted({0, 1, 2, len(data) - 1, *range(3, len(data), 37)}):
        refused(written(tmp_path, data[:end]), "not a readable file of layouts")


def test_damaged_files_raise_nothing_else(tmp_path):
    data = bytearray(pickle.dumps({0: some(), 1: [some(2)]}, 4))
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(500):
        damaged = data.copy()
        for place in random.integers(len(data), size=3):
            damaged[place] = random.integers(256)
        try:
            outcomes.add(type(read_layouts(written(tmp_path, bytes(damaged)))))
        except ValueError as error:
            assert "\n" not in str(error)
            outcomes.add(ValueError)
    assert outcomes == {dict, ValueError}


# Layouts that are none


def with_value(channel, value):
    layout = some(2)
    layout[1, 3, channel] = value
    return layout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({0: some(), 6: with_value(0, np.nan)}, "class 6: a sigma"),
        ([with_value(0, 0.0)], "class 0: a sigma that is not between 0 and 1"),
        ([with_value(1, 1.0)], "class 0: a sigma"),
        ([with_value(1, -0.1)], "class 0: a sigma"),
        ([with_value(2, 1.0)], "class 0: a rho"),
        ([with_value(2, np.nan)], "class 0: a rho"),
        ([with_value(3, 1.01)], "class 0: a centre off the canvas"),
        ([with_value(4, -1.01)], "class 0: a centre"),
        ([with_value(4, np.inf)], "class 0: a centre"),
        ([with_value(3, np.nan)], "class 0: a centre"),
        ([some(dtype=np.float64) * 1e300], "class 0: a sigma"),
        ({0: some(), 1: some(tokens=5)}, r"class 1: expected float32\[n, 4, 5\]"),
        ({0: [some(), some(tokens=5)]}, "class 0: no layouts, or layouts of different sizes"),
        ({0: []}, "class 0: no layouts"),
        ({}, "no classes"),
        ([], "no classes"),
        (3, "expected a dict or list by class, got 3"),
        (some(), "expected a dict or list by class, got numpy's"),
        ({0: "name"}, "expected a numpy array, got 'name'"),
        ({0: [[some()]]}, "expected a numpy array, got a list"),
        ({"n01440764": some()}, "expected classes 0, 1, ..., got 'n01440764'"),
        ({-1: some()}, "expected classes"),
        ({0.5: some()}, "expected classes"),
        ({True: some()}, "expected classes"),
        ({np.float32(1): some()}, "expected classes"),
        ({"1": some(), 1: some()}, "class 1 occurs twice"),
    ],
)
def test_bad_layouts_are_refused(tmp_path, content, message):
    refused(written(tmp_path, content), message)


def test_values_on_the_edge_are_read(tmp_path):
    layout = with_value(3, 1.0)
    layout[0, 0, 4] = -1.0
    assert np.array_equal(read_layouts(written(tmp_path, [layout]))[0].numpy(), layout)


# Converted files and the command


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({"0": torch.rand(1, 4, 5)}, None, "header is"),
        ({"0": torch.rand(1, 4, 5)}, {"format": "gpstoken.layouts", "version": "2"}, "expected .* version 1"),
        ({"a": torch.rand(1, 4, 5)}, {}, "expected classes"),
        ({"0": torch.rand(4, 5)}, {}, r"expected float32\[n, 5, 5\]"),
        ({"0": torch.rand(())}, {}, "expected float32"),
        ({"0": torch.rand(1, 4, 5).double()}, {}, "got torch.float64"),
        ({"0": torch.rand(1, 4, 5) + 1}, {}, "a sigma"),
        ({}, {}, "no classes"),
    ],
)
def test_other_safetensors_are_refused(tmp_path, tensors, header, message):
    header = {"format": "gpstoken.layouts", "version": "1"} if header == {} else header
    save_file(tensors, tmp_path / "layouts.safetensors", header)
    refused(tmp_path / "layouts.safetensors", message)


def test_a_damaged_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "layouts.safetensors"
    convert(written(tmp_path, [some()]), path)
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "not a readable file of layouts")


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pickle: no such file; the release has initg\.pickle"):
        read_layouts(tmp_path / "none.pickle")


def test_the_command(tmp_path, capsys):
    target = tmp_path / "layouts.safetensors"
    assert main([str(written(tmp_path, {3: some(2), 8: some()})), str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: 3 layouts of 2 classes\n"
    assert list(read_layouts(target)) == [3, 8]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("none.pickle", "a.safetensors", "none.pickle: no such file"),
        ("bad.pickle", "a.safetensors", "bad.pickle: not a readable file"),
        ("good.pickle", "a.pt", "a.pt: expected a name that ends in .safetensors"),
        ("good.pickle", "nowhere/a.safetensors", "nowhere/a.safetensors: cannot be written"),
    ],
)
def test_the_command_answers_bad_input_in_one_line(tmp_path, monkeypatch, capsys, source, target, message):
    (tmp_path / "bad.pickle").write_bytes(pickle.dumps(Calls(os.system, "touch executed")))
    (tmp_path / "good.pickle").write_bytes(pickle.dumps([some()]))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["released-layouts", source, target]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"gpstoken: {message}") and error.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.pickle", "good.pickle"]
