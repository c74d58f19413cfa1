"""The FID Inception: pooled, spatial and class features in one pass."""

from pathlib import Path

from torch import Tensor, nn

from gpstoken.perceptual import load_inception


class Inception(nn.Module):
    """torch-fidelity's Inception v3 of 2015-12-05, frozen, with the resize of TensorFlow 1.

    Attributes:
        name: "inception".
        label: "Inception".
        dimension: 2048, the width of "pool".
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
        """Stays in eval mode even within a training module: batch statistics would make it another network."""
        return super().train(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Computes features of uint8[B, 3, H, W] of any size.

        Returns:
            "pool": float32[B, 2048], pool3, for FID, KID, precision and recall.
            "spatial": float32[B, 2023], the first 7 channels of the 1x1 branch of Mixed_6d, after its ReLU, at 17x17,
                for sFID (Nash et al. 2021). Positions vary slowest and channels fastest, as TensorFlow flattens: the
                order matters, because it must match that of `mu_s`, `sigma_s` in ADM's files.
            "logits": float32[B, 1008] without the bias of the last layer, for the Inception score, as in the released
                scores, ADM's suite and torch-fidelity.
        """
        seen = []
        hook = self.network.Mixed_6d.branch1x1.register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            pool, logits = self.network(images)
        finally:
            hook.remove()
        spatial = seen[0][:, :7].permute(0, 2, 3, 1).flatten(1).float()
        return {"pool": pool, "spatial": spatial, "logits": logits}
