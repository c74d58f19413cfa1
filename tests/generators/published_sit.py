"""SiT (Ma et al. 2024) and its kin, written slowly from the description in words, with published names in."""

import math

import torch


def norm(x):
    """Layer norm without weights."""
    apart = x - x.mean(-1, keepdim=True)
    return apart / (apart.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def linear(tensors, name, x):
    return torch.einsum("...i,oi->...o", x, tensors[f"{name}.weight"]) + tensors[f"{name}.bias"]


def silu(x):
    return x / (1 + torch.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(tensors, name, x, heads):
    """One row of qkv's weight is one channel: all of q, head after head, then all of k, then all of v."""
    width = x.shape[-1]
    each = width // heads
    qkv, parts = linear(tensors, f"{name}.qkv", x), []
    for head in range(heads):
        q, k, v = (qkv[..., part * width + head * each : part * width + (head + 1) * each] for part in range(3))
        shares = torch.softmax(torch.einsum("bid,bjd->bij", q, k) / each**0.5, dim=-1)
        parts.append(torch.einsum("bij,bjd->bid", shares, v))
    return linear(tensors, f"{name}.proj", torch.cat(parts, dim=-1))


def embed(tensors, x, patch):
    """A sequence [B, N, C] by a linear layer; a grid [B, C, h, w] patch by patch, row by row."""
    if x.dim() == 3:
        return linear(tensors, "x_embedder", x)
    weight, places = tensors["x_embedder.proj.weight"], []
    for row in range(0, x.shape[2], patch):
        for column in range(0, x.shape[3], patch):
            cells = x[:, :, row : row + patch, column : column + patch]
            places.append(torch.einsum("bcij,ocij->bo", cells, weight) + tensors["x_embedder.proj.bias"])
    return torch.stack(places, dim=1)


def forward(tensors, x, t, label, depth, heads, patch=1, block=None):
    """What the published network predicts at its own time, and the tokens after a block.

    A position's output has, for a grid, the values of a patch: row, column, channel; of twice as many channels the
    second half (of sigma) is dropped.
    """
    frequencies = torch.tensor([10000 ** (-i / 128) for i in range(128)], dtype=x.dtype)
    angles = t[:, None] * frequencies
    time = torch.cat([angles.cos(), angles.sin()], dim=1)
    time = linear(tensors, "t_embedder.mlp.2", silu(linear(tensors, "t_embedder.mlp.0", time)))
    condition = silu(time + tensors["y_embedder.embedding_table.weight"][label])
    tokens, kept = embed(tensors, x, patch) + tensors["pos_embed"], None
    for number in range(depth):
        name = f"blocks.{number}"
        # shift, scale and gate of the attention, then those of the MLP
        six = linear(tensors, f"{name}.adaLN_modulation.1", condition)[:, None].chunk(6, dim=-1)
        tokens = tokens + six[2] * attention(tensors, f"{name}.attn", norm(tokens) * (1 + six[1]) + six[0], heads)
        inner = gelu_tanh(linear(tensors, f"{name}.mlp.fc1", norm(tokens) * (1 + six[4]) + six[3]))
        tokens = tokens + six[5] * linear(tensors, f"{name}.mlp.fc2", inner)
        kept = tokens if number + 1 == block else kept
    shift, scale = linear(tensors, "final_layer.adaLN_modulation.1", condition)[:, None].chunk(2, dim=-1)
    values = linear(tensors, "final_layer.linear", norm(tokens) * (1 + scale) + shift)
    channels = x.shape[-1] if x.dim() == 3 else x.shape[1]
    if x.dim() == 3:
        return values[..., :channels], kept
    output, across = torch.zeros_like(x), x.shape[3] // patch
    each = values.shape[-1] // patch**2
    for place in range(values.shape[1]):
        row, column = divmod(place, across)
        for i in range(patch):
            for j in range(patch):
                start = (i * patch + j) * each
                output[:, :, row * patch + i, column * patch + j] = values[:, place, start : start + channels]
    return output, kept


def weights(width, depth, values, positions, channels, patch, classes, sequence):
    """Random weights under the published names, in float64."""
    chance = torch.Generator().manual_seed(3)

    def draw(*shape):
        return 0.2 * torch.randn(*shape, generator=chance, dtype=torch.float64)

    shapes = {
        "t_embedder.mlp.0": (width, 256), "t_embedder.mlp.2": (width, width),
        "final_layer.linear": (values, width), "final_layer.adaLN_modulation.1": (2 * width, width),
        ("x_embedder" if sequence else "x_embedder.proj"): (width, channels) + (() if sequence else (patch, patch)),
    }  # fmt: skip
    for number in range(depth):
        parts = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
        parts["adaLN_modulation.1"] = (6, 1)
        shapes |= {f"blocks.{number}.{part}": (out * width, into * width) for part, (out, into) in parts.items()}
    tensors = {f"{name}.weight": draw(*shape) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": draw(shape[0]) for name, shape in shapes.items()}
    return tensors | {
        "pos_embed": draw(1, positions, width),
        "y_embedder.embedding_table.weight": draw(classes + 1, width),
    }
