"""Checkpoints: what hostile ones did before it was mended."""

import pytest
import torch

from gpstoken.files.checkpoints import check, read_plain
from gpstoken.files.digests import DIGEST
from gpstoken.loading import load_tokenizer
from tests.faults.hostile.lines import one_line
from tests.faults.hostile.mutations import DEEP
from tests.faults.hostile.seeds import plain_checkpoint


def repeated():
    value = [1.0]
    for _ in range(12):
        value = [value] * 9
    return value


def in_itself():
    value = []
    value.append(value)
    return value


CONTENTS = {
    "one number repeated": lambda: torch.ones(1).expand(10**10),
    "sparse": lambda: torch.sparse_coo_tensor([[0]], [1.0], (10**10,), check_invariants=True),
    "without content": lambda: torch.ones(10**10, device="meta"),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
    "lists that multiply": repeated,
    "in itself": in_itself,
    "deep": lambda: DEEP,
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_small_checkpoint_of_much(tmp_path, content):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": CONTENTS[content]()}, DIGEST: "00"}, path)
    assert path.stat().st_size < 10_000
    with one_line(path):
        read_plain(path)


def test_the_class_of_a_checkpoint_is_said_in_one_line(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(plain_checkpoint() | {"tokenizer": {"class_path": torch.ones(3, 3)}}, path)
    with one_line(path):
        load_tokenizer(path)


def test_weights_of_8_bits_are_refused(tmp_path):
    weights = {"a": torch.ones(2).to(torch.float8_e4m3fn)}
    with one_line("file.ckpt"):
        check("file.ckpt", weights, {"a": torch.ones(2)})
