"""The two transformers of FlexTok: from patches of a latent to registers, and from registers to a flow's velocity."""

import torch
import torch.nn.functional as F
from timm.layers import SwiGLU
from torch import Tensor, nn

from gpstoken.sit_blocks import FinalLayer, TimeEmbedding

EPSILON = 1e-6
TOKEN_DEVIATION = 0.02  # of learned positions and tokens at the start


def standardised(x: Tensor) -> Tensor:
    """Layer norm of float[..., C] without weights, computed in float32 at least."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return F.layer_norm(x.to(wide), x.shape[-1:], eps=EPSILON).to(x.dtype)


def patches_of(latent: Tensor, patch: int) -> Tensor:
    """float[B, C, h, w] to its squares of patch x patch, row-major: float[B, P, C patch²], channel by channel."""
    return F.pixel_unshuffle(latent, patch).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Attention without biases, whose queries and keys are normed in each head and scaled by 8 / head_dim.

    With heads of 64 channels, the published width, that is the usual 1 / sqrt(head_dim).
    """

    def __init__(self, width: int, heads: int) -> None:
        """Makes the layer."""
        super().__init__()
        self.heads, self.scale = heads, 8 * heads / width
        self.wq, self.wk, self.wv, self.proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """float[B, N, width] to the same shape; mask bool[N, N] is true where the query of a row sees a key."""
        parts = (layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.wq, self.wk, self.wv))
        query, key, value = parts
        query, key = standardised(query), standardised(key)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self.scale)
        return self.proj(found.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a SwiGLU MLP, each after a norm without weights."""

    def __init__(self, width: int, heads: int) -> None:
        """Makes the block; the MLP is 2/3 of four times the width."""
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = SwiGLU(width, 8 * width // 3, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """float[B, N, width] to the same shape; `mask` is that of `Attention`."""
        x = x + self.attn(standardised(x), mask)
        return x + self.mlp(standardised(x))


class ModulatedBlock(Block):
    """The block shifted, scaled and gated by a condition (adaLN-zero), with other numbers for patches and registers."""

    def __init__(self, width: int, heads: int) -> None:
        """Makes a block that is the identity until it is trained."""
        super().__init__(width, heads)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * 6 * width))
        nn.init.zeros_(self.adaLN_modulation[1].weight)
        nn.init.zeros_(self.adaLN_modulation[1].bias)

    def forward(self, x: Tensor, condition: Tensor, patches: int) -> Tensor:
        """Patches and then registers, float[B, N, width], and a condition float[B, width], to float[B, N, width]."""
        of_patches, of_registers = self.adaLN_modulation(condition).unflatten(1, (2, 1, 6, -1)).unbind(1)
        counts = (patches, x.shape[1] - patches)
        parts = [of_patches.expand(-1, counts[0], -1, -1), of_registers.expand(-1, counts[1], -1, -1)]
        shift1, scale1, gate1, shift2, scale2, gate2 = torch.cat(parts, dim=1).unbind(2)
        x = x + gate1 * self.attn(standardised(x) * (1 + scale1) + shift1)
        return x + gate2 * self.mlp(standardised(x) * (1 + scale2) + shift2)


class RegisterEncoder(nn.Module):
    """Reads a latent into registers: learned tokens that attend to all patches and to the registers before them.

    Patches do not see registers and registers no later ones, so the first K registers are the same however many follow.
    """

    def __init__(
        self, grid: int, channels: int, patch: int, width: int, depth: int, heads: int, registers: int, outputs: int
    ) -> None:
        """Makes the encoder of latents float[B, channels, grid patch, grid patch]; `outputs` numbers a register."""
        super().__init__()
        self.patch = patch
        self.input = nn.Linear(channels * patch**2, width)
        self.positions = nn.Parameter(TOKEN_DEVIATION * torch.randn(grid**2, width))
        self.registers = nn.Parameter(TOKEN_DEVIATION * torch.randn(registers, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.output = nn.Linear(width, outputs)

    def forward(self, latent: Tensor, count: int) -> Tensor:
        """float[B, C, h, w] to the first `count` registers, float[B, count, outputs]."""
        patches = self.input(patches_of(latent, self.patch)) + self.positions
        x = torch.cat([patches, self.registers[:count].expand(len(patches), -1, -1)], dim=1)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        mask[: patches.shape[1], : patches.shape[1]] = True
        for block in self.blocks:
            x = block(x, mask)
        return self.output(x[:, patches.shape[1] :])


class FlowDecoder(nn.Module):
    """Predicts the velocity of a rectified flow on latents from the latent's patches and the registers.

    Registers that are left out are replaced by a learned token, so the sequence is equally long for any number.
    """

    def __init__(
        self, grid: int, channels: int, patch: int, width: int, depth: int, heads: int, registers: int, inputs: int
    ) -> None:
        """Makes a decoder that predicts zero, for registers of `inputs` numbers; see `RegisterEncoder` for the rest."""
        super().__init__()
        self.grid, self.patch = grid, patch
        self.register_input = nn.Linear(inputs, width)
        self.input = nn.Linear(channels * patch**2, width)
        self.positions = nn.Parameter(TOKEN_DEVIATION * torch.randn(grid**2, width))
        self.register_positions = nn.Parameter(TOKEN_DEVIATION * torch.randn(registers, width))
        self.mask_token = nn.Parameter(TOKEN_DEVIATION * torch.randn(width))
        self.null_token = nn.Parameter(TOKEN_DEVIATION * torch.randn(width))
        self.time = TimeEmbedding(width)
        self.blocks = nn.ModuleList(ModulatedBlock(width, heads) for _ in range(depth))
        self.head = FinalLayer(width, channels * patch**2)
        for layer in (self.head.linear, self.head.adaLN_modulation[1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def condition(self, entries: Tensor, kept: Tensor | None = None) -> Tensor:
        """The registers as `forward` takes them.

        Args:
            entries: float[B, K, inputs], at most as many as there are registers.
            kept: long[B], the number of registers that each image keeps; None: all K.

        Returns:
            float[B, registers, width].
        """
        known = self.register_input(entries.to(self.register_input.weight.dtype))
        if kept is not None:
            ranks = torch.arange(known.shape[1], device=known.device)
            known = torch.where((ranks < kept[:, None])[..., None], known, self.mask_token)
        missing = self.mask_token.expand(len(known), len(self.register_positions) - known.shape[1], -1)
        return torch.cat([known, missing], dim=1)

    def forward(self, latent: Tensor, time: Tensor, registers: Tensor) -> Tensor:
        """The velocity from data at time 0 to noise at time 1.

        Args:
            latent: float[B, C, h, w], (1 - time) data + time noise.
            time: float[B] in [0, 1].
            registers: float[B, registers, width], of `condition`; `null_token` everywhere for no condition.

        Returns:
            float[B, C, h, w], the prediction of noise - data.
        """
        patches = self.input(patches_of(latent, self.patch)) + self.positions
        x, condition = torch.cat([patches, registers + self.register_positions], dim=1), self.time(time)
        for block in self.blocks:
            x = block(x, condition, patches.shape[1])
        values = self.head(x[:, : patches.shape[1]], condition)
        return F.pixel_shuffle(values.transpose(1, 2).unflatten(2, (self.grid, self.grid)), self.patch)
