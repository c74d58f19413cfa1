"""Vision transformers from an image to learned queries and back, which SoftVQ-VAE and MAETok share."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from gpstoken.baselines.fixed_size import FixedSizeTokenizer
from gpstoken.limits import Limit, at_least

NORM = partial(nn.LayerNorm, eps=1e-6)
# Limits of the arguments that the constructors of these tokenizers share.
SIZES: dict[str, Limit] = {
    "image_size": at_least(1),
    "patch_size": at_least(1),
    "width": at_least(1),
    "depth": at_least(1, 1000),
    "heads": at_least(1),
    "num_tokens": at_least(1),
    "channels": at_least(1),
}
# How the names of the published tensors begin, and ours; at most one applies to a name.
PREFIXES = {
    "encoder.latent_tokens": "encoder.queries",
    "encoder.latent_pos_embed": "encoder.query_positions",
    "encoder.model.": "encoder.vit.",
    "quant_conv.": "to_tokens.",
    "post_quant_conv.": "from_tokens.",
    "decoder.latent_pos_embed": "decoder.query_positions",
    "decoder.model.": "decoder.vit.",
    "decoder.to_pixel.model.": "decoder.head.",
}


def vision_transformer(
    image_size: int,
    patch_size: int,
    blocks: Iterable[Block],
    class_token: bool = True,
    norm: Callable[[int], nn.Module] = NORM,
) -> VisionTransformer:
    """Timm's transformer over the patches of a square image, without a head.

    Args:
        image_size: side of the image in pixels.
        patch_size: side of a patch in pixels.
        blocks: the blocks, of one width.
        class_token: whether a class token stands before the patches.
        norm: makes the last norm from its width.

    Raises:
        ValueError: if the patches do not fill the image.
    """
    if image_size % patch_size:
        raise ValueError(f"image_size: {image_size} is not a multiple of patch_size {patch_size}")
    blocks = nn.Sequential(*blocks)
    width = blocks[0].attn.qkv.in_features
    options = {"num_classes": 0, "global_pool": "", "class_token": class_token, "norm_layer": norm}
    # timm cannot make blocks without weights, which is how networks are counted, so it is given none to make.
    vit = VisionTransformer(image_size, patch_size, embed_dim=width, depth=0, **options)
    vit.blocks = blocks
    vit.init_weights()
    return vit


class QueryEncoder(nn.Module):
    """Learned queries that are appended to the patches of an image, and what becomes of them.

    Attributes:
        vit: the transformer; `vit.pos_embed` stays out of the sum where its blocks rotate by position.
        mask_token: what stands in place of masked patches; None where none are masked.
    """

    def __init__(self, vit: VisionTransformer, num_tokens: int, rotary: bool = False, masks: bool = False) -> None:
        """Makes an encoder around a transformer.

        Args:
            vit: the transformer.
            num_tokens: number of queries.
            rotary: positions are rotations in the blocks, so the position embeddings of patches are not used.
            masks: patches can be masked.
        """
        super().__init__()
        self.vit, self.rotary = vit, rotary
        self.queries, self.query_positions = (_learned(num_tokens, vit.embed_dim) for _ in range(2))
        self.mask_token = _learned(1, vit.embed_dim) if masks else None
        vit.pos_embed.requires_grad_(not rotary)

    def forward(self, image: Tensor, masked: Tensor | None = None) -> Tensor:
        """float[B, 3, H, W] to float[B, N, width]; patches where `masked` bool[B, P] is true are hidden."""
        patches = self.vit.patch_embed(image)
        if masked is not None:
            patches = torch.where(masked[..., None], self.mask_token, patches)
        queries = (self.queries + self.query_positions).expand(len(image), -1, -1)
        hidden = torch.cat((_sequence(self.vit, patches, self.rotary), queries), dim=1)
        for block in self.vit.blocks:
            hidden = block(hidden)
        return self.vit.norm(hidden[:, -queries.shape[1] :])


class QueryDecoder(nn.Module):
    """A mask token for every patch, to which latents are appended, and what becomes of those patches.

    Attributes:
        vit: the transformer; `vit.patch_embed` is not called, but the published weights have it.
        head: width to the numbers of a patch.
    """

    def __init__(self, vit: VisionTransformer, num_tokens: int, numbers: int, rotary: bool = False) -> None:
        """Makes a decoder around a transformer.

        Args:
            vit: the transformer.
            num_tokens: number of latents.
            numbers: numbers of a patch.
            rotary: as in `QueryEncoder`.
        """
        super().__init__()
        self.vit, self.rotary = vit, rotary
        self.mask_token = _learned(1, vit.embed_dim)
        self.query_positions = _learned(num_tokens, vit.embed_dim)
        self.head = nn.Linear(vit.embed_dim, numbers)
        vit.pos_embed.requires_grad_(not rotary)
        vit.patch_embed.requires_grad_(False)

    def forward(self, latents: Tensor, *conditions: Tensor) -> Tensor:
        """float[B, N, width] to float[B, P, numbers]; every block is given the conditions."""
        count = self.vit.patch_embed.num_patches
        patches = _sequence(self.vit, self.mask_token.expand(len(latents), count, -1), self.rotary)
        hidden = torch.cat((patches, latents + self.query_positions), dim=1)
        for block in self.vit.blocks:
            hidden = block(hidden, *conditions)
        first = self.vit.num_prefix_tokens
        return self.head(self.vit.norm(hidden[:, first : first + count]))


class QueryTokenizer(FixedSizeTokenizer):
    """Base of the tokenizers whose tokens are learned queries, read from the patches of an image of one size.

    Attributes:
        encoder: image to queries.
        to_tokens: width to channels.
        from_tokens: channels to width.
        decoder: latents to the pixels of every patch.
    """

    def __init__(self, encoder: QueryEncoder, decoder: QueryDecoder, channels: int) -> None:
        """Makes the two linear maps between an encoder and a decoder of one width."""
        super().__init__()
        width = encoder.vit.embed_dim
        self.image_size, self.shape = encoder.vit.patch_embed.img_size[0], (encoder.queries.shape[1],)
        self.channels = channels
        self.encoder, self.to_tokens = encoder, nn.Linear(width, channels)
        self.from_tokens, self.decoder = nn.Linear(channels, width), decoder

    def latents(self, image: Tensor, *masks: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float[B, N, C], before any quantisation.

        Raises:
            ValueError: for an image of another size.
        """
        self.code((image.shape[-2], image.shape[-1]))
        return self.to_tokens(self.encoder(image, *masks))

    def decode(self, tokens: Tensor) -> Tensor:
        """float[B, N, C] to float[B, 3, H, W], about [-1, 1] and not clamped.

        Raises:
            ValueError: for tokens of another shape or type.
        """
        shape = (*self.shape, self.channels)
        if tokens.shape[1:] != shape or not tokens.is_floating_point():
            raise ValueError(
                f"tokens: expected float[B, {shape[0]}, {shape[1]}], got {tokens.dtype} {list(tokens.shape)}"
            )
        patches = self.painted(tokens)
        rows, side = self.config["image_size"] // self.config["patch_size"], self.config["patch_size"]
        # The numbers of a patch are row, column and channel.
        grid = patches.unflatten(2, (side, side, 3)).unflatten(1, (rows, rows))
        return grid.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    def painted(self, tokens: Tensor) -> Tensor:
        """float[B, N, C] to the numbers of every patch, float[B, P, 3 patch_size²]."""
        return self.decoder(self.from_tokens(tokens))

    @property
    def last_layer(self) -> Tensor:
        """Weight of the linear map to pixels."""
        return self.decoder.head.weight


def check_heads(width: int, heads: int, parts: int = 1) -> None:
    """Checks that the heads divide the width, each head into so many parts.

    Raises:
        ValueError: if not.
    """
    if width % (heads * parts):
        raise ValueError(f"width: {width} is not a multiple of {heads} heads" + (f" x {parts}" if parts > 1 else ""))


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors under this module's names; others keep theirs."""
    own = {}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
        own[PREFIXES.get(prefix, "") + name.removeprefix(prefix)] = tensor
    return own


def _sequence(vit: VisionTransformer, patches: Tensor, rotary: bool) -> Tensor:
    """Patches float[B, P, width] behind the class token, if there is one, with their position embeddings."""
    if vit.cls_token is not None:
        patches = torch.cat((vit.cls_token.expand(len(patches), -1, -1), patches), dim=1)
    return patches if rotary else patches + vit.pos_embed


def _learned(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(1, count, width))
