"""A small autoencoder with the layers and the tensor names of latent diffusion (LDM), for the files of its authors."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, before, 1e-6), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, after, 1e-6), nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return y + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, 1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normal = self.norm(x)
        query, key, value = (each(normal).flatten(2) for each in (self.q, self.k, self.v))
        weights = torch.softmax(query.transpose(1, 2) @ key / x.shape[1] ** 0.5, dim=2)
        return x + self.proj_out((value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:]))


class Level(nn.Module):
    def __init__(self, before: int, after: int, blocks: int, attention: bool, groups: int) -> None:
        super().__init__()
        self.block = nn.ModuleList([Residual(before if i == 0 else after, after, groups) for i in range(blocks)])
        self.attn = nn.ModuleList([Attention(after, groups) for _ in range(blocks if attention else 0)])

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        return x


class Middle(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1, self.attn_1 = Residual(width, width, groups), Attention(width, groups)
        self.block_2 = Residual(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, out: int, widths: tuple[int, ...], blocks: int, groups: int, attention: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(widths[max(i - 1, 0)], width, blocks, i >= len(widths) - attention, groups)
            if i < len(widths) - 1:
                level.downsample = nn.ModuleDict({"conv": nn.Conv2d(width, width, 3, stride=2)})
            self.down.append(level)
        self.mid = Middle(widths[-1], groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], 1e-6)
        self.conv_out = nn.Conv2d(widths[-1], out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            if hasattr(level, "downsample"):
                x = level.downsample["conv"](F.pad(x, (0, 1, 0, 1)))
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int, groups: int, attention: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], groups)
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):  # up[0] is the finest
            before = widths[min(i + 1, len(widths) - 1)]
            level = Level(before, width, blocks + 1, i >= len(widths) - attention, groups)
            if i:
                level.upsample = nn.ModuleDict({"conv": nn.Conv2d(width, width, 3, padding=1)})
            self.up.append(level)
        self.norm_out = nn.GroupNorm(groups, widths[0], 1e-6)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
            if hasattr(level, "upsample"):
                x = level.upsample["conv"](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x)))


class LatentDiffusionAutoencoder(nn.Module):
    """With `codebook` entries (taming), or None: a Gaussian posterior (latent diffusion)."""

    def __init__(
        self, channels: int, widths: tuple[int, ...], blocks: int, groups: int, attention: int, codebook: int | None
    ) -> None:
        super().__init__()
        moments = channels if codebook else 2 * channels
        self.encoder = Encoder(moments, widths, blocks, groups, attention)
        self.decoder = Decoder(channels, widths, blocks, groups, attention)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(moments, moments, 1), nn.Conv2d(channels, channels, 1)
        if codebook:
            self.quantize = nn.ModuleDict({"embedding": nn.Embedding(codebook, channels)})
        for parameter in self.parameters():  # as made, norms and biases are ones and zeros: no test of their order
            parameter.data += 0.1 * torch.randn_like(parameter)

    def encode(self, image: Tensor) -> Tensor:
        """The posterior's mean, or the indices."""
        latent = self.quant_conv(self.encoder(image))
        if not hasattr(self, "quantize"):
            return latent.chunk(2, dim=1)[0]
        distances = (latent.movedim(1, -1)[..., None, :] - self.quantize["embedding"].weight).square().sum(-1)
        return distances.argmin(-1)

    def decode(self, tokens: Tensor) -> Tensor:
        if hasattr(self, "quantize"):
            tokens = self.quantize["embedding"](tokens).movedim(-1, 1)
        return self.decoder(self.post_quant_conv(tokens))


@pytest.fixture
def ldm():
    """`LatentDiffusionAutoencoder` in float64 with seeded weights."""

    def make(*arguments, **options) -> LatentDiffusionAutoencoder:
        torch.manual_seed(0)
        return LatentDiffusionAutoencoder(*arguments, **options).double().eval()

    return make
