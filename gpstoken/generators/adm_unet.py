"""The two networks of ADM (Dhariwal and Nichol, arXiv 2105.05233, section 3): its UNet, and the classifier's half."""

from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from gpstoken.limits import Limit, at_least, each

# Limits of the arguments that both networks share.
UNET: dict[str, Limit] = {
    "image_size": at_least(1),
    "block_out_channels": each(at_least(1)),
    "layers_per_block": at_least(1, 1000),
    "attention_levels": at_least(0),
    "head_channels": at_least(1),
    "norm_num_groups": at_least(1),
    "num_classes": at_least(1),
}


def unet_arguments(
    image_size: int,
    block_out_channels: tuple[int, ...],
    layers_per_block: int,
    attention_levels: int,
    head_channels: int,
    norm_num_groups: int,
) -> dict[str, Any]:
    """The arguments of `diffusers.UNet2DModel` for an ADM.

    Its residual blocks halve and double the sides, and time and class scale and shift their norms.

    Args:
        image_size: side of the images in pixels.
        block_out_channels: channels of each level; the side is halved from each to the next.
        layers_per_block: residual blocks of a level, one more on the way up.
        attention_levels: how many of the last levels have attention.
        head_channels: channels of an attention head.
        norm_num_groups: groups of every group norm.

    Raises:
        ValueError: for sides or channels that are not divisible.
    """
    levels = len(block_out_channels)
    if image_size % 2 ** (levels - 1):
        raise ValueError(f"image_size: expected a multiple of {2 ** (levels - 1)}, got {image_size}")
    for name, divisor in (("norm_num_groups", norm_num_groups), ("head_channels", head_channels)):
        attended = block_out_channels[-max(1, attention_levels) :] if name == "head_channels" else block_out_channels
        if wrong := [channels for channels in attended if channels % divisor]:
            raise ValueError(f"block_out_channels: {wrong[0]} is not a multiple of {name} {divisor}")
    attention = [level >= levels - attention_levels for level in range(levels)]
    return {
        "sample_size": image_size,
        "in_channels": 3,
        "out_channels": 6,
        "block_out_channels": tuple(block_out_channels),
        "layers_per_block": layers_per_block,
        "down_block_types": ["AttnDownBlock2D" if has else "ResnetDownsampleBlock2D" for has in attention],
        "up_block_types": ["AttnUpBlock2D" if has else "ResnetUpsampleBlock2D" for has in reversed(attention)],
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "attention_head_dim": head_channels,
        "norm_num_groups": norm_num_groups,
        "attn_norm_num_groups": norm_num_groups,  # in the middle, where diffusers leaves the norm out by default
        "norm_eps": 1e-5,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }


def start_at_zero(network: nn.Module) -> nn.Module:
    """Sets the last layer of a network and of all its residual and attention blocks to 0, as training starts."""
    for name, module in network.named_modules():
        if name == "conv_out" or name.endswith((".conv2", ".to_out.0")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return network


class ADMNetwork(UNet2DModel):
    """diffusers' UNet, from pixels, times and labels to noise and variance."""

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """float[B, 3, H, W], times 0 to 999 and labels long[B] to float[B, 6, H, W]."""
        return super().forward(x, t, label).sample


class AttentionPool(nn.Module):
    """The mean of all positions attends to all of them and itself, and becomes logits (Radford et al. 2021)."""

    def __init__(self, channels: int, side: int, heads: int, outputs: int) -> None:
        """Makes the pool."""
        super().__init__()
        self.heads = heads
        self.positions = nn.Parameter(torch.randn(side**2 + 1, channels) / channels**0.5)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, side, side] to float[B, outputs]."""
        sequence = x.flatten(2).transpose(1, 2)
        sequence = torch.cat([sequence.mean(1, keepdim=True), sequence], dim=1) + self.positions
        query, key, value = self.qkv(sequence).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Only the first position's result is used.
        pooled = nn.functional.scaled_dot_product_attention(query[:, :, :1], key, value)
        return self.projection(pooled.flatten(1))


class ClassifierNetwork(nn.Module):
    """The way down of an ADM without a class, and an attention pool in place of the way up."""

    def __init__(self, num_classes: int, unet: dict[str, Any]) -> None:
        """Makes the network.

        Args:
            num_classes: number of logits.
            unet: the arguments of `unet_arguments`.
        """
        super().__init__()
        library = UNet2DModel(**unet_arguments(**unet))
        self.time_proj, self.time_embedding = library.time_proj, library.time_embedding
        self.conv_in, self.down_blocks, self.mid_block = library.conv_in, library.down_blocks, library.mid_block
        channels, levels = unet["block_out_channels"][-1], len(unet["block_out_channels"])
        self.norm = nn.GroupNorm(unet["norm_num_groups"], channels)
        side = unet["image_size"] // 2 ** (levels - 1)
        self.pool = AttentionPool(channels, side, channels // unet["head_channels"], num_classes)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """float[B, 3, H, W] and times 0 to 999, long[B], to logits float[B, num_classes]."""
        time = self.time_embedding(self.time_proj(t).to(x.dtype))
        hidden = self.conv_in(x)
        for block in self.down_blocks:
            hidden, _ = block(hidden, time)
        return self.pool(nn.functional.silu(self.norm(self.mid_block(hidden, time))))
