"""The names of FlexTok's tensors in published files, and its own."""

import re
from collections.abc import Mapping

from torch import Size, Tensor

from gpstoken.baselines.ldm_names import to_diffusers

CONSTANTS = "regularizer."  # of the quantiser, which computes them
VAE = r"vae\.(?:\w+\.)*?((?:encoder|decoder|quant_conv|post_quant_conv)\..+)"
BLOCK = r"(?:encoder|decoder)\.(?:.+\.)?(blocks\.\d+\..+)"
GATES = {".mlp.w1.": ".mlp.fc1_g.", ".mlp.w3.": ".mlp.fc1_x.", ".mlp.w2.": ".mlp.fc2."}  # Llama's names of SwiGLU
# Words in the names of the tensors that are no layers, in this order, and their own names; others with "pos" in them
# are the positions of patches.
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
    vae, rest = {}, {}
    for name, tensor in tensors.items():
        if found := re.fullmatch(VAE, name):
            vae[found[1]] = tensor
        elif not name.startswith(CONSTANTS):
            rest[name] = tensor
    layers = {_stem(name): own for name, tensor in rest.items() if (own := _layer(name, tensor, shapes))}
    renamed = {f"vae.{name}": tensor for name, tensor in to_diffusers(vae).items()}
    for name, tensor in rest.items():
        own = name if name in shapes else _own_name(name, layers, shapes)
        if own not in shapes or own in renamed:  # of two that mean the same, the second keeps its name
            own = name
        same_size = own in shapes and tensor.numel() == shapes[own].numel()
        renamed[own] = tensor.reshape(shapes[own]) if same_size else tensor
    return renamed


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _layer(name: str, tensor: Tensor, shapes: Mapping[str, Size]) -> str | None:
    """The own name of the layer outside the blocks whose weight this is, without ".weight"."""
    trunk = name.partition(".")[0] + "."
    fitting = [
        _stem(own)
        for own, shape in shapes.items()
        if own.startswith(trunk) and own.endswith(".weight") and ".blocks." not in own and shape == tensor.shape
    ]
    return fitting[0] if name.endswith(".weight") and "blocks." not in name and len(fitting) == 1 else None


def _own_name(name: str, layers: Mapping[str, str], shapes: Mapping[str, Size]) -> str:
    if _stem(name) in layers:
        return f"{layers[_stem(name)]}.{name.rpartition('.')[2]}"
    trunk = name.partition(".")[0]
    if block := re.fullmatch(BLOCK, name):
        own = f"{trunk}.{block[1]}"
        for theirs, ours in GATES.items():
            own = own.replace(theirs, ours)
        return own
    for word, own_ends in WORDS.items():
        for end in own_ends:
            if word in name and f"{trunk}.{end}" in shapes:
                return f"{trunk}.{end}"
    return f"{trunk}.positions" if "pos" in name else name
