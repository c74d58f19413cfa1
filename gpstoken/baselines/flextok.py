"""FlexTok: an image as an ordered sequence of indices of any length (Bachmann et al. 2025, arXiv 2502.13967)."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from gpstoken.baselines.fixed_size import FixedSizeTokenizer
from gpstoken.baselines.flextok_blocks import FlowDecoder, RegisterEncoder
from gpstoken.baselines.flextok_names import to_own
from gpstoken.baselines.grid import BLOCKS, latent_diffusion_blocks
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.quantisers import FiniteScalars
from gpstoken.baselines.teachers import read_teacher
from gpstoken.flow import SampleNoise, Sampling, guided, sample
from gpstoken.limits import at_least, below_one, each, limits, number, optional, text

NOISE_SEED = 0
DECAY = 0.9  # of the running mean of the latents' deviation


class FlexTok(FixedSizeTokenizer):
    """An image to 1 to `num_tokens` indices, of which each further one adds detail, and back by a rectified flow.

    An autoencoder (f8, 16 channels) makes a latent; a transformer reads it into registers, which are rounded to 64 000
    codes; a second transformer predicts the velocity of a rectified flow from noise to the latent, given the codes. The
    defaults are FlexTok d18-d18 for ImageNet: 949.73 M parameters, 256 tokens, 25 Euler steps with guidance. All images
    start from the same noise, so decoding is a function of the tokens alone.

    Published training has stages: the autoencoder is trained by reconstruction, perceptual, adversarial and KL losses,
    then frozen, and the transformers are trained by the loss of the flow with nested dropout. Here, too: the `teacher`
    is the trained autoencoder, and `forward` in training makes no image but the flow's loss alone.

    * The flow's latents have deviation 1: they are divided by that of the batch, in evaluation by its running mean, 1
      for published weights.
    * The numbers of the registers have mean 0 and deviation 1 over a batch before they are rounded, in evaluation by
      running means, which leave published weights as they are. Without it they may drift to where the rounding's
      hyperbolic tangent is flat; in a training at the laptop scale one code was left.
    * Each image keeps 1, 2, 4, ... or `num_tokens` registers, equally likely. This is one of three published
      distributions; which one each published model was trained with is not known here.

    Left out are the alignment of the decoder's features with DINOv2, whose network is not at hand, adaptive projected
    guidance, and the autoregressive generator, which is not published. Also not known here, and chosen: the share of
    images without a condition, the sinusoid of time (as in SiT), and the order of a patch's numbers.

    Written from descriptions. Licences: published code, EPFL and Apple Sample Code License, non-commercial use only;
    published weights, Apple AMLR, research only.

    Attributes:
        vae: the library's autoencoder, which is not trained; only its submodules are called.
        encoder: latents to registers.
        decoder: the network of the flow.
        deviation: float[], the running mean of the latents' standard deviation.
        register_norm: the running mean and variance of each number of the registers.
        image_size: side of the images in pixels.
    """

    prefixes = True

    @limits(
        image_size=at_least(1),
        **{name: BLOCKS[name] for name in ("block_out_channels", "layers_per_block", "norm_num_groups")},
        latent_channels=at_least(1),
        patch_size=at_least(1),
        width=at_least(1),
        encoder_depth=at_least(1, 1000),
        decoder_depth=at_least(1, 1000),
        heads=at_least(1),
        num_tokens=at_least(1),
        levels=each(at_least(3)),
        steps=at_least(1),
        guidance=number(0),
        null_share=below_one(),
        teacher=optional(text()),
    )
    def __init__(
        self,
        image_size: int = 256,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        latent_channels: int = 16,
        patch_size: int = 2,
        width: int = 1152,
        encoder_depth: int = 18,
        decoder_depth: int = 18,
        heads: int = 18,
        num_tokens: int = 256,
        levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5),
        steps: int = 25,
        guidance: float = 7.5,
        null_share: float = 0.1,
        teacher: str | None = None,
    ) -> None:
        """Makes an untrained tokenizer.

        Args:
            image_size: side of the images in pixels, a multiple of a patch of the latent.
            block_out_channels: width of each level of the autoencoder, finest first; all but the last halve the sides.
            layers_per_block: residual blocks per level of its encoder; its decoder has one more.
            norm_num_groups: groups of its group norms.
            latent_channels: channels of the latent.
            patch_size: side of a patch in cells of the latent.
            width: channels of both transformers, a multiple of `heads`.
            encoder_depth: blocks of the transformer that makes registers.
            decoder_depth: blocks of the transformer of the flow.
            heads: attention heads of both.
            num_tokens: N, the number of registers and the largest number of tokens.
            levels: levels of each number of a register; their product is the size of the codebook.
            steps: Euler steps of decoding, one or, with guidance, two evaluations of the decoder each.
            guidance: scale of classifier-free guidance; 1: none.
            null_share: share of the images that are trained without a condition, for guidance.
            teacher: a trained `KLAutoencoder`, as a checkpoint or an exported file, whose weights take the place of the
                autoencoder's; it is read at the first training step. None: the transformers learn from the latents of
                this tokenizer's own autoencoder, which must have been loaded with trained weights.

        Raises:
            ValueError: if a size does not divide another as stated.
        """
        super().__init__()
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        tuples = {"block_out_channels": tuple(block_out_channels), "levels": tuple(levels)}
        self.config, self.image_size = config | tuples, image_size
        blocks = latent_diffusion_blocks(tuples["block_out_channels"], layers_per_block, norm_num_groups, 0)
        factor = 2 ** (len(tuples["block_out_channels"]) - 1)
        if image_size % (factor * patch_size):
            raise ValueError(f"image_size: expected a multiple of {factor * patch_size} pixels, got {image_size}")
        if width % heads:
            raise ValueError(f"width: expected a multiple of heads={heads}, got {width}")
        grid = image_size // (factor * patch_size)
        self.latent_shape = (latent_channels, grid * patch_size, grid * patch_size)
        self.vae = AutoencoderKL(latent_channels=latent_channels, **blocks).requires_grad_(False)
        self.teacher, self._taught = teacher, False
        self.register_buffer("deviation", torch.ones(()))
        self.quantiser = FiniteScalars(tuples["levels"])
        self.shape, self.codebook_size = (num_tokens,), self.quantiser.size
        parts = (heads, num_tokens, len(tuples["levels"]))
        self.encoder = RegisterEncoder(grid, latent_channels, patch_size, width, encoder_depth, *parts)
        self.register_norm = nn.BatchNorm1d(len(tuples["levels"]), eps=1e-12, affine=False)
        self.decoder = FlowDecoder(grid, latent_channels, patch_size, width, decoder_depth, *parts)

    def posterior(self, image: Tensor) -> DiagonalGaussianDistribution:
        """Mean and variance of the latent of float[B, 3, H, W] in [-1, 1], in float32 at least."""
        parameters = self.vae.encode(image).latent_dist.parameters
        return DiagonalGaussianDistribution(parameters.to(torch.promote_types(parameters.dtype, torch.float32)))

    def registers(self, latent: Tensor, count: int) -> Tensor:
        """The first `count` registers of latents of deviation 1, before they are rounded, float[B, count, levels]."""
        return self.register_norm(self.encoder(latent, count).movedim(2, 1)).movedim(1, 2)

    def encode(self, image: Tensor, num_tokens: int | None = None) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to indices long[B, num_tokens], the same however many are asked for.

        Raises:
            ValueError: for another size than `image_size`, or more tokens than there are.
        """
        count = self.code((image.shape[-2], image.shape[-1]), num_tokens).tokens
        return self.quantiser(self.registers(self.posterior(image).mean / self.deviation, count)).indices

    def decode(self, tokens: Tensor) -> Tensor:
        """Indices long[B, K], K from 1 to N, to float[B, 3, H, W], about [-1, 1] and not clamped.

        Raises:
            ValueError: for anything but indices of that shape.
        """
        most = self.config["num_tokens"]
        if tokens.dim() != 2 or tokens.dtype != torch.long or not 1 <= tokens.shape[1] <= most:
            raise ValueError(f"tokens: expected long[B, 1 to {most}], got {tokens.dtype} {list(tokens.shape)}")
        registers = self.decoder.condition(self.quantiser.entries_of(tokens))
        unknown = self.decoder.null_token.expand_as(registers)

        def velocity(latent: Tensor, time: Tensor, registers: Tensor) -> Tensor:
            # Samplers of this suite go from noise at 0 to data at 1, the published network from 1 to 0.
            return -self.decoder(latent, 1 - time, registers)

        field = guided(velocity, {"registers": registers}, {"registers": unknown}, self.config["guidance"], (0.0, 1.0))
        noise = SampleNoise(NOISE_SEED, [0], self.latent_shape, tokens.device)(0).to(registers.dtype)
        euler = Sampling(sampler="ode", method="euler", steps=self.config["steps"] + 1)  # points, not steps
        latent = sample(field, lambda _: noise.expand(len(tokens), -1, -1, -1), euler)
        return self.vae.decode(latent * self.deviation).sample

    def forward(self, image: Tensor) -> Tensor | None:
        """Reconstructs float[B, 3, H, W]; in training makes no image and keeps the flow's loss for `latent_terms`."""
        if not self.training:
            return super().forward(image)
        self.code((image.shape[-2], image.shape[-1]))
        if self.teacher is not None and not self._taught:
            self._follow(Path(self.teacher))
        with torch.no_grad():
            latent = self.posterior(image).mean
        deviation = latent.std()
        self.deviation.lerp_(deviation, 1 - DECAY)
        known = latent / deviation
        count, most = len(image), self.config["num_tokens"]
        kept = 2 ** torch.randint((most - 1).bit_length() + 1, (count,), device=image.device)
        registers = self.decoder.condition(self.quantiser(self.registers(known, most)).entries, kept.clamp(max=most))
        unknown = torch.rand(count, 1, 1, device=image.device) < self.config["null_share"]
        registers = torch.where(unknown, self.decoder.null_token, registers)
        noise, time = torch.randn_like(known), torch.rand(count, 1, 1, 1, device=image.device, dtype=known.dtype)
        velocity = self.decoder(known.lerp(noise, time), time.flatten(), registers)
        self.terms = {"flow": ((velocity - (noise - known)).square().mean(), 1.0)}
        return None

    def own_names(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a published file under the names of `state_dict`, for a strict load; unknown ones are kept."""
        shapes = {name: tensor.shape for name, tensor in self.state_dict().items()}
        fresh = nn.BatchNorm1d(len(self.config["levels"]), affine=False).state_dict(prefix="register_norm.")
        return {"deviation": torch.ones(())} | fresh | to_own(tensors, shapes)

    def networks(self) -> list[nn.Module]:
        """The submodules of the library's autoencoder, which is never called as a whole, and both transformers."""
        return [*self.vae.children(), self.encoder, self.decoder]

    @property
    def needs_weights(self) -> bool:
        """Whether there is no teacher."""
        return self.teacher is None

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution of the autoencoder's decoder."""
        return self.vae.decoder.conv_out.weight

    @torch.no_grad()
    def _follow(self, path: Path) -> None:
        """Reads the teacher, and takes over its weights."""
        names = ("latent_channels", "block_out_channels", "layers_per_block", "norm_num_groups")
        own = {**{name: self.config[name] for name in names}, "attention_levels": 0}
        teacher = read_teacher(path, KLAutoencoder, own)
        self.vae.load_state_dict(teacher.autoencoder.state_dict())
        self._taught = True
