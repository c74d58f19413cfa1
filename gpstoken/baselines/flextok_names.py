"""The names of FlexTok's tensors in published files, and its own."""

import re
from collections.abc import Mapping

from torch import Size, Tensor

from gpstoken.baselines.ldm_names import to_diffusers

CONSTANTS = "regularizer."  # of the quantiser, which computes them
VAE = r"vae\.(?:\w+\.)*?((?:encoder|decoder|quant_conv|post_quant_conv)\..+)"
TRUNK = r"(encoder|decoder)\.(?:module_dict\.)?(.+)"
BLOCK = r"(?:.+\.)?(blocks\.\d+\..+)"
GATES = {".mlp.w1.": ".mlp.fc1_g.", ".mlp.w3.": ".mlp.fc1_x.", ".mlp.w2.": ".mlp.fc2."}  # Llama's names of SwiGLU
# Words in the names of tensors that have the same shape, and the end of the own name; else it is the positions.
WORDS = {"mask": ("mask_token",), "null": ("null_token",), "reg": ("registers", "register_positions")}


def to_own(tensors: Mapping[str, Tensor], shapes: Mapping[str, Size]) -> dict[str, Tensor]:
    """Converts the tensors of a published file to the names and shapes of `FlexTok`.

    The parts of each transformer lie in a dictionary of modules whose keys depend on the configuration of that file.
    The blocks are found by the word "blocks", layers by the shape of their weight, which no other layer of that
    transformer has, and the other tensors by a word in their name.

    Args:
        tensors: `vae.*` as the library or latent diffusion names it, `encoder.module_dict.*`, `decoder.module_dict.*`,
            `regularizer.*`; own names are kept.
        shapes: the shapes of the own tensors by name.

    Returns:
        Tensors by name; unknown ones under the names that they had.
    """
    vae, renamed, biases = {}, {}, {}
    for name, tensor in tensors.items():
        if name.startswith(CONSTANTS):
            continue
        if found := re.fullmatch(VAE, name):
            vae[found[1]] = tensor
            continue
        own = name if name in shapes else _own_name(name, tensor, shapes)
        if own in renamed:  # two candidates: the second keeps its name, so that a strict load names it
            own = name
        if name.endswith(".weight") and ".blocks." not in own and own in shapes:
            biases[name.removesuffix("weight") + "bias"] = own.removesuffix("weight") + "bias"
        same_size = own in shapes and tensor.numel() == shapes[own].numel()
        renamed[own] = tensor.reshape(shapes[own]) if same_size else tensor
    renamed = {biases.get(name, name): tensor for name, tensor in renamed.items()}
    return {f"vae.{name}": tensor for name, tensor in to_diffusers(vae).items()} | renamed


def _own_name(name: str, tensor: Tensor, shapes: Mapping[str, Size]) -> str:
    trunk = re.fullmatch(TRUNK, name)
    if trunk is None:
        return name
    prefix, rest = trunk[1], trunk[2]
    if block := re.fullmatch(BLOCK, rest):
        own = f"{prefix}.{block[1]}"
        for theirs, ours in GATES.items():
            own = own.replace(theirs, ours)
        return own
    others = [one for one in shapes if one.startswith(f"{prefix}.") and ".blocks." not in one]
    if rest.endswith(".weight"):
        fitting = [one for one in others if one.endswith(".weight") and shapes[one] == tensor.shape]
    else:
        ends = next((ends for word, ends in WORDS.items() if word in rest), ("positions",))
        fitting = [one for one in others if one.removeprefix(f"{prefix}.") in ends]
    return fitting[0] if len(fitting) == 1 else name
