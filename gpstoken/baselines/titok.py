"""TiTok (Yu et al. 2024) and One-D-Piece (Miwa et al. 2025): an image as a short sequence of codes, without a grid."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.baselines.fixed_size import FixedSizeTokenizer
from gpstoken.baselines.grid import BLOCKS, check_groups
from gpstoken.baselines.maskgit import MaskGITAutoencoder, pixel_decoder
from gpstoken.baselines.quantisers import NearestCodes, Terms
from gpstoken.baselines.teachers import read_teacher
from gpstoken.baselines.titok_names import to_own
from gpstoken.baselines.titok_trunk import Trunk
from gpstoken.limits import at_least, flag, limits, optional, text

# Of the cross-entropy of a teacher's codes beside the losses on pixels; the published first stage has it alone.
# At the laptop scale with one seed, the mean squared error ended at 0.233 with 0.1 and at 0.263 with 1.
TEACHER_WEIGHT = 0.1


class TiTok(FixedSizeTokenizer):
    """An image to a sequence of indices of a learned codebook, and back, by two transformers and convolutions.

    The encoder reads patches and learned latent tokens; what becomes of the latent tokens is quantised. The decoder
    reads the codes and, for every patch, a mask token; what becomes of a mask token is a probability for each entry of
    a second codebook, that of MaskGIT's convolutional decoder, which is given the mean entry (TiTok, section 3).

    The defaults are TiTok-B64: 64 tokens of 12 bits, 204.81 M parameters with both codebooks. TiTok-S128 and
    One-D-Piece-S-256 are `experiments/tokenizers/titok_s128.yaml` and `one_d_piece.yaml`.

    The published models were trained in two stages: the transformers to predict the codes of a trained MaskGIT-VAE, and
    then both decoders on pixels with the encoder and its codebook frozen. With a `teacher` training is the first stage,
    here with the losses on pixels, too; without one all parts are trained on pixels, for the second stage with the
    first one's run as `weights` of the training. Left out are the logits of ConvNeXt-S in the second stage's perceptual
    loss and LeCam's regularisation of its adversarial loss. Entries that are hardly used are replaced here.

    Attributes:
        image_size: side of an image in pixels.
        num_tokens: most tokens of an image.
        patches: images in [0, 1] to patches.
        encoder: the transformer of patches and latent tokens.
        quantiser: the codebook.
        decoder: the transformer of mask tokens and codes.
        pixel_codebook: the second codebook, float[pixel_codebook_size, pixel_channels].
        pixel_decoder: its entries to images in [0, 1].
        logits: float[B, H / patch * W / patch, pixel_codebook_size] of the last forward pass in training.
    """

    logits: Tensor

    @limits(
        image_size=at_least(1),
        num_tokens=at_least(1),
        codebook_size=at_least(1),
        channels=at_least(1),
        width=at_least(1),
        depth=at_least(1, 1000),
        heads=at_least(1),
        pixel_codebook_size=at_least(1),
        pixel_channels=at_least(1),
        **{name: BLOCKS[name] for name in ("block_out_channels", "layers_per_block", "norm_num_groups")},
        legacy_layout=flag(),
        tail_drop=flag(),
        teacher=optional(text()),
    )
    def __init__(
        self,
        image_size: int = 256,
        num_tokens: int = 64,
        codebook_size: int = 4096,
        channels: int = 12,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        pixel_codebook_size: int = 1024,
        pixel_channels: int = 256,
        block_out_channels: tuple[int, ...] = (128, 128, 256, 256, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        legacy_layout: bool = True,
        tail_drop: bool = False,
        teacher: str | None = None,
    ) -> None:
        """Makes an untrained tokenizer.

        Args:
            image_size: side of an image in pixels, a multiple of a patch.
            num_tokens: tokens of an image.
            codebook_size: entries of the codebook.
            channels: numbers per entry.
            width: channels of both transformers.
            depth: blocks of each transformer.
            heads: attention heads; divide the width.
            pixel_codebook_size: entries of the second codebook.
            pixel_channels: numbers per entry of the second codebook.
            block_out_channels: width of each level of the convolutional decoder, finest first; each level but the last
                doubles the side lengths, so that one patch has 2 ** (levels - 1) pixels a side.
            layers_per_block: residual blocks per level, and once more at its coarsest end.
            norm_num_groups: groups of every group norm.
            legacy_layout: read the memory of the latent features float[B, num_tokens, width] as if it were
                float[B, width, num_tokens], as the published TiTok models do; One-D-Piece does not.
            tail_drop: keep a random number of first tokens in each batch of the training, so that any prefix can be
                decoded (One-D-Piece, "tail token drop").
            teacher: a trained MaskGIT-VAE, as a checkpoint or an exported file, whose codes the decoder learns to
                predict, and whose codebook and decoder take the place of the second codebook and the convolutional
                decoder and are not trained; it is read at the first training step. None: all parts are trained.

        Raises:
            ValueError: for numbers that do not divide one another as stated.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        self.config = {name: value for name, value in locals().items() if name not in ("self", "__class__", "widths")}
        self.config["block_out_channels"] = widths
        patch = 2 ** (len(widths) - 1)
        check_groups(widths, norm_num_groups)
        if image_size % patch:
            raise ValueError(f"image_size: {image_size} is not a multiple of a patch of {patch} pixels")
        if width % heads:
            raise ValueError(f"width: {width} is not a multiple of heads {heads}")
        self.image_size, self.num_tokens, self.side = image_size, num_tokens, image_size // patch
        self.shape, self.codebook_size, self.prefixes = (num_tokens,), codebook_size, tail_drop
        self.legacy_layout, self.tail_drop, self.teacher = legacy_layout, tail_drop, teacher
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.latent_tokens = nn.Parameter(width**-0.5 * torch.randn(num_tokens, width))
        self.encoder = Trunk(width, depth, heads, self.side**2, num_tokens)
        self.to_codes = nn.Linear(width, channels)
        self.quantiser = NearestCodes(codebook_size, channels, normalised=True)
        self.from_codes = nn.Linear(channels, width)
        self.mask_token = nn.Parameter(width**-0.5 * torch.randn(width))
        self.decoder = Trunk(width, depth, heads, self.side**2, num_tokens)
        self.to_logits = nn.Sequential(
            nn.Linear(width, 2 * width), nn.Tanh(), nn.Linear(2 * width, pixel_codebook_size)
        )
        self.pixel_codebook = nn.Parameter(torch.randn(pixel_codebook_size, pixel_channels))
        self.pixel_decoder = pixel_decoder(widths, pixel_channels, layers_per_block, norm_num_groups)
        if teacher is not None:
            self.pixel_codebook.requires_grad_(False)
            self.pixel_decoder.requires_grad_(False)
        self._teachers: list[MaskGITAutoencoder] = []  # in a list, so that it is no part of this network

    def latents(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to the latents before quantisation, float[B, num_tokens, channels].

        Raises:
            ValueError: for another size than the trained one.
        """
        self.code((image.shape[-2], image.shape[-1]))
        # Repeated, because torch's counter of products does not accept views of parameters, which `expand` makes.
        latents = self.latent_tokens.repeat(len(image), 1, 1)
        patches = self.patches((image + 1) / 2).flatten(2).transpose(1, 2)
        latents = self.encoder(patches, latents)[:, -self.num_tokens :]
        if self.legacy_layout:
            latents = latents.reshape(len(image), -1, self.num_tokens).transpose(1, 2)
        return self.to_codes(latents)

    def logits_of(self, entries: Tensor) -> Tensor:
        """Entries of the codebook float[B, N, channels] to float[B, patches, pixel_codebook_size]."""
        masks = self.mask_token.repeat(len(entries), self.side**2, 1)
        return self.to_logits(self.decoder(masks, self.from_codes(entries))[:, 1 : 1 + self.side**2])

    def image_of(self, logits: Tensor) -> Tensor:
        """float[B, patches, pixel_codebook_size] to float[B, 3, H, W], about [-1, 1] and not clamped."""
        means = logits.softmax(-1) @ self.pixel_codebook
        return 2 * self.pixel_decoder(means.transpose(1, 2).unflatten(2, (self.side, self.side))) - 1

    def encode(self, image: Tensor, num_tokens: int | None = None) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to indices long[B, N] in [0, codebook_size).

        Args:
            image: a batch of images of the trained size.
            num_tokens: N, at most that of the constructor, for a tokenizer with `tail_drop`; None: all.

        Raises:
            ValueError: like `code`.
        """
        count = self.code((image.shape[-2], image.shape[-1]), num_tokens).tokens
        return self.quantiser(self.latents(image)[:, :count]).indices

    def decode(self, tokens: Tensor) -> Tensor:
        """Indices long[B, N] to float[B, 3, H, W], about [-1, 1] and not clamped.

        Raises:
            ValueError: for anything but indices of that shape, or another N than `encode` makes.
        """
        if tokens.dim() != 2 or tokens.dtype != torch.long:
            raise ValueError(f"indices: expected long[B, N], got {tokens.dtype} {list(tokens.shape)}")
        if tokens.shape[1] != self.num_tokens:
            self.code((self.image_size, self.image_size), tokens.shape[1])
        return self.image_of(self.logits_of(self.quantiser.entries_of(tokens)))

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]; in training with the straight-through gradient and `tail_drop`."""
        if not self.training:
            return super().forward(image)
        if self.teacher is not None and not self._teachers:
            self._teachers.append(self._follow(Path(self.teacher)).to(image.device))
        entries, _, self.terms = self.quantiser(self.latents(image))
        if self.tail_drop:
            entries = entries[:, : int(torch.randint(1, self.num_tokens + 1, ()))]
        self.logits = self.logits_of(entries)
        return self.image_of(self.logits)

    def latent_terms(self, image: Tensor) -> Terms:
        """The commitment of the last forward pass in training, and with a teacher the cross-entropy of its codes."""
        if self.teacher is None:
            return super().latent_terms(image)
        codes = self._teachers[0].encode(image)
        value = F.cross_entropy(self.logits.flatten(0, 1).float(), codes.flatten())
        return self.terms | {"teacher": (value, TEACHER_WEIGHT)}

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution."""
        return self.pixel_decoder[-1].weight

    def networks(self) -> list[nn.Module]:
        """The transformers, the layers between them and the convolutional decoder; the codebook changes as it runs."""
        return [child for child in self.children() if child is not self.quantiser]

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a published checkpoint of TiTok or One-D-Piece under the names of `state_dict`."""
        own = to_own(tensors, len(self.config["block_out_channels"]), self.config["layers_per_block"])
        codebook = own.pop("quantize.embedding.weight", None)
        state = {} if codebook is None else self.quantiser.state_of(codebook)
        return own | {f"quantiser.{name}": tensor for name, tensor in state.items()}

    @torch.no_grad()
    def _follow(self, path: Path) -> MaskGITAutoencoder:
        """Reads the teacher, and takes over its codebook and decoder."""
        own = {
            "codebook_size": self.config["pixel_codebook_size"],
            "latent_channels": self.config["pixel_channels"],
            **{name: self.config[name] for name in ("block_out_channels", "layers_per_block", "norm_num_groups")},
        }
        teacher = read_teacher(path, MaskGITAutoencoder, own)
        self.pixel_codebook.copy_(teacher.quantiser.entries)
        self.pixel_decoder.load_state_dict(teacher.decoder.state_dict())
        return teacher
