"""Training with several processes: the values that they share at every step, for networks that alternate.

Each process has its own samples of a batch. To make the training equal to that of one process with the joint batch, the
processes share the gradients of the network whose turn it is, once per step; the two gradients at the last layer whose
norms determine the adaptive weight; mean and variance of every batch norm, including their gradients; the weights at
the start; and the values written to metrics.csv. All of these are means over processes, because every loss is a mean
over samples and all processes have the same number of samples.
"""

from collections.abc import Iterable
from itertools import groupby

import torch
import torch.distributed as distributed
from lightning import Trainer
from lightning.pytorch.overrides.distributed import _sync_module_states
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

BUCKET = 2**24  # numbers per message; 64 MiB of float32 in addition to the gradients


def process_count() -> int:
    """Number of processes that train together; 1 without distributed training."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Mean of a tensor over all processes, without a gradient; every process must call it, in the same order.

    A single process gets its own tensor back.
    """
    if process_count() == 1:
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)  # a sum, because gloo has no mean
    return total / process_count()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over processes, in buckets; a single process keeps its gradients."""
    if process_count() == 1:
        return
    filled, buckets = 0, []
    for gradient in (parameter.grad for parameter in parameters if parameter.grad is not None):
        buckets.append((filled // BUCKET, gradient))
        filled += gradient.numel()
    for _, bucket in groupby(buckets, key=lambda pair: (pair[0], pair[1].dtype)):
        gradients = [gradient for _, gradient in bucket]
        means = mean_over_processes(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, mean in zip(gradients, means.split([values.numel() for values in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


class _Mean(torch.autograd.Function):
    """`mean_over_processes` with a gradient.

    With L = mean_p L_p over processes p and m = mean_p m_p, each process must add mean_q dL_q/dm to its share of the
    gradient, so that the mean of all shares is the gradient of L: the same operation again.
    """

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, tensor: Tensor) -> Tensor:
        return mean_over_processes(tensor)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return mean_over_processes(gradient)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with training statistics over all processes' samples; `torch.nn.SyncBatchNorm` needs CUDA."""

    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W], of the same shape in every process, to the same shape."""
        if not self.training:
            return super().forward(x)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _Mean.apply(exact.mean((0, 2, 3)))
        centred = exact - mean[:, None, None]
        variance = _Mean.apply(centred.square().mean((0, 2, 3)))
        if self.track_running_stats:
            count = process_count() * x.numel() / x.shape[1]
            self.num_batches_tracked += 1
            for running, value in (
                (self.running_mean, mean),
                (self.running_var, variance * count / max(count - 1, 1)),
            ):
                running.lerp_(value.detach().to(running.dtype), self.momentum)
        normal = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return normal.to(x.dtype)


def share_batch_norms(module: nn.Module) -> None:
    """Turns every `BatchNorm2d` of a module into a `SharedBatchNorm2d`, in place: parameters and buffers stay."""
    for submodule in module.modules():
        if type(submodule) is nn.BatchNorm2d:
            submodule.__class__ = SharedBatchNorm2d


def train_alternating_networks(trainer: Trainer, module: nn.Module) -> None:
    """Prepares a trainer for networks that take turns and average their gradients themselves.

    DistributedDataParallel expects a gradient for every parameter in every backward pass, which alternating networks
    never have. So the module is not wrapped; only its weights are copied from the first process.

    Args:
        trainer: the trainer, before it sets up its strategy, as in `LightningModule.setup`.
        module: the module to train.

    Raises:
        ValueError: if the strategy is neither a single device nor DDP.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy):
        share_batch_norms(module)
        strategy.configure_ddp = lambda: _sync_module_states(strategy.model)
    elif not isinstance(strategy, SingleDeviceStrategy):
        raise ValueError(f"trainer.strategy: a tokenizer is trained with auto or ddp, not {type(strategy).__name__}")
