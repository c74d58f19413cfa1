"""Slow forward passes of the masked generators over tensors with published names, written from systems.md, section 5.

All are for one image, in float64, and take the words of one image with the class where the published model has it.
"""

import math

import torch


def random_weights(shapes, seed):
    """Random, so that signals keep their size, and no norm or bias is as it was made."""
    chance = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=chance, dtype=torch.float64)
        last = name.rsplit(".")[-1]
        if len(shape) == 1 or last == "bias":
            values = 0.3 * values + (1.0 if last in ("weight", "scale") else 0.0)
        elif "embed" not in name and "emb" not in name:
            values = 1.5 * values / shape[-1] ** 0.5
        weights[name] = values
    return weights


def normalised(x, scale, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * scale + bias


def gelu(x):
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def gelu_tanh(x):
    return x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2


def attended(queries, keys, values):
    """Rows of one head, float[N, channels] each."""
    rows = []
    for query in queries:
        weights = torch.stack([(query * key).sum() / len(query) ** 0.5 for key in keys]).exp()
        rows.append(sum(weight * value for weight, value in zip(weights, values, strict=True)) / weights.sum())
    return torch.stack(rows)


# MaskGIT, JAX: matrices have their inputs first, and attention an axis of heads before the channels of a head.


def maskgit_shapes(codes, classes, length, width, depth, heads):
    words, size = codes + classes + 1, width // heads
    shapes = {
        "Embed_0.word_embeddings.embedding": (words, width),
        "Embed_0.position_embeddings.embedding": (length + 1, width),
        "Embed_0.embeddings_ln.scale": (width,), "Embed_0.embeddings_ln.bias": (width,),
        "MlmLayer_0.mlm_dense.kernel": (width, width), "MlmLayer_0.mlm_dense.bias": (width,),
        "MlmLayer_0.mlm_ln.scale": (width,), "MlmLayer_0.mlm_ln.bias": (width,),
        "MlmLayer_0.mlm_bias.bias": (words,),
    }  # fmt: skip
    for layer in (f"TransformerLayer_{number}" for number in range(depth)):
        for name in ("query", "key", "value"):
            shapes[f"{layer}.Attention_0.self_attention.{name}.kernel"] = (width, heads, size)
            shapes[f"{layer}.Attention_0.self_attention.{name}.bias"] = (heads, size)
        shapes[f"{layer}.Attention_0.self_attention.out.kernel"] = (heads, size, width)
        shapes[f"{layer}.Attention_0.self_attention.out.bias"] = (width,)
        shapes[f"{layer}.Mlp_0.intermediate_output.kernel"] = (width, 4 * width)
        shapes[f"{layer}.Mlp_0.intermediate_output.bias"] = (4 * width,)
        shapes[f"{layer}.Mlp_0.layer_output.kernel"] = (4 * width, width)
        shapes[f"{layer}.Mlp_0.layer_output.bias"] = (width,)
        for norm in ("Attention_0.attention_output_ln", "Mlp_0.layer_output_ln"):
            shapes |= {f"{layer}.{norm}.scale": (width,), f"{layer}.{norm}.bias": (width,)}
    return shapes


def maskgit(weights, words, depth, heads):
    """long[1 + N], the class as word codes + label, to logits of all words float[1 + N, words]."""

    def norm(name, x):
        return normalised(x, weights[f"{name}.scale"], weights[f"{name}.bias"], 1e-12)

    def dense(name, x):
        return x @ weights[f"{name}.kernel"] + weights[f"{name}.bias"]

    table = weights["Embed_0.word_embeddings.embedding"]
    x = norm("Embed_0.embeddings_ln", table[words] + weights["Embed_0.position_embeddings.embedding"])
    for number in range(depth):
        layer = f"TransformerLayer_{number}"
        inner, out = f"{layer}.Attention_0.self_attention", 0
        for head in range(heads):
            parts = [
                x @ weights[f"{inner}.{name}.kernel"][:, head] + weights[f"{inner}.{name}.bias"][head]
                for name in ("query", "key", "value")
            ]
            out = out + attended(*parts) @ weights[f"{inner}.out.kernel"][head]
        x = norm(f"{layer}.Attention_0.attention_output_ln", x + out + weights[f"{inner}.out.bias"])
        hidden = gelu_tanh(dense(f"{layer}.Mlp_0.intermediate_output", x))
        x = norm(f"{layer}.Mlp_0.layer_output_ln", x + dense(f"{layer}.Mlp_0.layer_output", hidden))
    x = norm("MlmLayer_0.mlm_ln", gelu_tanh(dense("MlmLayer_0.mlm_dense", x)))
    return x @ table.T + weights["MlmLayer_0.mlm_bias.bias"]


# The others: torch, matrices have their outputs first.


def matrix(name, outputs, inputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def vectors(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def linear(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)


def norm(weights, name, x, eps):
    return normalised(x, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)


def in_heads(x, heads):
    """float[N, width] to the channels of each head, which lie beside each other."""
    return [x[:, head * (x.shape[1] // heads) : (head + 1) * (x.shape[1] // heads)] for head in range(heads)]


def attention(query, key, value, heads):
    parts = zip(in_heads(query, heads), in_heads(key, heads), in_heads(value, heads), strict=True)
    return torch.cat([attended(*part) for part in parts], dim=1)


def titok_shapes(codes, classes, length, width, depth, _):
    base = "model.embeddings."
    shapes = {
        f"{base}word_embeddings.weight": (codes + 1 + classes + 1, width),
        f"{base}position_embeddings.weight": (length + 1, width), f"{base}token_type_embeddings.weight": (2, width),
        **vectors(f"{base}LayerNorm", width), **matrix("model.lm_head", codes, width),
    }  # fmt: skip
    for layer in (f"model.encoder.layer.{number}" for number in range(depth)):
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= matrix(f"{layer}.attention.{name}", width, width)
        shapes |= vectors(f"{layer}.attention.output.LayerNorm", width) | vectors(f"{layer}.output.LayerNorm", width)
        shapes |= matrix(f"{layer}.intermediate.dense", 4 * width, width)
        shapes |= matrix(f"{layer}.output.dense", width, 4 * width)
    return shapes


def titok(weights, words, depth, heads):
    """long[1 + N], the class as word codes + 1 + label, to logits of the codes float[N, codes]."""
    base = "model.embeddings."
    x = weights[f"{base}word_embeddings.weight"][words] + weights[f"{base}position_embeddings.weight"]
    x = norm(weights, f"{base}LayerNorm", x + weights[f"{base}token_type_embeddings.weight"][0], 1e-12)
    for number in range(depth):
        layer = f"model.encoder.layer.{number}"
        parts = [linear(weights, f"{layer}.attention.self.{name}", x) for name in ("query", "key", "value")]
        out = linear(weights, f"{layer}.attention.output.dense", attention(*parts, heads))
        x = norm(weights, f"{layer}.attention.output.LayerNorm", x + out, 1e-12)
        out = linear(weights, f"{layer}.output.dense", gelu(linear(weights, f"{layer}.intermediate.dense", x)))
        x = norm(weights, f"{layer}.output.LayerNorm", x + out, 1e-12)
    return linear(weights, "model.lm_head", x[1:])


def uvit_shapes(codes, classes, length, width, depth, _):
    shapes = {
        "embeddings.weight": (codes + 1 + classes + 1, width), "pos_embed": (1, length + 1, width),
        **vectors("norm", width), **matrix("lm_head", codes, width),
    }  # fmt: skip
    half = depth // 2
    early, late = ([f"{name}.{number}" for number in range(half)] for name in ("in_blocks", "out_blocks"))
    for block in (*early, "mid_block", *late):
        shapes |= vectors(f"{block}.norm1", width) | vectors(f"{block}.norm2", width)
        shapes |= {f"{block}.attn.qkv.weight": (3 * width, width)} | matrix(f"{block}.attn.proj", width, width)
        shapes |= matrix(f"{block}.mlp.fc1", 4 * width, width) | matrix(f"{block}.mlp.fc2", width, 4 * width)
        if block in late:
            shapes |= matrix(f"{block}.skip_linear", width, 2 * width)
    return shapes


def uvit(weights, words, depth, heads):
    """As `titok`."""
    x, seen = weights["embeddings.weight"][words] + weights["pos_embed"][0], []
    half = depth // 2
    names = [f"in_blocks.{number}" for number in range(half)] + ["mid_block"]
    for place, block in enumerate([*names, *(f"out_blocks.{number}" for number in range(half))]):
        if place > half:  # the early block that is as far from the middle
            x = linear(weights, f"{block}.skip_linear", torch.cat([x, seen[2 * half - place]], dim=1))
        queries, keys, values = linear(weights, f"{block}.attn.qkv", norm(weights, f"{block}.norm1", x, 1e-5)).chunk(
            3, 1
        )
        x = x + linear(weights, f"{block}.attn.proj", attention(queries, keys, values, heads))
        hidden = gelu(linear(weights, f"{block}.mlp.fc1", norm(weights, f"{block}.norm2", x, 1e-5)))
        x = x + linear(weights, f"{block}.mlp.fc2", hidden)
        seen.append(x)
    return linear(weights, "lm_head", norm(weights, "norm", x, 1e-5)[1:])


def maskbit_shapes(bits, groups, classes, length, width, depth):
    shapes = {
        "pos_emb": (1, length + 1, width), "class_emb.weight": (classes + 1, width),
        **matrix("input_proj", width, bits), **vectors("first_layer.0", width), **matrix("last_layer.0", width, width),
        **vectors("last_layer.2", width), **matrix("prediction_layer", groups * 2 ** (bits // groups), width),
    }  # fmt: skip
    for layer in (f"transformer.layers.{number}" for number in range(depth)):
        shapes |= {f"{layer}.0.mha.in_proj_weight": (3 * width, width), f"{layer}.0.mha.in_proj_bias": (3 * width,)}
        shapes |= matrix(f"{layer}.0.mha.out_proj", width, width)
        shapes |= vectors(f"{layer}.0.norm", width) | vectors(f"{layer}.1.norm", width)
        shapes |= matrix(f"{layer}.1.net.0", 4 * width, width) | matrix(f"{layer}.1.net.2", width, 4 * width)
    return shapes


def maskbit(weights, bits, label, depth, heads):
    """Bits float[N, bits] and a class to logits of all groups float[N, groups * words]."""
    x = (
        torch.cat([linear(weights, "input_proj", bits), weights["class_emb.weight"][label][None]])
        + weights["pos_emb"][0]
    )
    x = norm(weights, "first_layer.0", x, 1e-12)
    for number in range(depth):
        layer = f"transformer.layers.{number}"
        parts = (x @ weights[f"{layer}.0.mha.in_proj_weight"].T + weights[f"{layer}.0.mha.in_proj_bias"]).chunk(3, 1)
        x = norm(
            weights, f"{layer}.0.norm", x + linear(weights, f"{layer}.0.mha.out_proj", attention(*parts, heads)), 1e-12
        )
        hidden = gelu(linear(weights, f"{layer}.1.net.0", x))
        x = norm(weights, f"{layer}.1.norm", x + linear(weights, f"{layer}.1.net.2", hidden), 1e-12)
    x = norm(weights, "last_layer.2", gelu(linear(weights, "last_layer.0", x[:-1])), 1e-12)
    return linear(weights, "prediction_layer", x)
