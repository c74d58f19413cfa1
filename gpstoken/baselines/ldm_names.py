"""The names of an autoencoder's tensors in files of latent diffusion and taming (LDM), and their diffusers names."""

import re
from collections.abc import Mapping

from torch import Tensor

# LDM -> diffusers, applied in order; a name that matches no rule is kept. LDM numbers the levels of the decoder in
# reverse; `to_diffusers` turns them round.
LDM_NAMES = [
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"^encoder\.down\.(\d+)\.", r"encoder.down_blocks.\1."),
    (r"^decoder\.up\.(\d+)\.", r"decoder.up_blocks.\1."),
    (r"(_blocks\.\d+)\.block\.", r"\1.resnets."),
    (r"(_blocks\.\d+)\.attn\.", r"\1.attentions."),
    (r"(_blocks\.\d+)\.downsample\.", r"\1.downsamplers.0."),
    (r"(_blocks\.\d+)\.upsample\.", r"\1.upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
]
# The names that diffusers itself wrote until 2023.
OLD_NAMES = [
    (r"(\.attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(\.attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(\.attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(\.attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
]


def to_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts an autoencoder's tensors to the names and shapes of current diffusers.

    LDM's attention projects by 1x1 convolutions, diffusers' by matrices.

    Args:
        tensors: under the names of LDM, of old diffusers, or of current diffusers, which are kept.
    """
    levels = [int(match[1]) for name in tensors if (match := re.match(r"decoder\.up\.(\d+)\.", name))]
    from_ldm = bool(levels) or any(name.startswith("encoder.down.") for name in tensors)
    renamed = {}
    for name, tensor in tensors.items():
        if match := re.match(r"decoder\.up\.(\d+)\.", name):
            name = f"decoder.up.{max(levels) - int(match[1])}.{name[match.end() :]}"
        for pattern, replacement in [*LDM_NAMES, *OLD_NAMES] if from_ldm else OLD_NAMES:
            name = re.sub(pattern, replacement, name)
        if ".attentions." in name and tensor.shape[2:] == (1, 1):
            tensor = tensor[:, :, 0, 0]
        renamed[name] = tensor
    return renamed
