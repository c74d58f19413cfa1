"""The FID Inception: pooled, spatial and class features in one pass."""

from pathlib import Path

from torch import Tensor, nn

from gpstoken.perceptual import load_inception


class Inception(nn.Module):
    """torch-fidelity's Inception v3 of 2015-12-05, with its resize as TensorFlow 1 did it; frozen.

    Attributes:
        name: "inception".
        label: "Inception".
        dimension: 2048, of "pool".
        path: file of the weights.
    """

    name, label, dimension = "inception", "Inception", 2048

    def __init__(self, path: str | Path) -> None:
        """Loads the weights; arguments and errors of `gpstoken.perceptual.load_inception`."""
        super().__init__()
        self.path = Path(path)
        self.network = load_inception(path, ["2048", "logits_unbiased"])
        self.eval()

    def train(self, mode: bool = True) -> "Inception":
        """Stays in eval mode, whatever module it lies in: batch statistics would be another network."""
        return super().train(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of uint8[B, 3, H, W] of any size.

        Returns:
            "pool": float32[B, 2048], pool3, for FID, KID, precision and recall.
            "spatial": float32[B, 2023], the first 7 channels of the 1x1 branch of Mixed_6d, after its ReLU, at 17x17,
                for sFID (Nash et al. 2021). Positions run slowest and channels fastest, as TensorFlow flattens: a
                Fréchet distance is blind to an order that both sides share, but ADM's files of `mu_s`, `sigma_s` are
                one of the sides.
            "logits": float32[B, 1008] without the bias of the last layer, for the Inception score: that is how the
                released scores, ADM's suite and torch-fidelity compute it.
        """
        seen = []
        hook = self.network.Mixed_6d.branch1x1.register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            pool, logits = self.network(images)
        finally:
            hook.remove()
        spatial = seen[0][:, :7].permute(0, 2, 3, 1).flatten(1).float()
        return {"pool": pool, "spatial": spatial, "logits": logits}
