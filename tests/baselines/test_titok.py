"""TiTok and One-D-Piece against a slow forward pass over tensors with the published names, written from the papers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpstoken.baselines.maskgit import MaskGITAutoencoder
from gpstoken.baselines.titok import TiTok
from gpstoken.files.weights import write_weights

TINY = {
    "image_size": 16, "num_tokens": 6, "codebook_size": 11, "channels": 3, "width": 8, "depth": 2, "heads": 2,
    "pixel_codebook_size": 7, "pixel_channels": 5, "block_out_channels": [4, 8, 12], "layers_per_block": 2,
    "norm_num_groups": 2,
}  # fmt: skip
ONE_D_PIECE = TINY | {"legacy_layout": False, "tail_drop": True}
SMALL = {"num_tokens": 128, "width": 512, "depth": 8, "heads": 8}
TEACHER = {
    "codebook_size": 7, "latent_channels": 5, "block_out_channels": [4, 8, 12], "layers_per_block": 2,
    "norm_num_groups": 2,
}  # fmt: skip


def published_shapes(
    num_tokens=64, width=768, depth=12, channels=12, codebook=4096, pixel_codebook=1024, pixel_channels=256,
    widths=(128, 128, 256, 256, 512), blocks=2, side=16, **_
):  # fmt: skip
    """Names and shapes of a published file: systems.md 4.5 and 4.6 of the suite's notes."""
    patch = 2 ** (len(widths) - 1)
    shapes = {
        "latent_tokens": (num_tokens, width),
        "quantize.embedding.weight": (codebook, channels),
        "pixel_quantize.embedding.weight": (pixel_codebook, pixel_channels),
        "encoder.patch_embed.weight": (width, 3, patch, patch), "encoder.patch_embed.bias": (width,),
        "encoder.conv_out.weight": (channels, width, 1, 1), "encoder.conv_out.bias": (channels,),
        "decoder.mask_token": (1, 1, width),
        "decoder.decoder_embed.weight": (width, channels), "decoder.decoder_embed.bias": (width,),
        "decoder.ffn.0.weight": (2 * width, width, 1, 1), "decoder.ffn.0.bias": (2 * width,),
        "decoder.ffn.2.weight": (pixel_codebook, 2 * width, 1, 1), "decoder.ffn.2.bias": (pixel_codebook,),
    }  # fmt: skip

    def normalised(name, size):
        return {f"{name}.weight": (size,), f"{name}.bias": (size,)}

    for half in ("encoder", "decoder"):
        shapes[f"{half}.class_embedding"] = (1, width)
        shapes[f"{half}.positional_embedding"] = (side**2 + 1, width)
        shapes[f"{half}.latent_token_positional_embedding"] = (num_tokens, width)
        shapes |= normalised(f"{half}.ln_pre", width) | normalised(f"{half}.ln_post", width)
        for number in range(depth):
            block = f"{half}.transformer.{number}"
            shapes |= normalised(f"{block}.ln_1", width) | normalised(f"{block}.ln_2", width)
            for name, size in (("in_proj_", (3 * width, width)), ("out_proj.", (width, width))):
                shapes |= {f"{block}.attn.{name}weight": size, f"{block}.attn.{name}bias": size[:1]}
            for name, size in (("c_fc", (4 * width, width)), ("c_proj", (width, 4 * width))):
                shapes |= {f"{block}.mlp.{name}.weight": size, f"{block}.mlp.{name}.bias": size[:1]}

    def residual(name, before, after):
        convolutions = {f"{name}.conv1.weight": (after, before, 3, 3), f"{name}.conv2.weight": (after, after, 3, 3)}
        if before != after:
            convolutions[f"{name}.nin_shortcut.weight"] = (after, after, 1, 1)
        return normalised(f"{name}.norm1", before) | normalised(f"{name}.norm2", after) | convolutions

    top = widths[-1]
    shapes |= {"pixel_decoder.conv_in.weight": (top, pixel_channels, 3, 3), "pixel_decoder.conv_in.bias": (top,)}
    for block in range(blocks):
        shapes |= residual(f"pixel_decoder.mid.{block}", top, top)
    for level, (after, before) in enumerate(pairwise((*widths, top))):
        for block in range(blocks):
            shapes |= residual(f"pixel_decoder.up.{level}.block.{block}", after if block else before, after)
        if level:
            name = f"pixel_decoder.up.{level}.upsample_conv"
            shapes |= {f"{name}.weight": (after, after, 3, 3), f"{name}.bias": (after,)}
    shapes |= normalised("pixel_decoder.norm_out", widths[0])
    return shapes | {"pixel_decoder.conv_out.weight": (3, widths[0], 3, 3), "pixel_decoder.conv_out.bias": (3,)}


def published_weights():
    """Of TINY, random, so that signals keep their size, and no norm or bias is as it was made."""
    generator = torch.Generator().manual_seed(3)
    weights = {}
    for name, shape in published_shapes(6, 8, 2, 3, 11, 7, 5, (4, 8, 12), 2, 4).items():
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 1:
            values = 0.3 * values + (1.0 if name.endswith("weight") else 0.0)
        elif len(shape) == 4 or "proj" in name or "c_fc" in name:
            values = values / math.prod(shape[1:]) ** 0.5
        weights[name] = values
    return weights


class Slow:
    """The published forward pass for one image, in float64 and position by position."""

    def __init__(self, weights, heads, legacy):
        self.weights, self.heads, self.legacy = weights, heads, legacy

    def norm(self, name, vector):
        spread = ((vector - vector.mean()) ** 2).mean()
        return (vector - vector.mean()) / (spread + 1e-5) ** 0.5 * self.get(name, "weight") + self.get(name, "bias")

    def get(self, name, last):
        return self.weights[f"{name}.{last}"]

    def linear(self, name, vector):
        matrix = self.get(name, "weight")
        return matrix.reshape(matrix.shape[0], -1) @ vector + self.get(name, "bias")

    def attention(self, name, rows):
        width = len(rows[0])
        size = width // self.heads
        projected = [
            self.weights[f"{name}.in_proj_weight"] @ row + self.weights[f"{name}.in_proj_bias"] for row in rows
        ]
        results = []
        for query in projected:
            parts = []
            for head in range(self.heads):
                of_query, of_key, of_value = (
                    slice(k * width + head * size, k * width + (head + 1) * size) for k in range(3)
                )
                scores = torch.stack([query[of_query] @ other[of_key] for other in projected]) / math.sqrt(size)
                shares = scores.exp() / scores.exp().sum()
                parts.append(sum(share * other[of_value] for share, other in zip(shares, projected, strict=True)))
            results.append(self.linear(f"{name}.out_proj", torch.cat(parts)))
        return results

    def transformer(self, half, patches, latents):
        rows = [self.weights[f"{half}.class_embedding"].flatten(), *patches]
        positions = self.weights[f"{half}.positional_embedding"]
        rows = [row + position for row, position in zip(rows, positions, strict=True)]
        later = self.weights[f"{half}.latent_token_positional_embedding"]
        rows += [latent + later[number] for number, latent in enumerate(latents)]
        rows = [self.norm(f"{half}.ln_pre", row) for row in rows]
        for number in range(2):
            block = f"{half}.transformer.{number}"
            attended = self.attention(f"{block}.attn", [self.norm(f"{block}.ln_1", row) for row in rows])
            rows = [row + new for row, new in zip(rows, attended, strict=True)]
            for index, row in enumerate(rows):
                wide = self.linear(f"{block}.mlp.c_fc", self.norm(f"{block}.ln_2", row))
                wide = wide * (1 + torch.erf(wide / math.sqrt(2))) / 2
                rows[index] = row + self.linear(f"{block}.mlp.c_proj", wide)
        return [self.norm(f"{half}.ln_post", row) for row in rows]

    def latents(self, image):
        image = (image + 1) / 2
        kernel, bias = self.get("encoder.patch_embed", "weight"), self.get("encoder.patch_embed", "bias")
        patches = []
        for row in range(0, 16, 4):
            for column in range(0, 16, 4):
                square = image[:, row : row + 4, column : column + 4]
                patches.append((kernel * square).sum((1, 2, 3)) + bias)
        features = torch.stack(self.transformer("encoder", patches, list(self.weights["latent_tokens"]))[17:])
        latents = []
        for token in range(6):
            # "is_legacy": channel c of token n is the number at c * 6 + n of the memory, where token 0 comes first.
            memory = features.flatten()
            feature = torch.stack([memory[channel * 6 + token] for channel in range(8)])
            latents.append(self.linear("encoder.conv_out", feature if self.legacy else features[token]))
        return torch.stack(latents)

    def encode(self, image):
        codebook = self.weights["quantize.embedding.weight"]
        cosines = [[latent @ entry / entry.norm() for entry in codebook] for latent in self.latents(image)]
        return [max(range(len(each)), key=each.__getitem__) for each in cosines]

    def decode(self, indices):
        entries = [self.weights["quantize.embedding.weight"][index] for index in indices]
        latents = [self.linear("decoder.decoder_embed", entry / entry.norm()) for entry in entries]
        mask = self.weights["decoder.mask_token"].flatten()
        grid = torch.zeros(5, 4, 4, dtype=torch.float64)
        for number, row in enumerate(self.transformer("decoder", [mask] * 16, latents)[1:17]):
            logits = self.linear("decoder.ffn.2", self.linear("decoder.ffn.0", row).tanh())
            shares = logits.exp() / logits.exp().sum()
            grid[:, number // 4, number % 4] = shares @ self.weights["pixel_quantize.embedding.weight"]
        return 2 * self.pixels(grid[None])[0] - 1

    def convolution(self, name, x):
        return F.conv2d(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"), padding="same")

    def swish(self, name, x):
        groups = x.unflatten(1, (2, -1))
        mean = groups.mean((2, 3, 4), keepdim=True)
        spread = ((groups - mean) ** 2).mean((2, 3, 4), keepdim=True)
        normal = ((groups - mean) / (spread + 1e-6) ** 0.5).flatten(1, 2)
        normal = normal * self.get(name, "weight")[:, None, None] + self.get(name, "bias")[:, None, None]
        return normal / (1 + (-normal).exp())

    def residual(self, name, x):
        new = self.convolution(f"{name}.conv1", self.swish(f"{name}.norm1", x))
        new = self.convolution(f"{name}.conv2", self.swish(f"{name}.norm2", new))
        if f"{name}.nin_shortcut.weight" in self.weights:  # of the result, not of x
            return new + self.convolution(f"{name}.nin_shortcut", new)
        return new + x

    def pixels(self, x):
        x = self.convolution("pixel_decoder.conv_in", x)
        for block in range(2):
            x = self.residual(f"pixel_decoder.mid.{block}", x)
        for level in (2, 1, 0):
            for block in range(2):
                x = self.residual(f"pixel_decoder.up.{level}.block.{block}", x)
            if level:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                x = self.convolution(f"pixel_decoder.up.{level}.upsample_conv", x)
        return self.convolution("pixel_decoder.conv_out", self.swish("pixel_decoder.norm_out", x))


@pytest.fixture
def image():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def seeded(arguments=TINY):
    torch.manual_seed(0)
    tokenizer = TiTok(**arguments)
    # As a training starts it: without entries all codes would be 0.
    tokenizer.quantiser.load_state_dict(tokenizer.quantiser.state_of(torch.randn(11, 3)))
    return tokenizer.eval()


@pytest.mark.parametrize(
    ("arguments", "millions", "keys"),
    [({}, 204.81, None), (SMALL, 83.67, 308), (SMALL | {"num_tokens": 256, "legacy_layout": False}, 83.87, None)],
    ids=["titok_b64", "titok_s128", "one_d_piece"],
)
def test_published_sizes(arguments, millions, keys):
    shapes = published_shapes(**arguments)
    with torch.device("meta"):
        tokenizer = TiTok(**arguments)
        own = tokenizer.own_names({name: torch.empty(shape) for name, shape in shapes.items()})
    count = sum(parameter.numel() for parameter in tokenizer.parameters())
    assert count == sum(math.prod(shape) for shape in shapes.values())
    assert count / 1e6 == pytest.approx(millions, abs=0.005)
    assert keys in (None, len(shapes))
    expected = {name: tensor.shape for name, tensor in tokenizer.state_dict().items()}
    assert {name: tensor.shape for name, tensor in own.items()} == expected


@torch.no_grad()
@pytest.mark.parametrize("arguments", [TINY, ONE_D_PIECE], ids=["legacy", "tail_drop"])
def test_published_weights_do_what_the_papers_say(arguments, image):
    weights = published_weights()
    slow = Slow(weights, 2, arguments.get("legacy_layout", True))
    tokenizer = TiTok(**arguments).double().eval()
    tokenizer.load_state_dict(tokenizer.own_names(weights))
    image = image.double()
    # Some 60 layers in float64, each with sums of at most 108 products and a rounding of 1e-16: less than 1e-12 of the
    # largest value even if all errors add up; values are of the order of 1.
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(tokenizer.latents(image), torch.stack([slow.latents(each) for each in image]), **close)
    indices = tokenizer.encode(image)
    assert indices.tolist() == [slow.encode(each) for each in image] and len(indices.unique()) > 3
    for count in (6, 4, 1) if tokenizer.tail_drop else (6,):
        expected = torch.stack([slow.decode(each) for each in indices[:, :count].tolist()])
        torch.testing.assert_close(tokenizer.decode(indices[:, :count]), expected, **close)
        assert expected.std() > 0.1


def test_other_tensors_keep_their_names():
    tokenizer = TiTok(**TINY)
    others = {name: torch.zeros(1) for name in ("loss.weight", "pixel_decoder.up.3.block.0.norm1.weight")}
    assert tokenizer.own_names(others) == others


@torch.no_grad()
def test_tokens_are_codes_of_which_the_decoder_makes_the_image(image):
    tokenizer = seeded()
    indices = tokenizer.encode(image)
    assert indices.shape == (2, 6) and indices.dtype == torch.long and indices.max() < 11
    assert torch.equal(tokenizer(image), tokenizer.decode(indices)) and tokenizer(image).shape == image.shape
    assert tokenizer.code((16, 16)) == (6, (6,), 1, 11)
    assert set(tokenizer.pack(image)) == {"codes"}
    twin = TiTok(**tokenizer.config)
    twin.load_state_dict(tokenizer.state_dict())
    assert torch.equal(twin.eval()(image), tokenizer(image))
    assert tokenizer.last_layer.shape == (3, 4, 3, 3)
    assert {id(part) for network in tokenizer.networks() for part in network.modules()}.isdisjoint(
        id(part) for part in tokenizer.quantiser.modules()
    )


@torch.no_grad()
def test_any_prefix_of_one_d_piece(image):
    tokenizer = seeded(ONE_D_PIECE)
    whole = tokenizer.encode(image)
    for count in (1, 4, 6):
        assert torch.equal(tokenizer.encode(image, count), whole[:, :count])
        assert torch.equal(tokenizer.pack(image, count)["codes"], whole[:, :count])
        assert tokenizer.decode(whole[:, :count]).shape == image.shape
        assert tokenizer.code((16, 16), count) == (count, (count,), 1, 11)


@pytest.mark.parametrize("arguments", [TINY, ONE_D_PIECE | {"num_tokens": 1}], ids=["titok", "one_d_piece"])
def test_training_reaches_every_parameter(image, arguments):
    tokenizer = seeded(arguments).train()
    loss = (tokenizer(image) - image).square().mean()
    (to_encoder,) = torch.autograd.grad(loss, tokenizer.latent_tokens, retain_graph=True)
    assert to_encoder.any()  # straight through the codes
    (loss + tokenizer.latent_terms(image)["codebook"][0]).backward()
    without = [name for name, each in tokenizer.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == []


def test_the_terms_of_the_loss(image, tmp_path):
    torch.manual_seed(5)
    teacher = MaskGITAutoencoder(**TEACHER).eval()
    entries = teacher.latents(image).detach().movedim(1, -1).flatten(0, 2)[::5]
    teacher.quantiser.load_state_dict(teacher.quantiser.state_of(entries))
    path = tmp_path / "teacher.safetensors"
    kind = "gpstoken.baselines.maskgit.MaskGITAutoencoder"
    write_weights(path, kind, teacher.config, teacher.state_dict(), {}, torch.float32)
    tokenizer = seeded(TINY | {"teacher": str(path)}).train()
    seen = {}
    tokenizer.to_codes.register_forward_hook(lambda *call: seen.update(latents=call[2].detach().numpy()))
    tokenizer.to_logits.register_forward_hook(lambda *call: seen.update(logits=call[2].detach().double().numpy()))
    entries = tokenizer.quantiser.entries.detach().numpy()
    reconstruction = tokenizer(image)
    terms = tokenizer.latent_terms(image)
    assert {name: weight for name, (_, weight) in terms.items()} == {"codebook": 1.0, "teacher": 0.1}
    directions = seen["latents"] / np.linalg.norm(seen["latents"], axis=-1, keepdims=True)
    nearest = entries[(directions @ entries.T).argmax(-1)]
    # beta = 0.25 moves the latents and 1 the entries. Both terms are means in float32 of numbers below 10: six digits.
    assert terms["codebook"][0].item() == pytest.approx(1.25 * ((directions - nearest) ** 2).mean(), rel=1e-5)
    codes = teacher.encode(image).flatten(1).numpy()
    shares = np.exp(seen["logits"]) / np.exp(seen["logits"]).sum(-1, keepdims=True)
    expected = -np.log([[shares[b, n, codes[b, n]] for n in range(16)] for b in range(2)]).mean()
    assert terms["teacher"][0].item() == pytest.approx(expected, rel=1e-5) and len(np.unique(codes)) > 1
    # Sure logits are one code each, which the teacher decodes.
    sure = 1000 * F.one_hot(torch.from_numpy(codes), 7).float()
    assert torch.equal(tokenizer.image_of(sure), teacher.decode(torch.from_numpy(codes).unflatten(1, (4, 4))))
    reconstruction.mean().backward()
    assert tokenizer.to_logits[0].weight.grad.any() and tokenizer.last_layer.grad is None
    # The teacher is no part of the network.
    assert tokenizer.state_dict().keys() == TiTok(**TINY).state_dict().keys()
    assert tokenizer.config["teacher"] == str(path)


def test_a_teacher_that_does_not_fit(image, tmp_path):
    teacher = MaskGITAutoencoder(**TEACHER | {"block_out_channels": [4, 4]})
    path = tmp_path / "teacher.safetensors"
    kind = "gpstoken.baselines.maskgit.MaskGITAutoencoder"
    write_weights(path, kind, teacher.config, teacher.state_dict(), {}, torch.float32)
    tokenizer = seeded(TINY | {"teacher": str(path)}).train()
    expected = rf"\A{path}: the teacher's block_out_channels is \(4, 4\), expected \(4, 8, 12\)\Z"
    with pytest.raises(ValueError, match=expected):
        tokenizer(image)


def test_training_keeps_a_uniform_number_of_first_tokens(image):
    tokenizer = seeded(ONE_D_PIECE | {"num_tokens": 4, "depth": 1}).train()
    kept = []
    tokenizer.from_codes.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    whole = []
    tokenizer.quantiser.register_forward_hook(lambda *call: whole.append(call[2].entries))
    torch.manual_seed(2)
    for _ in range(200):
        with torch.no_grad():
            tokenizer(image)
    counts = [each.shape[1] for each in kept]
    assert all(torch.equal(part, all_of_it[:, : part.shape[1]]) for part, all_of_it in zip(kept, whole, strict=True))
    # 50 of each are expected, with a standard deviation of sqrt(200 / 4 * 3 / 4) = 6.1; five of them.
    assert [abs(counts.count(number) - 50) < 31 for number in (1, 2, 3, 4)] == [True] * 4 and len(counts) == 200
    titok = seeded().train()
    titok.from_codes.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    for _ in range(5):
        titok(image)
    assert [each.shape[1] for each in kept[200:]] == [6] * 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one: one.encode(torch.zeros(1, 3, 16, 20)), "image: this TiTok was made for 16x16 pixels, got 16x20"),
        (lambda one: one.train()(torch.zeros(1, 3, 8, 8)), "image: this TiTok was made for 16x16 pixels, got 8x8"),
        (
            lambda one: one.encode(torch.zeros(1, 3, 16, 16), 4),
            "num_tokens: this TiTok has 6 tokens an image, cannot make 4; leave it out",
        ),
        (
            lambda one: one.decode(torch.zeros(1, 4, dtype=torch.long)),
            "num_tokens: this TiTok has 6 tokens an image, cannot make 4; leave it out",
        ),
        (lambda one: one.decode(torch.zeros(1, 6)), "indices: expected long[B, N], got torch.float32 [1, 6]"),
        (
            lambda one: one.decode(torch.zeros(1, 2, 3, dtype=torch.long)),
            "indices: expected long[B, N], got torch.int64 [1, 2, 3]",
        ),
        (lambda _: seeded(ONE_D_PIECE).code((16, 16), 7), "num_tokens: expected a whole number from 1 to 6, got 7"),
        (
            lambda _: seeded(ONE_D_PIECE).decode(torch.zeros(1, 0).long()),
            "num_tokens: expected a whole number from 1 to 6, got 0",
        ),
        (lambda _: TiTok(**TINY | {"image_size": 18}), "image_size: 18 is not a multiple of a patch of 4 pixels"),
        (lambda _: TiTok(**TINY | {"heads": 3}), "width: 8 is not a multiple of heads 3"),
        (
            lambda _: TiTok(**TINY | {"norm_num_groups": 3}),
            "block_out_channels: norm_num_groups=3 does not divide 4",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError) as caught:
        call(seeded())
    assert str(caught.value) == message
