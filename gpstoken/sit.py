"""The network of all flow generators: a transformer conditioned on time, class (both through its norms) and layout."""

import math
from pathlib import Path
from typing import Any

import torch
import yaml
from timm.layers import PatchEmbed
from torch import Tensor, nn

from gpstoken.files import checkpoints
from gpstoken.limits import at_least, each, flag, limits
from gpstoken.sit_blocks import Block, FinalLayer, TimeEmbedding, sine_cosine_positions

PRESETS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("sit_presets.yaml").read_text())


class SiT(nn.Module):
    """A transformer for sequences of tokens and for grids, conditioned on time, class and, for sequences, a layout.

    Modules and parameter names are those of DiT and SiT (Ma et al. 2024), so that their checkpoints load; the layout
    slot is that of the paper's texture generator: the embedded layout replaces the position embeddings, so that the
    network does not depend on the order of the tokens. `sample_shape` is the shape of x without its batch dimension.
    """

    @limits(
        channels=at_least(1),
        shape=each(at_least(1)),
        patch_size=at_least(1),
        width=at_least(1),
        depth=at_least(0, 1000),
        heads=at_least(1),
        num_classes=at_least(1),
        layout_channels=at_least(0),
        **dict.fromkeys(("qk_norm", "learn_sigma", "fixed_positions"), flag()),
    )
    def __init__(
        self,
        channels: int,
        shape: tuple[int, ...],
        patch_size: int = 1,
        width: int = 1152,
        depth: int = 28,
        heads: int = 16,
        num_classes: int = 1000,
        layout_channels: int = 0,
        qk_norm: bool = False,
        learn_sigma: bool = True,
        fixed_positions: bool = False,
    ) -> None:
        """Makes a network that predicts zero; the defaults are SiT-XL.

        Args:
            channels: C, channels of a token or of a grid cell.
            shape: (N,) for a sequence, (h, w) for a grid.
            patch_size: consecutive tokens, or cells along a side, that become one position of the transformer.
            width: channels of the transformer.
            depth: number of blocks.
            heads: attention heads.
            num_classes: number of classes; the label `num_classes` means no class.
            layout_channels: channels per token of a layout, 5; 0 for a network without a layout.
            qk_norm: normalise queries and keys (not in SiT; stabilises training in bf16).
            learn_sigma: use twice the output channels and drop the second half, as in the official weights.
            fixed_positions: keep the position embeddings of a sequence sines and cosines (SoftVQ-VAE, MAETok), as those
                of a grid always are.

        Raises:
            ValueError: for numbers that are not divisible, or a layout combined with a grid or patches.
        """
        super().__init__()
        shape = tuple(shape)
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if len(shape) not in (1, 2) or any(size % patch_size for size in shape):
            raise ValueError(f"shape: expected (N,) or (h, w) of multiples of patch_size {patch_size}, got {shape}")
        if width % heads or width % (2 * len(shape)):
            raise ValueError(f"width: {width} is not a multiple of heads {heads} and of {2 * len(shape)}")
        if layout_channels and (len(shape) == 2 or patch_size > 1):
            raise ValueError(f"layout_channels: needs a sequence and patch_size 1, got {shape} and {patch_size}")
        self.config, self.num_classes = config, num_classes
        self.shape, self.channels, self.layout_channels = shape, channels, layout_channels
        self.sample_shape = (*shape, channels) if len(shape) == 1 else (channels, *shape)
        self.patch = (patch_size, patch_size) if len(shape) == 2 else (patch_size, 1)
        self.cells = (shape[0] // self.patch[0], shape[1] // self.patch[1] if len(shape) == 2 else 1)
        self.x_embedder = PatchEmbed((*shape, 1)[:2], self.patch, channels, width)
        self.t_embedder = TimeEmbedding(width)
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(num_classes + 1, width)})
        # With a layout it is unused, but kept for the release's names, and frozen: DDP waits for every gradient.
        trained = len(shape) == 1 and not layout_channels and not fixed_positions
        self.pos_embed = nn.Parameter(torch.empty(1, math.prod(self.cells), width), requires_grad=trained)
        if layout_channels:
            self.cond_embedder = nn.Sequential(nn.Linear(layout_channels, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, heads, qk_norm) for _ in range(depth))
        self.final_layer = FinalLayer(width, math.prod(self.patch) * channels * (2 if learn_sigma else 1))
        self._initialise()

    def _initialise(self) -> None:
        """DiT's initialisation (section 3.2 and its code): every block starts as the identity, the output as zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.x_embedder.proj.weight.view(self.config["width"], -1))
        nn.init.zeros_(self.x_embedder.proj.bias)
        for embedding in (self.y_embedder["embedding_table"], self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            nn.init.normal_(embedding.weight, std=0.02)
        for layer in (*self.blocks, self.final_layer):
            nn.init.zeros_(layer.adaLN_modulation[1].weight)
        nn.init.zeros_(self.final_layer.linear.weight)
        with torch.no_grad():
            self.pos_embed.copy_(sine_cosine_positions(self.cells[: len(self.shape)], self.config["width"]))

    @classmethod
    def from_preset(cls, preset: str, **overrides: Any) -> "SiT":
        """Builds an untrained network of `sit_presets.yaml`, such as "sit_xl_2" or "gpstoken_texture".

        Raises:
            ValueError: for an unknown preset.
        """
        if preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
        return cls(**{**PRESETS[preset], **overrides})

    @classmethod
    def from_pretrained(cls, path: str | Path, preset: str, **overrides: Any) -> "SiT":
        """Loads a network with released weights, in evaluation mode.

        Args:
            path: a safetensors file (the paper's texture generator; averaged weights are used if there are any), or an
                official .pt file of DiT, SiT or one of their training runs, whose averaged weights are used.
            preset: preset of the network in the file.
            overrides: arguments that differ from the preset.

        Raises:
            ValueError: for an unknown preset, an unreadable file, or naming the first tensor that differs.
        """
        network = cls.from_preset(preset, **overrides)
        read = checkpoints.read_released if Path(path).suffix == ".safetensors" else checkpoints.read_official
        network.load_state_dict(read(path, network.state_dict()))
        return network.eval()

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor, layout: Tensor | None = None, tap: int | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Predicts the field of the path, such as a velocity.

        Args:
            x: float[B, N, C] for a sequence, float[B, C, h, w] for a grid.
            t: float[B] in [0, 1], 0 noise and 1 data.
            label: long[B] in [0, num_classes]; num_classes for no class.
            layout: float[B, N, layout_channels], raw: (sigma_x, sigma_y, rho, x, y). Without it the position
                embeddings are used.
            tap: number of a block, from 1, whose output is returned too; None: none is.

        Returns:
            float with the shape of `x`; with `tap`, that and float[B, positions, width].

        Raises:
            ValueError: for tensors of another shape.
        """
        axis = -1 if len(self.shape) == 1 else 1
        values, tapped = self.all_channels(x, t, label, layout, tap)
        field = values.narrow(axis, 0, self.channels)
        return field if tap is None else (field, tapped)

    def all_channels(
        self, x: Tensor, t: Tensor, label: Tensor, layout: Tensor | None = None, tap: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """All values, of which `forward` keeps half with `learn_sigma`, and the tokens after the block `tap`."""
        if x.shape[1:] != self.sample_shape:
            raise ValueError(f"x: expected samples of shape {self.sample_shape}, got {tuple(x.shape[1:])}")
        wanted = (len(x), *self.shape, self.layout_channels) if self.layout_channels else None
        if layout is not None and layout.shape != wanted:
            raise ValueError(f"layout: expected {wanted or 'none'}, got one of shape {tuple(layout.shape)}")
        positions, sequence = self.pos_embed if layout is None else self.cond_embedder(layout), len(self.shape) == 1
        hidden = self.x_embedder(x.transpose(1, 2)[..., None] if sequence else x) + positions
        condition = self.t_embedder(t) + self.y_embedder["embedding_table"](label)
        tapped = hidden
        for number, block in enumerate(self.blocks, 1):
            hidden = block(hidden, condition)
            tapped = hidden if number == tap else tapped
        patches = self.final_layer(hidden, condition)  # values of a patch: row, column, channel
        grid = patches.unflatten(1, self.cells).unflatten(-1, (*self.patch, -1))
        grid = grid.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)  # [B, C, h, w]
        return grid[..., 0].transpose(1, 2) if sequence else grid, tapped
