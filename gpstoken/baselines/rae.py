"""The representation autoencoder RAE (Zheng et al. 2025, "Diffusion Transformers with Representation Autoencoders")."""

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from diffusers import AutoencoderRAE
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from transformers.initialization import no_init_weights

from gpstoken.baselines.fixed_size import FixedSizeTokenizer
from gpstoken.limits import at_least, limits

PREFIX = "autoencoder."
STATISTICS = (f"{PREFIX}_latents_mean", f"{PREFIX}_latents_std")
HEAD = 64  # channels of a head of the encoder


class RepresentationAutoencoder(FixedSizeTokenizer):
    """An image to a grid of features of a frozen encoder, DINOv2 with registers, and back by a trained transformer.

    The defaults are the published model with DINOv2-B and a decoder of ViT-XL's size: 256 tokens of 768 numbers,
    501.64 M parameters, of which 415.06 M are the decoder's. Features are normalised by the mean and deviation of each
    number of each token, which are buffers of the published weights. An image is resized to `encoder_size` for the
    encoder, and decoded at the size of the grid times `patch_size`.

    It only loads published weights. Its encoder was trained on 142 million images, which no training here could
    replace, and on the features of an untrained one the decoder would be another system.

    Attributes:
        autoencoder: the library's network; only its submodules are trained ones.
    """

    @limits(
        encoder_size=at_least(1),
        encoder_patch_size=at_least(1),
        encoder_width=at_least(HEAD),
        encoder_depth=at_least(1, 1000),
        patch_size=at_least(1),
        width=at_least(1),
        depth=at_least(1, 1000),
        heads=at_least(1),
        hidden_width=at_least(1),
    )
    def __init__(
        self,
        encoder_size: int = 224,
        encoder_patch_size: int = 14,
        encoder_width: int = 768,
        encoder_depth: int = 12,
        patch_size: int = 16,
        width: int = 1152,
        depth: int = 28,
        heads: int = 16,
        hidden_width: int = 4096,
    ) -> None:
        """Makes a tokenizer without weights.

        Args:
            encoder_size: side of the images that the encoder is given, in pixels.
            encoder_patch_size: side of a token in those pixels.
            encoder_width: channels of the encoder and numbers per token, a multiple of 64.
            encoder_depth: blocks of the encoder.
            patch_size: side of a token in pixels of the decoded image.
            width: channels of the decoder, a multiple of `heads` and of 4.
            depth: blocks of the decoder.
            heads: attention heads of the decoder.
            hidden_width: channels within the decoder's MLPs.

        Raises:
            ValueError: for sizes that do not divide as stated.
        """
        super().__init__()
        self.config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        for name, value, divisor in (
            ("encoder_size", encoder_size, encoder_patch_size),
            ("encoder_width", encoder_width, HEAD),
            ("width", width, heads),
            ("width", width, 4),
        ):
            if value % divisor:
                raise ValueError(f"{name}: {value} is not a multiple of {divisor}")
        side = encoder_size // encoder_patch_size
        self.image_size, self.shape, self.channels = side * patch_size, (side, side), encoder_width
        # Its first random numbers depend on each other, which networks without weights do not have.
        drawn = no_init_weights() if is_fake(torch.empty(0)) else nullcontext()
        with drawn:
            self.autoencoder = AutoencoderRAE(
                encoder_type="dinov2",
                encoder_hidden_size=encoder_width,
                encoder_patch_size=encoder_patch_size,
                encoder_num_hidden_layers=encoder_depth,
                decoder_hidden_size=width,
                decoder_num_hidden_layers=depth,
                decoder_num_attention_heads=heads,
                decoder_intermediate_size=hidden_width,
                patch_size=patch_size,
                encoder_input_size=encoder_size,
            )
        # The library gives these buffers the shape of its argument, which it writes out number by number.
        self.autoencoder.register_buffer("_latents_mean", torch.zeros(encoder_width, side, side))
        self.autoencoder.register_buffer("_latents_std", torch.ones(encoder_width, side, side))

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to normalised features float[B, C, h, w].

        Raises:
            ValueError: for an image of another size than the decoded one.
        """
        self.code((image.shape[-2], image.shape[-1]))
        return self.autoencoder.encode((image + 1) / 2).latent

    def decode(self, tokens: Tensor) -> Tensor:
        """Normalised features float[B, C, h, w] to float[B, 3, H, W], about [-1, 1] and not clamped.

        Raises:
            ValueError: for features of another shape.
        """
        if tokens.shape[1:] != (shape := (self.channels, *self.shape)):
            raise ValueError(f"latent: expected float[B, {', '.join(map(str, shape))}], got {list(tokens.shape)}")
        return 2 * self.autoencoder.decode(tokens).sample - 1

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """None: training asks for them, before its first update.

        Raises:
            ValueError: always, because the encoder cannot be had by training.
        """
        raise ValueError(f"tokenizer: {type(self).__name__} only loads weights; see `gpstoken published`")

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of weights of diffusers; statistics of channels alone become those of every token."""
        named = {f"{PREFIX}{name}": tensor for name, tensor in tensors.items() if name != "decoder.decoder_pos_embed"}
        for name in STATISTICS:
            if name in named and named[name].numel() in (1, self.channels):
                named[name] = named[name].reshape(-1, 1, 1).expand(self.channels, *self.shape).contiguous()
            elif name in named and named[name].dim() == 4:  # [1, C, h, w]
                named[name] = named[name].flatten(0, 1)
        return named

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's map to pixels."""
        return self.autoencoder.decoder.decoder_pred.weight

    def networks(self) -> list[nn.Module]:
        """Encoder and decoder; the library's network is never called as a whole."""
        return [self.autoencoder.encoder, self.autoencoder.decoder]
