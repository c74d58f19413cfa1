"""Registers a pair of compiled kernels as a torch operator: shapes, gradient, autocast and FLOPs."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from gpstoken.gaussians import Gaussians
from gpstoken.splat import reference

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]
DEVICES: dict[str, str] = {}  # device types of the registered operators, by name


def register(
    name: str,
    device: str,
    forward: Callable[[Tensor, Tensor, Tensor, Tensor, int, int, float], Tensor],
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Gradients],
) -> None:
    """Registers gpstoken::splat_NAME and gpstoken::splat_NAME_backward.

    The pair compiles without a graph break, and under autocast its tensors become float32. Second derivatives are
    computed by the reference. FLOPs are those of the equation, with every Gaussian at every pixel: how many a kernel
    skips depends on values, not on shapes.

    Args:
        name: name of the backend.
        device: device type on which the kernels run.
        forward: (mu [B, N, 2], sigma [B, N, 2], rho [B, N], features [B, N, C], height, width, support factor) to the
            feature map [B, C, height, width], contiguous.
        backward: (gradient [B, C, height, width], mu, sigma, rho, features, support factor) to the gradients of mu,
            sigma, rho and features, contiguous.
    """
    DEVICES[name] = device
    # If Triton is missing, the import warns that Triton's kernels cannot be counted, which does not matter here.
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
    from torch.utils.flop_counter import register_flop_formula

    @torch.library.custom_op(f"gpstoken::splat_{name}", mutates_args=(), device_types=device)
    def render(
        mu: Tensor, sigma: Tensor, rho: Tensor, features: Tensor, height: int, width: int, support_factor: float
    ) -> Tensor:
        return forward(mu, sigma, rho, features, height, width, support_factor)

    @torch.library.custom_op(f"gpstoken::splat_{name}_backward", mutates_args=(), device_types=device)
    def render_backward(
        gradient: Tensor, mu: Tensor, sigma: Tensor, rho: Tensor, features: Tensor, support_factor: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return backward(gradient, mu, sigma, rho, features, support_factor)

    @render.register_fake
    def _(mu, sigma, rho, features, height, width, support_factor):
        return features.new_empty(features.shape[0], features.shape[2], height, width)

    @render_backward.register_fake
    def _(gradient, mu, sigma, rho, features, support_factor):
        return tuple(
            torch.empty_like(value, memory_format=torch.contiguous_format) for value in (mu, sigma, rho, features)
        )

    def keep(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.support_factor = inputs[-1]

    def differentiate(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
        # A backward pass within autocast must not round the gradient of the geometry.
        with torch.autocast(gradient.device.type, enabled=False):
            return *render_backward(gradient, *context.saved_tensors, context.support_factor), None, None, None

    def keep_for_second(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Gradients) -> None:
        ctx.save_for_backward(*inputs[:5])
        ctx.support_factor = inputs[-1]

    def differentiate_again(context: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple:
        gradient, *values = context.saved_tensors

        def first(gradient: Tensor, *values: Tensor) -> Gradients:
            def render_equation(*values: Tensor) -> Tensor:
                return reference.splat(Gaussians(*values[:3]), values[3], gradient.shape[2:], context.support_factor)

            return torch.func.vjp(render_equation, *values)[1](gradient)

        with torch.autocast(gradient.device.type, enabled=False):
            return *torch.func.vjp(first, gradient, *values)[1](gradients), None

    render.register_autograd(differentiate, setup_context=keep)
    render_backward.register_autograd(differentiate_again, setup_context=keep_for_second)
    render.register_autocast(device, torch.float32)

    @register_flop_formula(getattr(torch.ops.gpstoken, f"splat_{name}"))
    def _(mu, sigma, rho, features, height, width, support_factor, out_shape=None) -> int:
        batch, num_tokens, channels = features
        return 2 * batch * num_tokens * channels * height * width

    @register_flop_formula(getattr(torch.ops.gpstoken, f"splat_{name}_backward"))
    def _(gradient, mu, sigma, rho, features, support_factor, out_shape=None) -> int:
        batch, num_tokens, channels = features
        return 4 * batch * num_tokens * channels * gradient[2] * gradient[3]


def operator(name: str, features: Tensor) -> Callable[[Gaussians, Tensor, tuple[int, int], float], Tensor]:
    """The registered renderer, with the arguments of `gpstoken.splat.reference.splat`.

    Raises:
        ValueError: if it does not support the device of the features.
    """
    if features.device.type != DEVICES[name]:
        raise ValueError(f"splat: backend {name!r} needs tensors on {DEVICES[name]!r}, got {features.device}")
    operator = getattr(torch.ops.gpstoken, f"splat_{name}")

    def splat(gaussians: Gaussians, features: Tensor, size: tuple[int, int], support_factor: float) -> Tensor:
        if not torch.compiler.is_compiling() and _transformed(gaussians.mu, gaussians.sigma, gaussians.rho, features):
            return reference.splat(gaussians, features, size, support_factor)
        return operator(gaussians.mu, gaussians.sigma, gaussians.rho, features, *size, float(support_factor))

    return splat


def _transformed(*tensors: Tensor) -> bool:
    """Whether a transform of torch.func (jvp, grad, vmap, ...) is active, or a tensor has a forward-mode tangent.

    torch has no such derivatives of custom operators: for some it raises an error, and in forward mode it assumes zero.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    return any(torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)
