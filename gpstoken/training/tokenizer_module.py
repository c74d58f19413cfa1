"""Training of a tokenizer: L2 + LPIPS, and from a given step on a PatchGAN in alternating steps."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from gpstoken.limits import limits
from gpstoken.loading import class_path_of, read_fitting
from gpstoken.losses import (
    PatchDiscriminator,
    adaptive_weight,
    generator_loss,
    hinge_discriminator_loss,
    inception_loss,
)
from gpstoken.perceptual import InceptionPool, load_lpips
from gpstoken.tokenizer import Tokenizer
from gpstoken.training.budget import Budget
from gpstoken.training.measured_tokenizer import MeasuredTokenizer
from gpstoken.training.module_limits import TOKENIZER_MODULE
from gpstoken.training.processes import average_gradients, mean_over_processes, train_alternating_networks
from gpstoken.training.recipe import drawn_count, rate_share


class TokenizerModule(MeasuredTokenizer):
    """Trains any `Tokenizer` by the released recipe of GPSToken.

    A step is one optimizer step. Until `adversarial_start` all steps train the autoencoder; from then on even steps
    train the autoencoder and odd steps the discriminator. Batches are {"image": float[B, 3, H, W] in [-1, 1],
    "label": long[B], "index": long[B]}. Several processes train like one with their joint batch, see `processes`.
    """

    @limits(**TOKENIZER_MODULE)
    def __init__(
        self,
        tokenizer: Tokenizer,
        learning_rate: float = 5e-5,
        betas: tuple[float, float] = (0.5, 0.9),
        perceptual_network: str = "vgg16",
        perceptual_weights: str = "data/networks/lpips_vgg16.safetensors",
        perceptual_weight: float = 1.0,
        adversarial_start: int | None = 600_000,
        adversarial_weight: float = 0.3,
        discriminator_channels: int = 64,
        discriminator_levels: int = 3,
        inception_weights: str | None = None,
        inception_weight: float = 0.0,
        accumulate: int = 1,
        compile: bool = False,
        evaluation_networks: dict[str, str] | None = None,
        schedule: str = "constant",
        warmup_steps: int = 0,
        gradient_clip: float | None = None,
        token_range: tuple[int, int] | None = None,
        weights: str | None = None,
        multiply_adds: float | None = None,
    ) -> None:
        """Makes the module; networks are read from their files when training starts.

        Args:
            tokenizer: the tokenizer to train.
            learning_rate: highest learning rate of Adam, for both networks (release 5e-5).
            betas: betas of Adam.
            perceptual_network: trunk of the LPIPS loss, "vgg16" (release) or "alexnet" (a tenth of the time).
            perceptual_weights: file of that trunk, see `gpstoken.perceptual.load_lpips`.
            perceptual_weight: weight of LPIPS; 0 needs no file.
            adversarial_start: first step with a discriminator; None: no discriminator.
            adversarial_weight: factor on the adaptive weight.
            discriminator_channels: width of the discriminator's first layer.
            discriminator_levels: number of its strided levels.
            inception_weights: file of the FID Inception, for `inception_weight` > 0.
            inception_weight: weight of the release's Inception-feature loss; off by default because a model trained
                with it optimises a part of its own rFID (see `gpstoken.losses.inception_loss`).
            accumulate: number of batches whose gradients make one step.
            compile: compile the networks with torch.compile.
            evaluation_networks: {"alexnet" or "vgg16": file} for the LPIPS columns of `test`.
            schedule: the learning rate over the run, "constant" (release) or "cosine" (to zero at the last step).
            warmup_steps: steps at the start over which the learning rate rises linearly.
            gradient_clip: largest norm of the gradient of a step; None: no limit (release).
            token_range: fewest and most tokens of an image of the tokenizer's size; each step draws its number of
                tokens from this range. None: the tokenizer's own number.
            weights: a checkpoint whose tokenizer is the start of the training; None: an untrained one.
            multiply_adds: of the whole training, from which its number of steps follows, see `Budget`; None: the
                trainer's `max_steps`.
        """
        super().__init__(tokenizer, evaluation_networks)
        if inception_weight and inception_weights is None:
            raise ValueError(
                "inception_weights: expected the file of the FID Inception, because inception_weight is above 0"
            )
        if adversarial_start is not None and not tokenizer.last_layer.requires_grad:
            raise ValueError("adversarial_start: expected null, because the tokenizer's last layer is not trained")
        self.automatic_optimization = False
        self.learning_rate, self.betas = learning_rate, betas
        self.perceptual_network, self.perceptual_weights = perceptual_network, perceptual_weights
        self.perceptual_weight = perceptual_weight
        self.adversarial_start, self.adversarial_weight = adversarial_start, adversarial_weight
        self.inception_weights, self.inception_weight = inception_weights, inception_weight
        self.accumulate, self.compile_networks = accumulate, compile
        self.schedule, self.warmup_steps, self.gradient_clip = schedule, warmup_steps, gradient_clip
        self.token_range, self.weights, self.multiply_adds = token_range, weights, multiply_adds
        self.discriminator = (
            None if adversarial_start is None else PatchDiscriminator(discriminator_channels, discriminator_levels)
        )
        self.autoencoder_stepped = False

    @property
    def autoencoder_updates(self) -> int:
        """Number of autoencoder updates so far: all optimizer steps but the discriminator's."""
        steps = self.global_step
        start = steps if self.adversarial_start is None else min(self.adversarial_start, steps)
        return start + (steps + 1) // 2 - (start + 1) // 2

    def setup(self, stage: str) -> None:
        """Reads the frozen networks that the stage needs.

        Raises:
            FileNotFoundError: if a file is missing; the message says how to get it.
            ValueError: for a strategy that cannot train alternating networks.
        """
        if stage == "fit":
            if self._trainer is not None:  # a loss can be computed without a trainer
                train_alternating_networks(self.trainer, self)
            if self.perceptual_weight:
                self._frozen["perceptual"] = load_lpips(self.perceptual_network, self.perceptual_weights)
            if self.inception_weight:
                self._frozen["inception"] = InceptionPool(self.inception_weights)
            if self.weights is not None:
                self.tokenizer.load_state_dict(read_fitting(self.weights, self.tokenizer))
            if self.compile_networks:
                for network in self.tokenizer.networks():
                    network.compile()
        super().setup(stage)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the autoencoder, and for the discriminator if there is one."""
        networks = [self.tokenizer] if self.discriminator is None else [self.tokenizer, self.discriminator]
        trained = [[p for p in network.parameters() if p.requires_grad] for network in networks]
        return [torch.optim.Adam(parameters, lr=self.learning_rate, betas=self.betas) for parameters in trained]

    def configure_callbacks(self) -> list[Callback]:
        """What chooses the number of steps, if there is a number of multiply-adds."""
        return [] if self.multiply_adds is None else [Budget(self.multiply_adds)]

    def on_train_start(self) -> None:
        """Checks that accumulation does not cross epochs, and moves the frozen networks to the device."""
        batches = self.trainer.num_training_batches
        if batches % self.accumulate:
            raise ValueError(f"accumulate: {self.accumulate} does not divide the {batches} batches of an epoch")
        for network in self._frozen.values():
            network.to(self.device)
        if self.trainer.world_size > 1:  # so that each process draws its own noise for latents
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Adds the gradients of one batch, and after `accumulate` batches updates the network whose turn it is."""
        step = self.global_step
        self.check_images(batch)
        adversarial = self.adversarial_start is not None and step >= self.adversarial_start
        turn = 1 if adversarial and step % 2 else 0
        optimizers = self.optimizers()
        optimizer = optimizers[turn] if isinstance(optimizers, list) else optimizers
        if turn:
            terms = self.discriminator_terms(batch["image"])
        else:
            terms = self.autoencoder_terms(batch["image"], adversarial)
        loss = terms.pop("loss")
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss.item()} at step {step}; batch indices {batch['index'].tolist()}; "
                f"terms {', '.join(f'{name} {value.item():.4g}' for name, value in terms.items())}"
            )
        self.manual_backward(loss / self.accumulate)
        self.autoencoder_stepped = False
        if (batch_index + 1) % self.accumulate == 0:
            trained = [p for group in optimizer.param_groups for p in group["params"]]
            average_gradients(trained)
            if self.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(trained, self.gradient_clip)
            share = rate_share(self.schedule, self.warmup_steps, step, self.trainer.estimated_stepping_batches)
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * share
            optimizer.step()
            # The autoencoder's turn leaves gradients in the discriminator, too, so both are reset.
            for used in optimizers if isinstance(optimizers, list) else [optimizers]:
                used.zero_grad()
            self.autoencoder_stepped = not turn
        prefix = "discriminator" if turn else "train"
        self.log_dict({f"{prefix}/loss": loss, **{f"{prefix}/{name}": value for name, value in terms.items()}})

    def check_images(self, batch: dict[str, Tensor]) -> None:
        """Raises a FloatingPointError if an image of a batch is not finite."""
        if not torch.isfinite(batch["image"]).all():
            indices = batch["index"].tolist()
            raise FloatingPointError(f"image is not finite at step {self.global_step}; batch indices {indices}")

    def reconstructed(self, image: Tensor) -> Tensor | None:
        """float32[B, 3, H, W] from the number of tokens that this step draws; None where training makes no image."""
        if self.token_range is None:
            reconstruction = self.tokenizer(image)
            return None if reconstruction is None else reconstruction.float()
        area = image.shape[-2] * image.shape[-1] / self.tokenizer.image_size**2
        count = drawn_count(self.token_range, self.global_step, area)
        return self.tokenizer.decode(self.tokenizer.encode(image, num_tokens=count)).float()

    def autoencoder_terms(self, image: Tensor, adversarial: bool) -> dict[str, Tensor]:
        """Loss of the autoencoder on float[B, 3, H, W]: "loss" and its terms.

        mean[(x - y)^2 + w LPIPS(x, y)] + w_inception L_inception + the terms of the tokenizer's latent + adaptive
        weight * (-mean D(y)); only the mean determines the adaptive weight, as in latent diffusion.
        """
        reconstruction = self.reconstructed(image)
        with torch.autocast(image.device.type, enabled=False):
            parts = {} if reconstruction is None else self._image_terms(reconstruction, image)
            latent = self.tokenizer.latent_terms(image)
            terms = {name: value for name, (value, _) in {**parts, **latent}.items()}
            loss = sum(weight * value for value, weight in parts.values())
            total = sum((weight * value for value, weight in latent.values()), loss)
            if self.inception_weight:
                terms["inception"] = inception_loss(self._frozen["inception"], reconstruction, image)
                total = total + self.inception_weight * terms["inception"]
            if adversarial:
                terms["adversarial"] = generator_loss(self.discriminator(reconstruction))
                last_layer, scale = self.tokenizer.last_layer, self.adversarial_weight
                weight = adaptive_weight(loss, terms["adversarial"], last_layer, scale, mean_over_processes)
                terms["adaptive_weight"] = weight
                total = total + weight * terms["adversarial"]
        return {"loss": total, **terms}

    def _image_terms(self, reconstruction: Tensor, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        if reconstruction.shape != image.shape:
            raise ValueError(f"tokenizer: turned {tuple(image.shape)} into {tuple(reconstruction.shape)}")
        terms = {"l2": (F.mse_loss(reconstruction, image), 1.0)}
        if self.perceptual_weight:
            terms["lpips"] = (self._frozen["perceptual"](reconstruction, image).mean(), self.perceptual_weight)
        return terms

    def discriminator_terms(self, image: Tensor) -> dict[str, Tensor]:
        """Hinge loss of the discriminator on float[B, 3, H, W] and its mean logits."""
        with torch.no_grad():
            reconstruction = self.reconstructed(image)
        real, fake = self.discriminator(image), self.discriminator(reconstruction)
        return {"loss": hinge_discriminator_loss(real, fake), "real": real.mean(), "fake": fake.mean()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds class and arguments as plain data, from which `GPSToken.from_checkpoint` rebuilds the tokenizer."""
        checkpoint["tokenizer"] = {"class_path": class_path_of(self.tokenizer), "init_args": self.tokenizer.config}
