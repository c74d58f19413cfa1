"""Networks that have shapes and no numbers, in which counting costs nothing whatever their size.

Torch's fake tensors lie on the meta device and say that they are on the CPU. Plain meta tensors would not do: code that
looks at its input, such as our partition, cannot run on them. Here only the weights are fake. The input is real, and
whatever comes of it is real until it first meets a weight.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

# Counted is the algorithm as the paper has it: the renderer dense, N x grid x C multiply-adds whatever the image shows,
# and the networks step by step, without our exact rewrites.
DENSE = {"splat_backend": "reference", "fused": False}


def without_weights(make: Callable[..., nn.Module], taken: Iterable[str]) -> nn.Module:
    """The network that `make` makes, with fake weights, in evaluation mode.

    Args:
        make: called with those of `DENSE` that are in `taken`.
        taken: names of the arguments that it takes.

    Raises:
        ValueError: as `make` does.
    """
    dense = {name: value for name, value in DENSE.items() if name in taken}
    with FakeTensorMode(allow_non_fake_inputs=True):
        return make(**dense).eval()


@contextmanager
def counting() -> Iterator[None]:
    """Within it fake networks run as real ones do: torch's fused encoder layer, which hides what it computes, is off.

    Raises:
        ValueError: if the network asks for numbers that are not there.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ValueError(f"not countable: the network decides by its own numbers ({error})") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
