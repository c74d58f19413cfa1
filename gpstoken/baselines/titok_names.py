"""The names of TiTok's tensors in the files of its authors, and of One-D-Piece's, and those of this project."""

import re
from collections.abc import Mapping

from torch import Tensor

from gpstoken.baselines.maskgit import own_name

# Published -> own, applied in order; a name that matches no rule is kept.
NAMES = [
    (r"^encoder\.patch_embed\.", "patches."),
    (r"^encoder\.conv_out\.", "to_codes."),
    (r"^decoder\.decoder_embed\.", "from_codes."),
    (r"^decoder\.mask_token$", "mask_token"),
    (r"^decoder\.ffn\.", "to_logits."),
    (r"^pixel_quantize\.embedding\.weight$", "pixel_codebook"),
    (r"\.class_embedding$", ".class_token"),
    (r"\.latent_token_positional_embedding$", ".token_positions"),
    (r"\.positional_embedding$", ".patch_positions"),
    (r"\.ln_pre\.", ".norm_before."),
    (r"\.ln_post\.", ".norm_after."),
    (r"\.transformer\.(\d+)\.", r".blocks.\1."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.mlp\.c_fc\.", ".linear1."),
    (r"\.mlp\.c_proj\.", ".linear2."),
]
# Own name -> the first axis that is joined with those behind it: single tokens, and convolutions of 1x1.
JOINED = {
    "mask_token": 0,
    "encoder.class_token": 0,
    "decoder.class_token": 0,
    "to_codes.weight": 1,
    "to_logits.0.weight": 1,
    "to_logits.2.weight": 1,
}
PIXELS = "pixel_decoder."


def to_own(tensors: Mapping[str, Tensor], levels: int, blocks: int) -> dict[str, Tensor]:
    """Renames published tensors, except the codebook, "quantize.embedding.weight".

    Args:
        tensors: as in the file.
        levels: levels of the convolutional decoder.
        blocks: residual blocks of each of them.
    """
    own = {}
    for name, tensor in tensors.items():
        if name.startswith(PIXELS):  # MaskGIT's decoder
            name = own_name(name.removeprefix("pixel_"), levels, blocks)
            own[f"pixel_{name}"] = tensor
            continue
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        axis = JOINED.get(name, tensor.dim())
        own[name] = tensor.flatten(axis) if axis < tensor.dim() else tensor
    return own
