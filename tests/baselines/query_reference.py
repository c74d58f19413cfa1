"""SoftVQ-VAE and MAETok step by step, for one image, on float64 weights by their published names."""

import cmath
import math

import torch

EPSILON = 1e-6
SIDE, PATCH, WIDTH, HEADS, BLOCKS, TOKENS, CHANNELS = 12, 4, 24, 2, 2, 4, 3
GRID = SIDE // PATCH
# Arguments of both constructors.
SIZES = {
    "image_size": SIDE, "patch_size": PATCH, "width": WIDTH, "depth": BLOCKS, "heads": HEADS, "num_tokens": TOKENS,
    "channels": CHANNELS,
}  # fmt: skip
# Float64 on both sides: some thousand roundings of 1e-16 to values of a few units.
CLOSE = {"rtol": 0, "atol": 1e-11}


def layout(depth, width, patches, tokens, channels, numbers, rotary, codebooks=()):
    """Names and shapes of the published tensors."""

    def linear(name, before, after):
        return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}

    def norm(name):
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    shapes = linear("quant_conv", width, channels) | linear("post_quant_conv", channels, width)
    if codebooks:
        shapes |= {"quantize.embedding": (*codebooks, channels), "quantize.codebook_used": (9,)}
    for part in ("encoder", "decoder"):
        modulated, vit = rotary and part == "decoder", f"{part}.model"
        shapes[f"{part}.latent_pos_embed"] = (1, tokens, width)
        if part == "encoder":
            shapes["encoder.latent_tokens"] = (1, tokens, width)
        else:
            shapes |= linear("decoder.to_pixel.model", width, numbers)
        if part == "decoder" or rotary:
            shapes[f"{part}.mask_token"] = (1, 1, width)
        if rotary:
            shapes |= {f"{part}.freqs": (2, depth, width // 2)}
            shapes |= {f"{part}.freqs_t_{axis}": (patches,) for axis in "xy"}
        if not modulated:
            shapes[f"{vit}.cls_token"] = (1, 1, width)
        shapes[f"{vit}.pos_embed"] = (1, patches + (0 if modulated else 1), width)
        side = math.isqrt(numbers // 3)
        shapes |= {f"{vit}.patch_embed.proj.weight": (width, 3, side, side), f"{vit}.patch_embed.proj.bias": (width,)}
        for number in range(depth):
            block = f"{vit}.blocks.{number}"
            shapes |= linear(f"{block}.attn.qkv", width, 3 * width) | linear(f"{block}.attn.proj", width, width)
            shapes |= linear(f"{block}.mlp.fc1", width, 4 * width) | linear(f"{block}.mlp.fc2", 4 * width, width)
            if modulated:
                shapes |= linear(f"{block}.adaLN_modulation.1", channels, 4 * width)
            else:
                shapes |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
                shapes |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
        shapes |= linear(f"{vit}.norm.adaLN_modulation.1", channels, 2 * width) if modulated else norm(f"{vit}.norm")
    return shapes


def published(rotary, codebooks=()):
    """Random weights of a tiny tokenizer, float32."""
    torch.manual_seed(3)
    shapes = layout(BLOCKS, WIDTH, GRID**2, TOKENS, CHANNELS, 3 * PATCH**2, rotary, codebooks)
    return {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}


class Reference:
    def __init__(self, weights):
        self.weights = {name: tensor.double() for name, tensor in weights.items()}

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, x):
        rows = []
        for row in x:
            row = row - row.sum() / len(row)
            row = row / math.sqrt((row @ row).item() / len(row) + EPSILON)
            if f"{name}.weight" in self.weights:
                row = row * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
            rows.append(row)
        return torch.stack(rows)

    def turned(self, rows, frequencies, first):
        """Rows of one head, of which those from `first` on are the patches, and the rest are left alone."""
        rows = rows.clone()
        for y in range(GRID):
            for x in range(GRID):
                row = rows[first + y * GRID + x]
                for i in range(len(row) // 2):
                    angle = frequencies[0, i].item() * x + frequencies[1, i].item() * y
                    value = complex(row[2 * i].item(), row[2 * i + 1].item()) * cmath.exp(1j * angle)
                    row[2 * i], row[2 * i + 1] = value.real, value.imag
        return rows

    def attention(self, name, x, frequencies, first):
        together, size, heads = self.linear(f"{name}.qkv", x), WIDTH // HEADS, []
        for head in range(HEADS):
            start = head * size
            query, key, value = (together[:, part * WIDTH + start :][:, :size] for part in range(3))
            if frequencies is not None:
                half = frequencies[:, head * size // 2 :][:, : size // 2]
                query, key = self.turned(query, half, first), self.turned(key, half, first)
            heads.append(torch.softmax(query @ key.T / math.sqrt(size), dim=1) @ value)
        return self.linear(f"{name}.proj", torch.cat(heads, dim=1))

    def mlp(self, name, x):
        hidden = self.linear(f"{name}.fc1", x)
        return self.linear(f"{name}.fc2", hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)

    def shifted(self, name, x, tokens, parts, number):
        """Shift and scale `number` of the last rows, those of the tokens."""
        rows = list(x)
        for i, token in enumerate(tokens):
            values = self.linear(f"{name}.adaLN_modulation.1", token / (1 + torch.exp(-token))).reshape(parts, WIDTH)
            place = len(rows) - len(tokens) + i
            rows[place] = rows[place] * (1 + values[2 * number + 1]) + values[2 * number]
        return torch.stack(rows)

    def transformer(self, part, x, tokens, first):
        for number in range(BLOCKS):
            name = f"{part}.model.blocks.{number}"
            frequencies = self.weights[f"{part}.freqs"][:, number] if f"{part}.freqs" in self.weights else None
            for i, kind in enumerate(("attn", "mlp")):
                normal = self.norm(f"{name}.norm{i + 1}", x)
                if f"{name}.adaLN_modulation.1.weight" in self.weights:
                    normal = self.shifted(name, normal, tokens, 4, i)
                if kind == "attn":
                    change = self.attention(f"{name}.attn", normal, frequencies, first)
                else:
                    change = self.mlp(f"{name}.mlp", normal)
                x = x + change * self.weights.get(f"{name}.ls{i + 1}.gamma", 1.0)
        normal = self.norm(f"{part}.model.norm", x)
        last = f"{part}.model.norm"
        return (
            self.shifted(last, normal, tokens, 2, 0) if f"{last}.adaLN_modulation.1.weight" in self.weights else normal
        )

    def positions(self, part, rows):
        return rows if f"{part}.freqs" in self.weights else rows + self.weights[f"{part}.model.pos_embed"][0]

    def latents(self, image, masked=()):
        """float[3, SIDE, SIDE] to float[TOKENS, CHANNELS], with some patches masked."""
        weight = self.weights["encoder.model.patch_embed.proj.weight"]
        rows = [self.weights["encoder.model.cls_token"][0, 0]]
        for number in range(GRID**2):
            y, x = divmod(number, GRID)
            patch = image[:, y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH].double()
            value = (weight * patch).sum((1, 2, 3)) + self.weights["encoder.model.patch_embed.proj.bias"]
            rows.append(self.weights["encoder.mask_token"][0, 0] if number in masked else value)
        rows = self.positions("encoder", torch.stack(rows))
        latents = self.weights["encoder.latent_tokens"][0] + self.weights["encoder.latent_pos_embed"][0]
        hidden = self.transformer("encoder", torch.cat((rows, latents)), None, 1)
        return self.linear("quant_conv", hidden[1 + GRID**2 :])

    def soft(self, vectors):
        """The weights of the entries and their sums, token by token."""
        books, weights, sums = self.weights["quantize.embedding"], [], []
        for i, vector in enumerate(vectors):
            book = books[i * len(books) // len(vectors)]
            entries = [entry / entry.norm() for entry in book]
            strengths = [math.exp((vector @ entry / vector.norm()).item() / 0.07) for entry in entries]
            weights.append([strength / sum(strengths) for strength in strengths])
            sums.append(sum(weight * entry for weight, entry in zip(weights[-1], entries, strict=True)))
        return weights, torch.stack(sums)

    def decode(self, tokens):
        """float[TOKENS, CHANNELS] to float[3, SIDE, SIDE]."""
        rows = self.weights["decoder.mask_token"][0].expand(GRID**2, -1)
        first = int("decoder.model.cls_token" in self.weights)
        if first:
            rows = torch.cat((self.weights["decoder.model.cls_token"][0], rows))
        latents = self.linear("post_quant_conv", tokens) + self.weights["decoder.latent_pos_embed"][0]
        hidden = self.transformer("decoder", torch.cat((self.positions("decoder", rows), latents)), tokens, first)
        image = torch.zeros(3, SIDE, SIDE, dtype=torch.float64)
        for number in range(GRID**2):
            y, x = divmod(number, GRID)
            values = self.linear("decoder.to_pixel.model", hidden[first + number])
            for i, value in enumerate(values):
                row, column, channel = i // (3 * PATCH), i // 3 % PATCH, i % 3
                image[channel, y * PATCH + row, x * PATCH + column] = value
        return image
