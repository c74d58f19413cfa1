"""U-ViT (Bao et al. 2023) for codes: a transformer whose early blocks have skip connections to its late ones."""

import torch
from timm.layers import Attention, Mlp
from torch import Tensor, nn

INITIAL = 0.02  # deviation of the initial weights


class Block(nn.Module):
    """A pre-norm block, of which a late one first joins its input with the output of an early one."""

    def __init__(self, width: int, heads: int, joined: bool = False) -> None:
        """Makes a block."""
        super().__init__()
        self.skip_linear = nn.Linear(2 * width, width) if joined else None
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, qkv_bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """float[B, N, width], and for a late block the output of the early one, to float[B, N, width]."""
        if self.skip_linear is not None:
            x = self.skip_linear(torch.cat([x, skip], dim=-1))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class UViT(nn.Module):
    """Words to logits of codes; the first word is the class. The names of its parts are the published ones."""

    def __init__(self, words: int, codes: int, length: int, width: int, depth: int, heads: int) -> None:
        """Makes the network.

        Args:
            words: number of different words that it reads.
            codes: number of different codes.
            length: number of codes of an image.
            width: channels.
            depth: number of blocks, odd.
            heads: attention heads.

        Raises:
            ValueError: if the depth is even.
        """
        super().__init__()
        if depth % 2 == 0:
            raise ValueError(f"depth: {depth} is even, but a U-ViT has a block in the middle")
        self.embeddings = nn.Embedding(words, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + length, width))
        self.in_blocks = nn.ModuleList(Block(width, heads) for _ in range(depth // 2))
        self.mid_block = Block(width, heads)
        self.out_blocks = nn.ModuleList(Block(width, heads, joined=True) for _ in range(depth // 2))
        self.norm = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, codes)
        nn.init.normal_(self.pos_embed, std=INITIAL)
        self.apply(_initialise)

    def forward(self, words: Tensor) -> Tensor:
        """A class and codes long[B, 1 + N] to logits float[B, N, codes]."""
        x = self.embeddings(words) + self.pos_embed
        skips = []
        for block in self.in_blocks:
            x = block(x)
            skips.append(x)
        x = self.mid_block(x)
        for block in self.out_blocks:
            x = block(x, skips.pop())  # the last early block is joined with the first late one
        return self.lm_head(self.norm(x)[:, 1:])


def _initialise(part: nn.Module) -> None:
    if isinstance(part, nn.Linear | nn.Embedding):
        nn.init.normal_(part.weight, std=INITIAL)
    if isinstance(part, nn.Linear) and part.bias is not None:
        nn.init.zeros_(part.bias)
