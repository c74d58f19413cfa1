"""Sharding for generators too large for one device: weights, averages and Adam's moments are split among processes.

`--trainer.strategy sharded` is FSDP (PyTorch's `fully_shard`) over all processes. Its last.ckpt is the same as without
sharding, with all tensors complete, so any number of processes can resume from it, sharded or not.
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
    """Shards a module's networks among all processes and writes complete checkpoints.

    Lightning's own strategy numbers the moments of a network with frozen weights differently from a single process.
    """

    def __init__(self) -> None:
        """Takes no argument, because the processes are those of the Trainer."""
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def _setup_distributed(self) -> None:
        super()._setup_distributed()
        self._data_parallel_size = self.world_size

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The complete weights on the first process; every process must call it."""
        assert self.model is not None
        return _whole(self.model.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The complete moments on the first process; every process must call it."""
        state = optimizer.state_dict()
        return state | {"state": {number: _whole(moments) for number, moments in state["state"].items()}}

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Loads this process's share of weights and moments from a complete checkpoint, and returns the checkpoint."""
        assert self.model is not None
        # Memory-mapped, so that the processes of a host share the pages.
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
    """Shards a generator's network among the processes, block by block, in place."""
    if isinstance(generator.network, FSDPModule):
        return
    for part in (*generator.blocks(), generator.network):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)


def keep_whole(network: nn.Module, whole: bool) -> None:
    """Gathers a sharded network on every process, for different numbers of forward passes, or shards it again."""
    for part in network.modules():
        if isinstance(part, FSDPModule):
            part.set_reshard_after_forward(not whole, recurse=False)
            part.unshard() if whole else part.reshard()


def whole_generator(generator: Generator) -> Generator | None:
    """A sharded generator with all weights on the first process, None on the others; every process must call it.

    A generator that is not sharded is returned itself.
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
    """All tensors, gathered one after the other, on the first process's CPU; an empty dict on the others."""
    first, gathered = distributed.get_rank() == 0, {}
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if first:
            gathered[name] = whole.detach().cpu() if isinstance(whole, Tensor) else whole
    return gathered


def _shares(whole: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """This process's shares: every tensor is sharded like the one of the same name in `like`, if the shapes agree."""
    shares = dict(whole)
    for name, tensor in whole.items():
        place = like.get(name)
        if isinstance(place, DTensor) and isinstance(tensor, Tensor) and tensor.shape == place.shape:
            moved = tensor.to(place.device)
            shares[name] = distribute_tensor(moved, place.device_mesh, place.placements, src_data_rank=None)
    return shares
