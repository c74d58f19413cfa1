"""MAETok (Chen et al. 2025): learned queries of a masked autoencoder, without quantisation."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.baselines.latent_queries import (
    NORM,
    SIZES,
    QueryDecoder,
    QueryEncoder,
    QueryTokenizer,
    check_heads,
    renamed,
    vision_transformer,
)
from gpstoken.baselines.rotary_blocks import ModulatedBlock, RotaryBlock, modulation
from gpstoken.limits import above, at_least, limits

# Of the share of masked patches, a normal distribution between its bounds.
LEAST_MASKED, MOST_MASKED, MODE, DEVIATION = 0.4, 0.6, 0.6, 0.25
ORIENTATIONS = 9  # of gradients, over half a turn
HOG_WEIGHT = 1.0


def drawn_share() -> float:
    """Draws the share of patches that training masks."""
    return nn.init.trunc_normal_(torch.empty(1), MODE, DEVIATION, LEAST_MASKED, MOST_MASKED).item()


def oriented_gradients(image: Tensor, cell: int) -> Tensor:
    """Histograms of oriented gradients (Dalal and Triggs 2005), of each channel in each cell, of length 1.

    Args:
        image: float[B, 3, H, W].
        cell: side of a cell in pixels.

    Returns:
        float[B, 27, H / cell, W / cell]; gradients across the border are 0.
    """
    right = F.pad(image[..., 2:] - image[..., :-2], (1, 1))
    down = F.pad(image[..., 2:, :] - image[..., :-2, :], (0, 0, 1, 1))
    angle = torch.atan2(down, right).remainder(math.pi) / math.pi  # in half turns
    bins = (angle * ORIENTATIONS).long().clamp(max=ORIENTATIONS - 1)
    strength = F.one_hot(bins, ORIENTATIONS).movedim(-1, 2) * torch.hypot(right, down)[:, :, None]
    histograms = F.avg_pool2d(strength.flatten(1, 2), cell).unflatten(1, (-1, ORIENTATIONS))
    return F.normalize(histograms, dim=2).flatten(1, 2)


class MAETok(QueryTokenizer):
    """An image to a few vectors, and back, by two vision transformers; training masks about half of the patches.

    The defaults are MAETok-B with 128 tokens of 32 channels: 173.89 M parameters, of which 1.04 M are never called:
    the position embeddings, for which rotations stand in, and in the decoder a patch embedding and a last modulation,
    which would change only positions that are not decoded. They are kept, frozen, because the published weights have
    them. In the published training, auxiliary decoders predict HOG, DINOv2 and CLIP features of the masked patches:
    that of HOG is `hog_depth`, the other two are left out because their networks are not at hand. The second phase,
    which trains the decoder alone, is left out too.

    Attributes:
        hog: the auxiliary decoder; None without one.
        hog_loss: float[], its loss of the last forward pass in training.
    """

    hog_loss: Tensor | None = None

    @limits(**SIZES, layer_scale=above(0), hog_depth=at_least(0, 1000))
    def __init__(
        self,
        image_size: int = 256,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        num_tokens: int = 128,
        channels: int = 32,
        layer_scale: float = 1e-5,
        hog_depth: int = 0,
    ) -> None:
        """Makes an untrained tokenizer.

        Args:
            image_size: side of the image in pixels.
            patch_size: side of a patch in pixels; even, with `hog_depth`.
            width: channels of the transformers; four times the heads divide it.
            depth: blocks of encoder and decoder.
            heads: attention heads.
            num_tokens: N, number of tokens.
            channels: C, numbers per token.
            layer_scale: first factor of what a block of the encoder adds to its input.
            hog_depth: blocks of the auxiliary decoder of training; 0 for none, as in the published weights.

        Raises:
            ValueError: for sizes that do not divide.
        """
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_heads(width, heads, 4)
        if hog_depth and patch_size % 2:
            raise ValueError(f"patch_size: {patch_size} has no half for the cells of HOG")
        block = partial(
            RotaryBlock, width, heads, image_size // patch_size, 1, init_values=layer_scale, norm_layer=NORM
        )
        encoder = vision_transformer(image_size, patch_size, (block() for _ in range(depth)))
        decoder = _decoder(config, depth, 3 * patch_size**2)
        super().__init__(QueryEncoder(encoder, num_tokens, rotary=True, masks=True), decoder, channels)
        self.config = config
        # Two by two cells a patch.
        self.hog = _decoder(config, hog_depth, 3 * 4 * ORIENTATIONS) if hog_depth else None

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float[B, N, C].

        Raises:
            ValueError: for an image of another size.
        """
        return self.latents(image)

    def painted(self, tokens: Tensor) -> Tensor:
        """float[B, N, C] to the numbers of every patch, float[B, P, 3 patch_size²]."""
        return self.decoder(self.from_tokens(tokens), tokens)

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]; training masks some patches of the encoder's input."""
        if not self.training:
            return super().forward(image)
        masked = self.drawn_mask(image)
        tokens = self.latents(image, masked)
        if self.hog is not None:
            self.hog_loss = self._hog_loss(image, tokens, masked)
        return self.decode(tokens)

    def drawn_mask(self, image: Tensor) -> Tensor:
        """The patches to mask of float[B, 3, H, W], bool[B, P]: the same share of each image, drawn for the batch."""
        count = self.decoder.vit.patch_embed.num_patches
        ranks = torch.rand(len(image), count, device=image.device).argsort(1).argsort(1)
        return ranks < round(drawn_share() * count)

    def _hog_loss(self, image: Tensor, tokens: Tensor, masked: Tensor) -> Tensor:
        """Mean squared error of the histograms that are predicted of masked patches."""
        histograms = oriented_gradients(image, self.config["patch_size"] // 2)
        expected = F.pixel_unshuffle(histograms, 2).flatten(2).transpose(1, 2)  # [B, P, 108]
        error = (self.hog(self.from_tokens(tokens), tokens) - expected).square().mean(-1)
        return (error * masked).sum() / masked.sum()  # not error[masked], which cannot be counted without weights

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """The loss of the auxiliary decoder in the last forward pass in training, if there is one."""
        return {} if self.hog is None else {"hog": (self.hog_loss, HOG_WEIGHT)}

    @staticmethod
    def own_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the published file under the names of `state_dict`, the frequencies block by block."""
        own = {}
        for name, tensor in renamed(tensors).items():
            part, _, last = name.rpartition(".")
            if part in ("encoder", "decoder") and last in ("freqs_t_x", "freqs_t_y"):  # coordinates of the grid
                continue
            if name in ("encoder.freqs", "decoder.freqs") and tensor.dim() == 3:  # [2, blocks, width / 2]
                for number, frequencies in enumerate(tensor.unbind(1)):
                    own[f"{part}.vit.blocks.{number}.attn.frequencies"] = frequencies
            else:
                own[name.replace(".adaLN_modulation.", ".modulation.")] = tensor
        return own


def _decoder(config: dict[str, int], depth: int, numbers: int) -> QueryDecoder:
    """A decoder whose blocks start without modulation, and have neither a class token nor norms of their own."""
    image_size, patch_size, width = (config[name] for name in ("image_size", "patch_size", "width"))
    norm = partial(NORM, elementwise_affine=False)
    block = partial(ModulatedBlock, config["channels"], width, config["heads"], image_size // patch_size, 0)
    blocks = (block(norm_layer=norm) for _ in range(depth))
    vit = vision_transformer(image_size, patch_size, blocks, class_token=False, norm=norm)
    vit.norm.modulation = modulation(config["channels"], 2 * width).requires_grad_(False)
    for part in (*vit.blocks, vit.norm):
        for parameter in part.modulation.parameters():
            nn.init.zeros_(parameter)
    return QueryDecoder(vit, config["num_tokens"], numbers, rotary=True)
