"""Limits on the content of a checkpoint: depth and amount of plain data, and tensors backed by real memory."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # torch supports few operations with 8 bits
MAX_DEPTH = 50
MAX_VALUES = 300_000  # lists and tensors, far more than a training checkpoint with its optimizer has
CHEAP = 16  # numbers in a list that count as one
REPEATED = 2**24  # bytes up to which a tensor may be larger than its storage (an expanded number)
SCALARS = {int, float, bool, str, bytes, type(None)}


def check_content(path: Any, content: Any) -> None:
    """Checks that content does not take far more time to traverse, or memory to use, than it took to read.

    Args:
        path: path of the file, for messages.
        content: nested objects, lists and tensors. A list that occurs in many places counts each time; a list that
            contains itself is too deep.

    Raises:
        ValueError: if the content is too deep or too large, a tensor has far more numbers than its storage (one number
            expanded), or a tensor's memory is not plain: sparse, quantized, without content.
    """
    waiting, count = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        if type(value) in SCALARS:
            continue
        count += 1 + (len(value) // CHEAP if isinstance(value, Mapping | list | tuple) else 0)
        if depth > MAX_DEPTH or count > MAX_VALUES:
            limit = (
                f"nested deeper than {MAX_DEPTH}"
                if depth > MAX_DEPTH
                else f"more than {MAX_VALUES:,} lists and tensors"
            )
            raise ValueError(f"{path}: not a readable checkpoint ({limit})")
        if isinstance(value, Tensor):
            if wrong := _wrong(value):
                raise ValueError(f"{path}: not a readable checkpoint (a tensor of {wrong})")
        elif isinstance(value, Mapping):
            waiting += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(part, depth + 1) for part in value]


def _wrong(tensor: Tensor) -> str | None:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or tensor.is_nested:
        return "an unsupported kind: sparse, quantized, nested or without content"
    if tensor.is_complex() or tensor.is_neg():
        return "complex numbers, or a view that is not resolved"
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > max(held, REPEATED):
        return f"{tensor.numel():,} numbers in {held:,} bytes"
    return None
