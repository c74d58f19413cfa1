"""A generator too large for one device: every process keeps a share of the weights, the averages and Adam's moments.

`--trainer.strategy sharded` is FSDP (PyTorch's `fully_shard`) over all processes. What it writes is what a training
that shares nothing writes: one last.ckpt with everything whole, from which as many processes go on, sharded or not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from gpstoken.base import Generator

NAME = "sharded"


class Sharded(ModelParallelStrategy):
    """Shares a module's networks among all processes and writes whole checkpoints.

    Lightning's own numbers the moments of a network with frozen weights otherwise than one process does.
    """

    def __init__(self) -> None:
        """Takes no argument: the processes are those of the Trainer."""
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def _setup_distributed(self) -> None:
        super()._setup_distributed()
        self._data_parallel_size = self.world_size

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The weights, whole, on the first process; every process must ask."""
        assert self.model is not None
        return _whole(self.model.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The moments, whole, on the first process; every process must ask."""
        state = optimizer.state_dict()
        return state | {"state": {number: _whole(moments) for number, moments in state["state"].items()}}

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Takes this process's share of the weights and moments out of a whole checkpoint, and returns the rest."""
        assert self.model is not None
        # Mapped, not read: the processes of a host share the pages.
        checkpoint = torch.load(checkpoint_path, map_location="cpu", mmap=True, weights_only=True)
        self.model.load_state_dict(_shares(checkpoint["state_dict"], self.model.state_dict()))
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            moments = {
                number: _shares(moments, dict.fromkeys(moments, parameters[number]))
                for number, moments in state["state"].items()
            }
            optimizer.load_state_dict(state | {"state": moments})
        return checkpoint


StrategyRegistry.register(NAME, Sharded, description="FSDP over all processes, whole checkpoints")


def shard(generator: Generator, mesh: DeviceMesh) -> None:
    """Has every process keep its share of a generator's network, block by block, in place."""
    if isinstance(generator.network, FSDPModule):
        return
    for part in (*generator.blocks(), generator.network):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)


def keep_whole(network: nn.Module, whole: bool) -> None:
    """Makes a shared network whole on every process, for forward passes of unlike number, or shares it again."""
    for part in network.modules():
        if isinstance(part, FSDPModule):
            part.set_reshard_after_forward(not whole, recurse=False)
            part.unshard() if whole else part.reshard()


def whole_generator(generator: Generator) -> Generator | None:
    """A shared generator with all its weights on the first process, None on the others; every process must ask.

    One that is not shared is given back as it is.
    """
    if not isinstance(generator.network, FSDPModule):
        return generator
    weights = _whole(generator.state_dict())
    if distributed.get_rank() != 0:
        return None
    with torch.device("meta"):
        copy = generator.from_config(generator.config)
    copy.load_state_dict(weights, assign=True)
    return copy


def _whole(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """All of every shared tensor, one after the other, on the first process's CPU; on the others nothing."""
    first, found = distributed.get_rank() == 0, {}
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if first:
            found[name] = whole.detach().cpu() if isinstance(whole, Tensor) else whole
    return found


def _shares(whole: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """This process's share of every tensor that is shared as the one of the same name in `like`, where shapes agree."""
    found = dict(whole)
    for name, tensor in whole.items():
        place = like.get(name)
        if isinstance(place, DTensor) and isinstance(tensor, Tensor) and tensor.shape == place.shape:
            moved = tensor.to(place.device)
            found[name] = distribute_tensor(moved, place.device_mesh, place.placements, src_data_rank=None)
    return found
