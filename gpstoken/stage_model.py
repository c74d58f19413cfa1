"""One trained stage: its network, what its latents are made of, and how it is read from a checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpstoken.checkpoints import below, build, read_plain
from gpstoken.files.records import MAPPING, check_statistics, check_tokenizer
from gpstoken.flow import SampleNoise, Sampling, guided, sample
from gpstoken.flow.fields import PREDICTIONS
from gpstoken.flow.paths import PATHS
from gpstoken.limits import at_least, one_of
from gpstoken.provenance import file_hash
from gpstoken.sit import SiT
from gpstoken.stages import PARTS, denormalise

AVERAGED = "averaged.module."


class StageModel(nn.Module):
    """A network that turns noise into the latents of one stage, and those into tokens.

    Attributes:
        stage: a key of `gpstoken.stages.PARTS`.
        network: the SiT.
        described: the "generator" entry of its checkpoint: configuration, statistics, tokenizer.
        trained: {"steps", "batch_size", "sha256" of the checkpoint}.
        calls: network evaluations so far; rows: samples in them, unconditional ones included.
    """

    def __init__(self, described: dict[str, Any], network: SiT, trained: dict[str, Any]) -> None:
        """See the class."""
        super().__init__()
        self.stage, self.described, self.trained = described["stage"], described, trained
        self.network = network
        self.register_buffer("mean", torch.tensor(described["statistics"]["mean"]))
        self.register_buffer("std", torch.tensor(described["statistics"]["std"]))
        self.calls = self.rows = 0
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> "StageModel":
        """Reads a checkpoint or snapshot of `GeneratorModule`, the averaged (EMA) weights.

        Raises:
            ValueError: if the file is unreadable, of something else, or does not fit its own description.
            FileNotFoundError: if it is not there.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such checkpoint; `gpstoken fit` writes last.ckpt and snapshots/")
        checkpoint = read_plain(path)
        described = check_stage(path, checkpoint)
        network = build(path, SiT, described["network"], below(AVERAGED, checkpoint["state_dict"]))
        if (deviations := len(described["statistics"]["std"])) != (channels := network.config["channels"]):
            raise ValueError(f"{path}: statistics of {deviations} channels, but its network has {channels}")
        trained = {"steps": checkpoint["global_step"], **described["training"], "sha256": file_hash(path)}
        return cls(described, network, trained)

    @property
    def num_classes(self) -> int:
        """Number of classes; the network's label of that number means none."""
        return self.network.num_classes

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        indices: Sequence[int],
        seed: int,
        sampling: Sampling,
        guidance: float = 1.0,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        layout: Tensor | None = None,
    ) -> Tensor:
        """Draws one latent a label and turns it into tokens; see `denormalise` for what is returned.

        Args:
            labels: long[B].
            indices: number of each sample, which its noise depends on.
            seed: of the noise; stages of one sample need different ones.
            sampling: the sampler.
            guidance: scale of classifier-free guidance; 1 is none.
            guidance_interval: times at which there is guidance.
            layout: float[B, N, 5], for the texture stage.
        """
        conditions = {"label": labels} | ({} if layout is None else {"layout": layout})
        null = {"label": torch.full_like(labels, self.num_classes)}
        network = guided(self._counted, conditions, null, guidance, guidance_interval)
        noise = SampleNoise(seed, indices, self.network.sample_shape, self.mean.device)
        latent = sample(network, noise, sampling, self.described["path"], self.described["prediction"])
        return denormalise(self.stage, latent, self.mean, self.std, layout)

    def _counted(self, x: Tensor, t: Tensor, **conditions: Tensor) -> Tensor:
        self.calls += 1
        self.rows += len(x)
        return self.network(x, t, **conditions)


def check_stage(path: Path, checkpoint: Any) -> dict[str, Any]:
    """The "generator" entry of a stage's checkpoint.

    Args:
        path: of the file, for errors.
        checkpoint: what it holds, of `gpstoken.checkpoints.read_plain`.

    Returns:
        {"stage", "network", "path", "prediction", "statistics", "tokenizer", "training"}.

    Raises:
        ValueError: if it is no such checkpoint, or one of its values cannot be.
    """
    described = checkpoint.get("generator") if isinstance(checkpoint, dict) else None
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(described, dict) or not isinstance(weights, dict):
        raise ValueError(f"{path}: not a generator checkpoint of this project (no 'generator' entry or no weights)")
    try:
        at_least(0).check("global_step", checkpoint["global_step"])
        for name, known in (("stage", PARTS), ("path", PATHS), ("prediction", PREDICTIONS)):
            one_of(*known).check(name, described[name])
        for name in ("network", "training"):
            MAPPING.check(name, described[name])
        check_statistics("statistics", described["statistics"])
        check_tokenizer("tokenizer", described["tokenizer"])
    except KeyError as error:
        raise ValueError(f"{path}: no generator checkpoint, or a damaged one (no {error} in it)") from None
    except ValueError as error:
        raise ValueError(f"{path}: no generator checkpoint, or a damaged one ({error})") from None
    return described
