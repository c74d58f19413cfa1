"""The transformer of patches and latent tokens that encodes and decodes in TiTok and One-D-Piece."""

import torch
from torch import Tensor, nn


class Trunk(nn.Module):
    """A transformer that reads a class token, one token a patch and some latent tokens, with learned positions."""

    def __init__(self, width: int, depth: int, heads: int, patches: int, tokens: int) -> None:
        """Makes the transformer; `tokens` is the most latent tokens."""
        super().__init__()
        scale = width**-0.5
        self.class_token = nn.Parameter(scale * torch.randn(width))
        self.patch_positions = nn.Parameter(scale * torch.randn(1 + patches, width))  # the first is the class token's
        self.token_positions = nn.Parameter(scale * torch.randn(tokens, width))
        self.norm_before = nn.LayerNorm(width)
        settings = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, heads, 4 * width, **settings) for _ in range(depth))
        )
        self.norm_after = nn.LayerNorm(width)

    def forward(self, patches: Tensor, tokens: Tensor) -> Tensor:
        """float[B, patches, width] and float[B, N, width] to float[B, 1 + patches + N, width]."""
        first = self.class_token.expand(len(patches), 1, -1)
        patches = torch.cat([first, patches], dim=1) + self.patch_positions
        tokens = tokens + self.token_positions[: tokens.shape[1]]
        return self.norm_after(self.blocks(self.norm_before(torch.cat([patches, tokens], dim=1))))
