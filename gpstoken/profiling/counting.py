"""Multiply-adds of a call, the share of attention among them, and the parameters that the call reads.

Only products are counted: convolutions, linear layers, matrix products, attention. Norms, activations, interpolation,
pooling and the partition are not products and count as zero.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from gpstoken.base import Generator
from gpstoken.profiling.shapes import counting


@dataclass(frozen=True)
class Counts:
    """Multiply-adds of one call.

    Attributes:
        total: multiply-adds of all operations.
        attention: multiply-adds of the two products of attention, queries by keys and weights by values, in torch's
            attention functions; attention that a network writes out as plain products is not included.
        attention_layers: multiply-adds of torch's attention functions as a whole, with the projections inside them.
    """

    total: int
    attention: int
    attention_layers: int

    def without(self, part: str) -> int:
        """The total without "nothing", "attention" or "attention_layers"."""
        return self.total - (0 if part == "nothing" else getattr(self, part))


def count(call: Callable[[], Any]) -> tuple[Any, Counts, set[int]]:
    """Runs `call` without gradients, on a network with weights or without (see `shapes`).

    Returns:
        (its result, its multiply-adds, `id` of every parameter that it reads).

    Raises:
        ValueError: if the network cannot run without weights.
    """
    with counting(), torch.no_grad(), product_counter() as counter:
        watch = _Watch(counter)
        with watch:
            result = call()
    return result, Counts(counter.get_total_flops() // 2, watch.attention, watch.attention_layers), watch.read


def parameter_counts(network: nn.Module, encoding: set[int], decoding: set[int]) -> dict[str, int]:
    """Parameters by part: those that only encoding reads, only decoding reads, and the others (both or neither).

    Args:
        network: the tokenizer.
        encoding: `id` of the parameters that encoding reads.
        decoding: `id` of the parameters that decoding reads.
    """
    sizes = {id(parameter): parameter.numel() for parameter in network.parameters()}
    parts = {"total": set(sizes), "encoder": encoding - decoding, "decoder": decoding - encoding}
    parts["other"] = parts["total"] - parts["encoder"] - parts["decoder"]
    return {name: sum(sizes.get(one, 0) for one in part) for name, part in parts.items()}


def network_counts(generator: Generator) -> Counts:
    """Multiply-adds of one evaluation of the network of a generator without weights (see `shapes`), for one sample."""
    return count(partial(generator.network, **generator.inputs(1)))[1]


class _Watch(TorchFunctionMode):
    """Observes torch's functions, before they are decomposed into products, and the parameters that they are given."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.counter = counter
        self.attention = self.attention_layers = 0
        self.read: set[int] = set()

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        products = _attention_products(function, args, kwargs)
        before = self.counter.get_total_flops() if products else 0
        result = function(*args, **kwargs)
        if products:
            self.attention += products
            self.attention_layers += (self.counter.get_total_flops() - before) // 2
        # Asking a parameter for its dtype or device is not reading it.
        if isinstance(result, Tensor) or getattr(function, "__name__", "") != "__get__":
            self.read |= {id(value) for value in tree_leaves((args, kwargs)) if isinstance(value, nn.Parameter)}
        return result


def _attention_products(function: Callable, args: tuple, kwargs: dict) -> int:
    """Multiply-adds of the two products if `function` is one of torch's two attention functions, else 0."""
    if function is F.scaled_dot_product_attention:
        query, key, value = (*args, *(kwargs[name] for name in ("query", "key", "value") if name in kwargs))[:3]
        return query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    if function is F.multi_head_attention_forward:  # sequence first: [L, B, width] or [L, width]
        query, key = (*args, *(kwargs[name] for name in ("query", "key") if name in kwargs))[:2]
        return 2 * query.numel() * key.shape[0]
    return 0


def _fused_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _fused_attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch's counter knows all fused attention kernels except the CPU's.
CPU_KERNELS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _fused_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_attention_backward,
}


def product_counter() -> FlopCounterMode:
    """A context whose `get_total_flops()` is twice the multiply-adds that run in it, with or without gradients."""
    return FlopCounterMode(display=False, custom_mapping=CPU_KERNELS)
