"""The names of the masked generators' tensors in the files of their authors, and those of this project."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# Published -> own, applied in order; a name that matches no rule is kept.
MASKGIT = [
    (r"^Embed_0\.(word|position)_embeddings\.embedding$", r"bert.embeddings.\1_embeddings.weight"),
    (r"^Embed_0\.embeddings_ln\.", "bert.embeddings.LayerNorm."),
    (r"^TransformerLayer_(\d+)\.", r"bert.encoder.layer.\1."),
    (r"\.Attention_0\.self_attention\.out\.", ".attention.output.dense."),
    (r"\.Attention_0\.self_attention\.", ".attention.self."),
    (r"\.Attention_0\.attention_output_ln\.", ".attention.output.LayerNorm."),
    (r"\.Mlp_0\.intermediate_output\.", ".intermediate.dense."),
    (r"\.Mlp_0\.layer_output\.", ".output.dense."),
    (r"\.Mlp_0\.layer_output_ln\.", ".output.LayerNorm."),
    (r"^MlmLayer_0\.mlm_dense\.", "cls.predictions.transform.dense."),
    (r"^MlmLayer_0\.mlm_ln\.", "cls.predictions.transform.LayerNorm."),
    (r"^MlmLayer_0\.mlm_bias\.bias$", "cls.predictions.bias"),
    (r"\.(?:scale|kernel)$", ".weight"),
]
WORDS, BIAS = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
# The second name that BERT has for a tensor.
TWICE = {WORDS: "cls.predictions.decoder.weight", BIAS: "cls.predictions.decoder.bias"}
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")  # counters of older releases of transformers
MASKBIT = [
    (r"^pos_emb$", "positions"),
    (r"^class_emb\.", "classes."),
    (r"^input_proj\.", "from_bits."),
    (r"^first_layer\.0\.", "norm."),
    (r"^transformer\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.0\.mha\.", ".self_attn."),
    (r"\.0\.norm\.", ".norm1."),
    (r"\.1\.net\.0\.", ".linear1."),
    (r"\.1\.net\.2\.", ".linear2."),
    (r"\.1\.norm\.", ".norm2."),
    (r"^last_layer\.", "head."),
    (r"^prediction_layer\.", "to_bits."),
]


def maskgit_to_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MaskGIT's JAX tensors, whose names are joined by dots, as those of `MaskedGenerator`.

    A matrix of JAX has its inputs first; attention has an axis of heads before the channels of a head. BERT adds an
    embedding of the kind of a word, which MaskGIT has not: it is 0.
    """
    own = {}
    for published, tensor in tensors.items():
        name = _renamed(published, MASKGIT)
        if published.endswith(".kernel"):
            tensor = tensor.flatten(0, -2) if ".out." in published else tensor.flatten(1)
            tensor = tensor.T.contiguous()
        elif ".self_attention." in published:
            tensor = tensor.flatten()
        for each in (name, *([TWICE[name]] if name in TWICE else [])):
            own[f"network.{each}" if name != published else each] = tensor
    if (words := own.get(f"network.{WORDS}")) is not None:
        own["network.bert.embeddings.token_type_embeddings.weight"] = torch.zeros_like(words[:2])
    return own


def bert_to_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """TiTok's and One-D-Piece's tensors, of a BERT and a linear layer, as those of `TiTokGenerator`."""
    named = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    kept = {name: tensor for name, tensor in named.items() if name not in BUFFERS}
    return {
        f"network.{re.sub('^lm_head', 'to_codes', name) if name.startswith('lm_head') else f'bert.{name}'}": tensor
        for name, tensor in kept.items()
    }


def uvit_to_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """TiTok's tensors of a U-ViT as those of `UViTGenerator`, whose network has the published names."""
    return {f"network.{name.removeprefix('model.')}": tensor for name, tensor in tensors.items()}


def maskbit_to_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MaskBit's tensors as those of `BitGenerator`."""
    own = {f"network.{_renamed(name, MASKBIT)}": tensor for name, tensor in tensors.items()}
    positions = own.get("network.positions")
    if positions is not None and positions.dim() == 3:  # with an axis for the batch
        own["network.positions"] = positions.flatten(0, 1)
    return own


def _renamed(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
