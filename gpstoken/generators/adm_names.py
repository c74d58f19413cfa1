"""The names of the tensors in ADM's published files, of its UNet and of its classifier, and those of diffusers."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

# Inside a residual block and an attention block; published -> own.
RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ATTENTION = {"norm": "group_norm", "qkv": "qkv", "proj_out": "to_out.0"}
WHOLE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
POOL = {"out.0": "norm", "out.2.qkv_proj": "pool.qkv", "out.2.c_proj": "pool.projection"}  # of the classifier


def own_names(tensors: Mapping[str, Tensor], unet: Mapping[str, Sequence[int] | int]) -> dict[str, Tensor]:
    """The state dict of `ADMNetwork` or `ClassifierNetwork` of tensors under published names.

    Queries, keys and values of an attention block lie head by head in one convolution, [q, k, v] of each, and become
    three linear maps. In the attention pool of the classifier all queries come first, as here. Unknown names are kept.

    Args:
        tensors: published tensors by name.
        unet: block_out_channels, layers_per_block, attention_levels and head_channels of the network.
    """
    modules = module_names(unet)
    if "out.2.positional_embedding" in tensors:
        modules |= POOL
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "out.2.positional_embedding":
            own["pool.positions"] = tensor.T
            continue
        module, _, kind = name.rpartition(".")
        place = modules.get(module)
        if place is None:
            own[name] = tensor
            continue
        pointwise = re.search(r"\.(qkv|to_out\.0|projection)$", place) is not None
        if pointwise and tensor.dim() == 3:
            tensor = tensor[..., 0]
        if place.startswith("pool.") or not place.endswith(".qkv"):
            own[f"{place}.{kind}"] = tensor
            continue
        heads = tensor.unflatten(0, (-1, 3, int(unet["head_channels"])))
        for part, letter in enumerate("qkv"):
            own[f"{place.removesuffix('qkv')}to_{letter}.{kind}"] = heads[:, part].flatten(0, 1)
    return own


def module_names(unet: Mapping[str, Sequence[int] | int]) -> dict[str, str]:
    """Published name of every module with weights -> its name in diffusers.

    Published blocks are counted through all levels, and a block that halves or doubles the sides counts on the way down
    and is the last part of the block before it on the way up.
    """
    levels, layers = len(unet["block_out_channels"]), int(unet["layers_per_block"])
    attention = [level >= levels - int(unet["attention_levels"]) for level in range(levels)]
    names, block = dict(WHOLE), 0

    def add(published: str, own: str, parts: Mapping[str, str]) -> None:
        names.update({f"{published}.{theirs}": f"{own}.{ours}" for theirs, ours in parts.items()})

    for level, attends in enumerate(attention):
        for layer in range(layers):
            block += 1
            add(f"input_blocks.{block}.0", f"down_blocks.{level}.resnets.{layer}", RESIDUAL)
            if attends:
                add(f"input_blocks.{block}.1", f"down_blocks.{level}.attentions.{layer}", ATTENTION)
        if level < levels - 1:
            block += 1
            add(f"input_blocks.{block}.0", f"down_blocks.{level}.downsamplers.0", RESIDUAL)
    add("middle_block.0", "mid_block.resnets.0", RESIDUAL)
    add("middle_block.1", "mid_block.attentions.0", ATTENTION)
    add("middle_block.2", "mid_block.resnets.1", RESIDUAL)
    for level, attends in enumerate(reversed(attention)):
        for layer in range(layers + 1):
            published = f"output_blocks.{level * (layers + 1) + layer}"
            add(f"{published}.0", f"up_blocks.{level}.resnets.{layer}", RESIDUAL)
            if attends:
                add(f"{published}.1", f"up_blocks.{level}.attentions.{layer}", ATTENTION)
        if level < levels - 1:
            add(f"{published}.{2 if attends else 1}", f"up_blocks.{level}.upsamplers.0", RESIDUAL)
    return names
