"""GaussianToken written out once more, slowly, in float64, with the names of the authors' checkpoint.

A weight is drawn where it is first used, so this forward pass also says which tensors there are and of which shapes.
"""

import math

import torch
import torch.nn.functional as F

SIDE, WIDTHS, GROUPS, WIDTH, HEADS, POINTS, TOKENS, LATENT, CODES, ROUNDS = 16, (4, 8), 2, 8, 2, 3, 5, 3, 30, 2
TINY = {
    "image_size": SIDE, "num_tokens": TOKENS, "codebook_size": CODES, "block_out_channels": WIDTHS,
    "layers_per_block": 2, "norm_num_groups": GROUPS, "width": WIDTH, "heads": HEADS, "points": POINTS,
    "map_layers": 1, "rounds": ROUNDS, "query_layers": 1, "latent_channels": LATENT,
}  # fmt: skip
MAP = SIDE // 2


class Reference:
    def __init__(self):
        self.tensors, self.chance = {}, torch.Generator().manual_seed(0)

    def w(self, name, *shape, scale=0.5, around=0.0):
        if name not in self.tensors:
            drawn = torch.randn(shape, generator=self.chance, dtype=torch.float64)
            self.tensors[name] = around + scale * drawn.float().double()
        assert self.tensors[name].shape == shape
        return self.tensors[name]

    # Layers

    def linear(self, name, x, out):
        return x @ self.w(f"{name}.weight", out, x.shape[-1]).T + self.w(f"{name}.bias", out)

    def layer_norm(self, name, x):
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
        gain = self.w(f"{name}.weight", x.shape[-1], scale=0.1, around=1.0)
        return (x - mean) / (variance + 1e-5).sqrt() * gain + self.w(f"{name}.bias", x.shape[-1])

    def plain_group_norm(self, x):
        cells = x.reshape(len(x), GROUPS, -1)
        mean, variance = cells.mean(-1, keepdim=True), cells.var(-1, correction=0, keepdim=True)
        return ((cells - mean) / (variance + 1e-6).sqrt()).reshape(x.shape)

    def group_norm(self, name, x):
        gain = self.w(f"{name}.weight", x.shape[1], scale=0.1, around=1.0)[:, None, None]
        return self.plain_group_norm(x) * gain + self.w(f"{name}.bias", x.shape[1])[:, None, None]

    def conv(self, name, x, out, size, bias=True, **options):
        weight = self.w(f"{name}.weight", out, x.shape[1], size, size, scale=1 / math.sqrt(x.shape[1] * size**2))
        return F.conv2d(x, weight, self.w(f"{name}.bias", out) if bias else None, padding=size // 2, **options)

    def block(self, name, x, out):
        y = self.conv(f"{name}.conv1", F.silu(self.group_norm(f"{name}.norm1", x)), out, 3, bias=False)
        y = self.conv(f"{name}.conv2", F.silu(self.group_norm(f"{name}.norm2", y)), out, 3, bias=False)
        return y + (x if x.shape[1] == out else self.conv(f"{name}.nin_shortcut", x, out, 1, bias=False))

    # Convolutions

    def encoder(self, image):
        x = self.conv("img_encoder.conv_in", image, 4, 3, bias=False)
        x = self.block("img_encoder.down.0.block.1", self.block("img_encoder.down.0.block.0", x, 4), 4)
        x = self.conv("img_encoder.down.0.downsample.conv", x, 4, 3, stride=2)
        x = self.block("img_encoder.down.1.block.1", self.block("img_encoder.down.1.block.0", x, 8), 8)
        x = self.block("img_encoder.mid.1", self.block("img_encoder.mid.0", x, 8), 8)
        return self.conv("img_encoder.conv_out", F.silu(self.group_norm("img_encoder.norm_out", x)), WIDTH, 1)

    def adaptive(self, name, x, latent):
        deviation = (latent.var((2, 3), correction=0) + 1e-6).sqrt()
        gain = self.linear(f"{name}.gain", deviation, x.shape[1])[..., None, None]
        bias = self.linear(f"{name}.bias", latent.mean((2, 3)), x.shape[1])[..., None, None]
        return gain * self.plain_group_norm(x) + bias

    def decoder(self, latent):
        x = self.conv("img_decoder.conv_in", latent, 8, 3)
        x = self.block("img_decoder.mid.1", self.block("img_decoder.mid.0", x, 8), 8)
        x = self.adaptive("img_decoder.up.1.norm", x, latent)
        x = self.block("img_decoder.up.1.block.1", self.block("img_decoder.up.1.block.0", x, 8), 8)
        x = self.conv("img_decoder.up.1.upsample.conv", x, 32, 3)
        larger = torch.zeros(len(x), 8, SIDE, SIDE, dtype=x.dtype)
        for channel in range(8):  # channel 4 c + 2 i + j becomes pixel (i, j) of channel c
            for i in range(2):
                for j in range(2):
                    larger[:, channel, i::2, j::2] = x[:, 4 * channel + 2 * i + j]
        x = self.adaptive("img_decoder.up.0.norm", larger, latent)
        x = self.block("img_decoder.up.0.block.1", self.block("img_decoder.up.0.block.0", x, 4), 4)
        return self.conv("img_decoder.conv_out", F.silu(self.group_norm("img_decoder.norm_out", x)), 3, 3)

    # Attention

    def deformable(self, name, query, reference, cells):
        """One query, at a point of which 0 and 1 are the edges, over a map [MAP, MAP, WIDTH]."""
        offsets = self.linear(f"{name}.sampling_offsets", query, HEADS * POINTS * 2).reshape(HEADS, POINTS, 2)
        logits = self.linear(f"{name}.attention_weights", query, HEADS * POINTS).reshape(HEADS, POINTS)
        values = self.linear(f"{name}.value_proj", cells, WIDTH).reshape(MAP, MAP, HEADS, -1)
        found = []
        for head in range(HEADS):
            weights, total = torch.softmax(logits[head], 0), 0
            for point in range(POINTS):
                x, y = ((reference + offsets[head, point] / MAP) * MAP - 0.5).tolist()
                for row in (math.floor(y), math.floor(y) + 1):
                    for column in (math.floor(x), math.floor(x) + 1):
                        if 0 <= row < MAP and 0 <= column < MAP:
                            share = (1 - abs(x - column)) * (1 - abs(y - row))
                            total = total + weights[point] * share * values[row, column, head]
            found.append(total + torch.zeros(WIDTH // HEADS, dtype=cells.dtype))
        return self.linear(f"{name}.output_proj", torch.cat(found), WIDTH)

    def feed_forward(self, name, x):
        return self.linear(f"{name}.2", self.linear(f"{name}.0", x, 4 * WIDTH).clamp_min(0), WIDTH)

    def map_layer(self, name, cells):
        """Sine positions: a quarter of the channels each for sin and cos of the row, and of the column."""
        position = torch.zeros(MAP, MAP, WIDTH, dtype=torch.float64)
        quarter, read = WIDTH // 4, torch.zeros_like(cells)
        for row in range(MAP):
            for column in range(MAP):
                for k in range(quarter):
                    band = 10000 ** (-k / quarter)
                    values = [f(place * band) for place in (row, column) for f in (math.sin, math.cos)]
                    position[row, column, k::quarter] = torch.tensor(values, dtype=torch.float64)
        for row in range(MAP):
            for column in range(MAP):
                centre = torch.tensor([(column + 0.5) / MAP, (row + 0.5) / MAP], dtype=torch.float64)
                query = cells[row, column] + position[row, column]
                read[row, column] = self.deformable(f"{name}.attention", query, centre, cells)
        cells = self.layer_norm(f"{name}.norm1", cells + read)
        return self.layer_norm(f"{name}.norm2", cells + self.feed_forward(f"{name}.feed_forward", cells))

    def self_attention(self, name, placed, queries):
        weight, bias = self.w(f"{name}.in_proj_weight", 3 * WIDTH, WIDTH), self.w(f"{name}.in_proj_bias", 3 * WIDTH)
        q, k, v = ((x @ weight.T + bias).chunk(3, -1)[i] for i, x in enumerate((placed, placed, queries)))
        size, found = WIDTH // HEADS, []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            found.append(torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(size), -1) @ v[:, part])
        return self.linear(f"{name}.out_proj", torch.cat(found, -1), WIDTH)

    def query_layer(self, name, queries, position, points, cells):
        read = self.self_attention(f"{name}.self_attention", queries + position, queries)
        queries = self.layer_norm(f"{name}.norm1", queries + read)
        read = [self.deformable(f"{name}.attention", queries[n] + position[n], points[n], cells) for n in range(TOKENS)]
        queries = self.layer_norm(f"{name}.norm2", queries + torch.stack(read))
        return self.layer_norm(f"{name}.norm3", queries + self.feed_forward(f"{name}.feed_forward", queries))

    def hidden(self, name, x, first):
        x = self.linear(f"{name}.{first}", x, WIDTH).clamp_min(0)
        return self.layer_norm(f"{name}.{first + 2}", x)

    def round(self, name, anchors, queries, cells):
        position = 0
        for part, (start, stop) in enumerate(((0, 2), (2, 4), (4, 5), (5, 5 + WIDTH))):
            x = self.hidden(f"{name}.encoders.{part}", anchors[:, start:stop], 0)
            position = position + self.hidden(f"{name}.encoders.{part}", x, 3)
        points = 1 / (1 + (-anchors[:, :2]).exp())
        both = torch.cat([self.query_layer(f"{name}.layers.0", queries, position, points, cells), queries], -1)
        x = self.layer_norm(f"{name}.feed_forward.0", both)
        x = self.linear(f"{name}.feed_forward.1", x, 4 * WIDTH).clamp_min(0)
        queries = self.linear(f"{name}.feed_forward.3", x, WIDTH) + self.linear(f"{name}.shortcut", both, WIDTH)
        x = queries
        for first in (0, 3, 6, 9):
            x = self.hidden(f"{name}.refine", x, first)
        new = self.linear(f"{name}.refine.12", x, 5 + WIDTH)
        return torch.cat([anchors[:, :2] + new[:, :2], new[:, 2:]], -1), queries

    def gaussians(self, image):
        """Of one image [1, 3, SIDE, SIDE]: geometry [TOKENS, 5] and features [TOKENS, LATENT]."""
        x = self.conv("gs_embed.project.0", self.encoder(image), WIDTH, 1)
        cells = self.map_layer("gs_embed.map_layers.0", self.group_norm("gs_embed.project.1", x)[0].permute(1, 2, 0))
        anchors = self.w("gs_embed.anchors", TOKENS, 5 + WIDTH)
        queries = self.w("gs_embed.instance_feature", TOKENS, WIDTH)
        for number in range(ROUNDS):
            anchors, queries = self.round(f"gs_embed.rounds.{number}", anchors, queries, cells)
        x = self.linear("gs_embed.head.0", anchors[:, 5:], 4 * WIDTH).clamp_min(0)
        features = self.linear("gs_embed.head.2", x, LATENT)
        share = 1 / (1 + (-anchors[:, :5]).exp())
        position, scale = 2 * share[:, :2] - 1, 0.1 + 2.9 * share[:, 2:4]  # of a finished training, up to 3 cells
        return torch.cat([position, scale, math.pi * share[:, 4:]], -1), features

    def codebook(self):
        embed = self.w("quantize._codebook.embed", 1, CODES, LATENT, scale=1.0)
        self.tensors["quantize._codebook.embed_avg"] = embed
        self.tensors["quantize._codebook.cluster_size"] = torch.ones(1, CODES, dtype=torch.float64)
        self.tensors["quantize._codebook.initted"] = torch.tensor(True)
        return embed[0]

    def codes(self, features):
        """The nearest entry of each feature."""
        return [min(range(CODES), key=lambda k: float((self.codebook()[k] - f).square().sum())) for f in features]

    def image(self, geometry, entries):
        """A sum of rotated Gaussians of height 1, over all cells, decoded."""
        drawn = torch.zeros(1, LATENT, MAP, MAP, dtype=torch.float64)
        for (x, y, a, b, angle), entry in zip(geometry.tolist(), entries, strict=True):
            for row in range(MAP):
                for column in range(MAP):
                    right = column + 0.5 - MAP * (x + 1) / 2
                    down = row + 0.5 - MAP * (y + 1) / 2
                    along = right * math.cos(angle) + down * math.sin(angle)
                    across = down * math.cos(angle) - right * math.sin(angle)
                    drawn[0, :, row, column] += math.exp(-((along / a) ** 2 + (across / b) ** 2) / 2) * entry
        return self.decoder(drawn)
