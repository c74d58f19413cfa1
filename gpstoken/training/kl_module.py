"""How a KL autoencoder is trained: as the other tokenizers, with the divergence of its posterior in the loss."""

from typing import Any

from torch import Tensor

from gpstoken.tokenizer import Tokenizer
from gpstoken.training.tokenizer_module import TokenizerModule


class KLTokenizerModule(TokenizerModule):
    """Trains a `gpstoken.baselines.kl.KLAutoencoder` by the recipe of `TokenizerModule`, plus its divergence.

    Latent diffusion (Rombach et al. 2022, appendix G and its code) minimises, averaged over the images, the sum of
    |x - y| + LPIPS over the 3 H W numbers of an image plus w times the sum of the KL over its latent, w = 1e-6. Here
    the reconstruction is a mean over those numbers; divided by 3 H W the KL has the same share of the loss. (Beside
    their L1, that is: here as in the other rows it stands beside L2.)
    """

    def __init__(self, tokenizer: Tokenizer, kl_weight: float = 1e-6, **options: Any) -> None:
        """Makes the module.

        Args:
            tokenizer: what is trained; it keeps the `divergence` float[B] of its last forward.
            kl_weight: w, the weight of the KL where both are sums.
            **options: see `TokenizerModule`.

        Raises:
            ValueError: for a tokenizer without a posterior.
        """
        super().__init__(tokenizer, **options)
        if not hasattr(tokenizer, "divergence"):
            raise ValueError(f"tokenizer: {type(tokenizer).__name__} has no posterior; TokenizerModule trains it")
        self.kl_weight = kl_weight

    def setup(self, stage: str) -> None:
        """As in `TokenizerModule`."""
        super().setup(stage)
        if self.compile_networks and stage == "fit":
            # The library's autoencoder is never called itself, only its parts are.
            for network in self.tokenizer.autoencoder.children():
                network.compile()

    def autoencoder_terms(self, image: Tensor, adversarial: bool) -> dict[str, Tensor]:
        """Adds w KL / (3 H W) to the loss, and the mean KL of an image to its parts.

        The adaptive weight of the adversarial term is that of the reconstruction alone, as in latent diffusion.
        """
        terms = super().autoencoder_terms(image, adversarial)
        terms["kl"] = self.tokenizer.divergence.mean()
        terms["loss"] = terms["loss"] + self.kl_weight * terms["kl"] / image[0].numel()
        return terms
