"""What each network of the generator models: tokens as normalised latents, and back.

| stage | models | given |
|---|---|---|
| layout | g_init | class |
| texture | (g - g_init, f), the paper's second stage | class, g_init |
| one_stage | (g, f), the paper's baseline without a layout | class |
| grid | the latent of a grid autoencoder, the baseline of SiT | class |

Every channel has mean 0 and deviation 1 over the training set (release: `means`, `stds` of its configuration).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gpstoken.gaussians import MARGIN

# Stage -> the parts of a cached sample whose channels it models, in order.
PARTS = {
    "layout": ("layout",),
    "texture": ("residual", "features"),
    "one_stage": ("geometry", "features"),
    "grid": ("latent",),
}
GEOMETRY = 5  # sigma_x, sigma_y, rho, x, y


def channel_statistics(stage: str, statistics: Mapping[str, Mapping[str, list[float]]]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the channels that a stage models, each float[C].

    Args:
        stage: a key of `PARTS`.
        statistics: {part: {"mean": [...], "std": [...]}} as a token cache records them.

    Raises:
        ValueError: for an unknown stage, or a cache of another kind of tokenizer.
    """
    if stage not in PARTS:
        raise ValueError(f"stage: expected one of {', '.join(PARTS)}, got {stage!r}")
    missing = [part for part in PARTS[stage] if part not in statistics]
    if missing:
        raise ValueError(f"stage {stage}: needs {', '.join(missing)}, but the cache holds {', '.join(statistics)}")
    mean, std = ([value for part in PARTS[stage] for value in statistics[part][key]] for key in ("mean", "std"))
    return torch.tensor(mean), torch.tensor(std)


def data_of(stage: str, batch: Mapping[str, Tensor]) -> Tensor:
    """What a stage models, in the units of the tokens: float[B, N, C], of a grid float[B, C, h, w]."""
    parts = dict(batch)
    if stage == "texture":
        parts["residual"] = batch["geometry"] - batch["layout"]
    return torch.cat([parts[part] for part in PARTS[stage]], dim=channel_axis(stage))


def condition_of(stage: str, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a stage is given, as arguments of the network by name."""
    given = {"label": batch["label"]}
    return given | ({"layout": batch["layout"]} if stage == "texture" else {})


def channel_axis(stage: str) -> int:
    """Axis of the channels: the last of tokens, the second of a grid."""
    return 1 if stage == "grid" else -1


def normalise(stage: str, data: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Tokens to latents of mean 0 and deviation 1."""
    mean, std = (_broadcast(stage, values.to(data)) for values in (mean, std))
    return (data - mean) / std


def denormalise(stage: str, latent: Tensor, mean: Tensor, std: Tensor, layout: Tensor | None = None) -> Tensor:
    """The inverse of `normalise`, and for tokens the release's way back to valid ones.

    The residual is added to the layout, sigma is clamped to [1e-5, 1 - 1e-5] and |rho| to 1 - 1e-5; mu is not clamped.

    Args:
        stage: a key of `PARTS`.
        latent: float[B, N, C] or float[B, C, h, w].
        mean: float[C].
        std: float[C].
        layout: float[B, N, 5], for the texture stage.

    Returns:
        Tokens float[B, N, 5 + C], a layout float[B, N, 5] as it was generated, or a latent of the autoencoder.
    """
    mean, std = (_broadcast(stage, values.to(latent)) for values in (mean, std))
    data = latent * std + mean
    if stage in ("layout", "grid"):
        return data
    geometry, features = data[..., :GEOMETRY], data[..., GEOMETRY:]
    if layout is not None:
        geometry = geometry + layout
    sigma = geometry[..., :2].clamp(MARGIN, 1 - MARGIN)
    rho = geometry[..., 2:3].clamp(MARGIN - 1, 1 - MARGIN)
    return torch.cat([sigma, rho, geometry[..., 3:], features], dim=-1)


def _broadcast(stage: str, values: Tensor) -> Tensor:
    return values[:, None, None] if channel_axis(stage) == 1 else values
