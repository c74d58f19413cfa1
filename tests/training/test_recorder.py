"""What a test loop records of tokens that are indices, or have indices beside numbers."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from gpstoken.base import Code
from gpstoken.commands.evaluation import _stored
from gpstoken.files.parts import Parts
from gpstoken.training.recorder import SIDES, Recorder


class Pairs(NamedTuple):
    numbers: Tensor
    indices: Tensor


@pytest.mark.parametrize("beside_numbers", [False, True])
def test_the_codes_of_each_image(tmp_path, beside_numbers):
    indices = torch.tensor([[[4, 0], [1, 2]], [[3, 3], [5, 0]]])
    tokens = Pairs(torch.zeros(2, 4, 5), indices.flatten(1)) if beside_numbers else indices
    recorder = Recorder(Parts(tmp_path), {}, SIDES, codes=True)
    image = torch.zeros(2, 3, 4, 4)
    outputs = {"image": image, "reconstruction": image, "tokens": tokens, "columns": {"psnr": torch.tensor([9.0, 8.0])}}
    recorder.on_test_batch_end(None, None, outputs, {"index": torch.tensor([1, 0])})
    recorder.on_test_epoch_end(None, None)
    assert Parts(tmp_path).column("codes").tolist() == [[3, 3, 5, 0], [4, 0, 1, 2]]


def test_stored_tokens_say_their_bits():
    code = Code(56, (56,), 6, 256)
    # five numbers of 8 bits and an index of 8 bits a token, and two float16 for the range of each number
    assert _stored(code, 8) == {"token_bits": 8, "bits": 56 * 48 + 5 * 32}
    assert _stored(code, None) == {}
