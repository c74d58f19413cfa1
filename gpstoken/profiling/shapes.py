"""Networks with shapes but without numbers, on which counting costs nothing for any size.

torch's fake tensors lie on the meta device but claim to be on the CPU. Plain meta tensors would not work: code that
reads the values of its input, such as the partition, cannot run on them. Here only the weights are fake. The input is
real, and everything computed from it is real until it first meets a weight.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

# Counted is the algorithm of the paper: the dense renderer, with N x grid x C multiply-adds for any image, and the
# networks step by step, without this project's exact rewrites.
DENSE = {"splat_backend": "reference", "fused": False}


def without_weights(make: Callable[..., nn.Module], taken: Iterable[str]) -> nn.Module:
    """The network that `make` makes, with fake weights, in evaluation mode.

    Args:
        make: called with the arguments of `DENSE` that are in `taken`.
        taken: names of the arguments that `make` takes.

    Raises:
        ValueError: whatever `make` raises.
    """
    dense = {name: value for name, value in DENSE.items() if name in taken}
    with FakeTensorMode(allow_non_fake_inputs=True):
        return make(**dense).eval()


@contextmanager
def counting() -> Iterator[None]:
    """Lets fake networks run like real ones, with torch's fused encoder layer, which hides its products, switched off.

    Raises:
        ValueError: if the network needs numbers that fake tensors do not have.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ValueError(f"not countable: the network's operations depend on its values ({error})") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
