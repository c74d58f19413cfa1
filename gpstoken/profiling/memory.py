"""Memory of tensors, counted on networks without weights: exact in eager mode, on any machine.

Only tensors are counted: the workspace of kernels, the allocator's gaps and the libraries come on top.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gpstoken.base import Tokenizer
from gpstoken.profiling.shapes import counting

MOMENTS = 2  # moments of Adam, each of a parameter's size


def step_loss(tokenizer: Tokenizer, images: Tensor) -> tuple[Tensor | None, Tensor]:
    """The reconstruction and the loss of a training step without the losses' own networks (LPIPS, discriminator).

    A tokenizer that makes no image in training has None and the terms of its latent.
    """
    reconstruction = tokenizer(images)
    if reconstruction is None:
        return None, sum(weight * value for value, weight in tokenizer.latent_terms(images).values())
    return reconstruction, F.mse_loss(reconstruction.float(), images)


def training_bytes(network: nn.Module, loss: Callable[[], Tensor]) -> dict[str, int]:
    """The memory of a training step at the end of its forward pass and after its first update.

    Args:
        network: a network in training mode, without weights.
        loss: a forward pass to a scalar, here without the loss's own networks (LPIPS, discriminator).

    Returns:
        Bytes of "parameters", "gradients", "moments" (Adam) and "activations" (all that the forward pass saves for the
        backward pass, its input included, each storage once).

    Raises:
        ValueError: if the network cannot run without weights.
    """
    weights = _own_storages(network)
    saved: dict[int, int] = {}
    held = []  # keeps storages alive, so that no address is reused

    def note(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
            held.append(storage)

    with counting(), torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
        loss()
    trained = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    return {
        "parameters": sum(weights.values()),
        "gradients": trained,
        "moments": MOMENTS * trained,
        "activations": sum(saved.values()),
    }


def inference_bytes(network: nn.Module, call: Callable[[], Any], *inputs: Tensor) -> dict[str, int]:
    """The memory of running the network.

    Args:
        network: a network without weights.
        call: the function to run, without gradients.
        inputs: input tensors of `call`, which live as long as it runs.

    Returns:
        Bytes of "parameters" (with buffers) and of "activations", the largest sum of living tensors, inputs included.

    Raises:
        ValueError: if the network cannot run without weights.
    """
    weights = _own_storages(network)
    with counting(), torch.no_grad(), _LivingStorages(set(weights)) as living:
        living.note(inputs)
        call()
    return {"parameters": sum(weights.values()), "activations": living.peak}


class _LivingStorages(TorchDispatchMode):
    """Sums the storages of all tensors that operations return, each from its creation until it is freed."""

    def __init__(self, leave_out: set[int]) -> None:
        super().__init__()
        self.known = leave_out
        self.now = self.peak = 0

    def __torch_dispatch__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.note(result)
        return result

    def note(self, tensors: Any) -> None:
        for tensor in tree_leaves(tensors):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage._cdata not in self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())

    def _freed(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.now -= size


def _own_storages(network: nn.Module) -> dict[int, int]:
    """Address -> bytes of the storages of parameters and buffers."""
    tensors = [*network.parameters(), *network.buffers()]
    return {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
