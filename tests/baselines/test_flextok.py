"""FlexTok against a slow reference with the published layout, written from its description, and against arithmetic."""

import math
import re

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from scipy.stats import chisquare, kstest

from gpstoken.base import Code
from gpstoken.baselines.flextok import FlexTok
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.files.weights import write_weights
from gpstoken.profiling.counting import count

CHANNELS, PATCHES, WIDTH, HEADS, TOKENS, LEVELS, STEPS, GUIDANCE = 3, 16, 20, 2, 4, (5, 4, 3), 3, 2.5
TINY = {
    "image_size": 16, "block_out_channels": (4, 8), "layers_per_block": 1, "norm_num_groups": 2,
    "latent_channels": CHANNELS, "width": WIDTH, "encoder_depth": 2, "decoder_depth": 2, "heads": HEADS,
    "num_tokens": TOKENS, "levels": LEVELS, "steps": STEPS, "guidance": GUIDANCE,
}  # fmt: skip
BLOCKS = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
# float64 rounds by 1e-16. The two orders of summing a few hundred terms differ by 1e-14; some hundred layers and the
# guidance may amplify that a few thousand times. A wrong layout changes outputs of about 1 by 1e-3 or more.
TOLERANCE = 1e-10


def image(count=2):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


def published_tensors():
    """Random tensors of both transformers under the published names."""
    chance = torch.Generator().manual_seed(2)
    hidden, patch = int(2 / 3 * 4 * WIDTH), 4 * CHANNELS
    shapes = {
        "encoder.module_dict.enc_patch.proj.weight": (WIDTH, patch),
        "encoder.module_dict.enc_patch.proj.bias": (WIDTH,),
        "encoder.module_dict.enc_patch.pos_emb": (1, PATCHES, WIDTH),
        "encoder.module_dict.enc_registers.register_tokens": (1, TOKENS, WIDTH),
        "encoder.module_dict.enc_head.weight": (len(LEVELS), WIDTH),
        "encoder.module_dict.enc_head.bias": (len(LEVELS),),
        "decoder.module_dict.dec_registers.proj.weight": (WIDTH, len(LEVELS)),
        "decoder.module_dict.dec_registers.proj.bias": (WIDTH,),
        "decoder.module_dict.dec_registers.pos_emb": (1, TOKENS, WIDTH),
        "decoder.module_dict.dec_nested_dropout.mask_token": (1, 1, WIDTH),
        "decoder.module_dict.dec_null.null_condition": (1, 1, WIDTH),
        "decoder.module_dict.dec_patch.proj.weight": (WIDTH, patch),
        "decoder.module_dict.dec_patch.proj.bias": (WIDTH,),
        "decoder.module_dict.dec_patch.pos_emb": (1, PATCHES, WIDTH),
        "decoder.module_dict.dec_time.mlp.0.weight": (WIDTH, 256),
        "decoder.module_dict.dec_time.mlp.0.bias": (WIDTH,),
        "decoder.module_dict.dec_time.mlp.2.weight": (WIDTH, WIDTH),
        "decoder.module_dict.dec_time.mlp.2.bias": (WIDTH,),
        "decoder.module_dict.dec_head.adaLN_modulation.1.weight": (2 * WIDTH, WIDTH),
        "decoder.module_dict.dec_head.adaLN_modulation.1.bias": (2 * WIDTH,),
        "decoder.module_dict.dec_head.linear.weight": (patch, WIDTH),
        "decoder.module_dict.dec_head.linear.bias": (patch,),
    }
    for trunk in ("encoder.module_dict.enc_transformer", "decoder.module_dict.dec_transformer"):
        for number in range(2):
            block = f"{trunk}.blocks.{number}"
            shapes |= {f"{block}.attn.{name}.weight": (WIDTH, WIDTH) for name in ("wq", "wk", "wv", "proj")}
            shapes |= {f"{block}.mlp.{name}.weight": (hidden, WIDTH) for name in ("fc1_g", "fc1_x")}
            shapes |= {f"{block}.mlp.fc2.weight": (WIDTH, hidden)}
            if "dec_" in trunk:
                shapes[f"{block}.adaLN_modulation.1.weight"] = (12 * WIDTH, WIDTH)
                shapes[f"{block}.adaLN_modulation.1.bias"] = (12 * WIDTH,)
    tensors = {name: 0.5 * torch.randn(shape, generator=chance, dtype=torch.float64) for name, shape in shapes.items()}
    tensors["encoder.module_dict.enc_head.weight"] *= 0.1  # else all registers reach the outermost levels
    return tensors | {"regularizer._levels": torch.tensor(LEVELS)}


class Reference:
    """One image at a time and one query at a time; `broken` names a detail to do wrongly."""

    def __init__(self, vae, tensors, broken=""):
        self.vae, self.tensors, self.broken = vae, tensors, broken

    def of(self, part, x):
        """x through the layer whose name ends with `part`, with a bias if it has one."""
        (name,) = (name for name in self.tensors if name.endswith(f"{part}.weight"))
        return x @ self.tensors[name].T + self.tensors.get(name.removesuffix("weight") + "bias", 0.0)

    def value(self, part):
        (name,) = (name for name in self.tensors if name.endswith(part))
        return self.tensors[name].reshape(-1, WIDTH)

    def norm(self, x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()

    def attention(self, block, x, sees):
        query, key, value = (self.of(f"{block}.attn.{name}", x) for name in ("wq", "wk", "wv"))
        size, result = WIDTH // HEADS, torch.zeros_like(x)
        scale = 1 / math.sqrt(size) if self.broken == "scale" else 8 / size
        for head in range(HEADS):
            cut = slice(head * size, (head + 1) * size)
            for row in range(len(x)):
                seen = [column for column in range(len(x)) if sees(row, column)]
                one, others = query[row, cut], key[seen][:, cut]
                if self.broken != "query norm":
                    one, others = self.norm(one), self.norm(others)
                result[row, cut] = torch.softmax(scale * (others @ one), 0) @ value[seen][:, cut]
        return self.of(f"{block}.attn.proj", result)

    def mlp(self, block, x):
        gate = self.of(f"{block}.mlp.fc1_g", x)
        return self.of(f"{block}.mlp.fc2", gate / (1 + torch.exp(-gate)) * self.of(f"{block}.mlp.fc1_x", x))

    def cells(self):
        """Channel, row and column in the latent of each number of each patch."""
        inside = [(channel, row, column) for channel in range(CHANNELS) for row in (0, 1) for column in (0, 1)]
        if self.broken == "patch order":
            inside = sorted(inside, key=lambda cell: (cell[1], cell[2], cell[0]))
        return [[(c, 2 * y + row, 2 * x + column) for c, row, column in inside] for y in range(4) for x in range(4)]

    def patches(self, latent):
        return torch.stack([torch.stack([latent[cell] for cell in patch]) for patch in self.cells()])

    def encode(self, picture):
        latent = self.vae.encode(picture[None])[0]
        x = self.of("enc_patch.proj", self.patches(latent)) + self.value("enc_patch.pos_emb")
        x = torch.cat([x, self.value("register_tokens")])

        def sees(row, column):
            if self.broken == "patches see registers" and row < PATCHES:
                return True
            if self.broken == "registers see all" and row >= PATCHES:
                return True
            return column < PATCHES or PATCHES <= column <= row

        for number in range(2):
            block = f"enc_transformer.blocks.{number}"
            x = x + self.attention(block, self.norm(x), sees)
            x = x + self.mlp(block, self.norm(x))
        return self.of("enc_head", x[PATCHES:])

    def digits(self, registers):
        """The level of each number of a register before rounding (Mentzer et al. 2024; bounds 0.1 % wider)."""
        columns = []
        for number, levels in enumerate(LEVELS):
            half, offset = (levels - 1) * 1.001 / 2, 0.5 if levels % 2 == 0 else 0.0
            inner = registers[:, number] + math.atanh(offset / half)
            columns.append(torch.tanh(inner) * half - offset + levels // 2)
        return torch.stack(columns, 1)

    def tokens(self, picture):
        digits = self.digits(self.encode(picture))
        assert (digits - digits.floor() - 0.5).abs().min() > 1e-6  # no number lies between two levels
        return (digits.round() @ torch.tensor([1.0, 5.0, 20.0], dtype=torch.float64)).long()

    def registers(self, tokens):
        rest, numbers = tokens.clone(), []
        for levels in LEVELS:
            numbers.append((rest % levels - levels // 2) / (levels // 2))
            rest = rest // levels
        known = self.of("dec_registers.proj", torch.stack(numbers, 1).double())
        masks = self.value("mask_token").expand(TOKENS - len(tokens), -1)
        return known if self.broken == "dropped registers are removed" else torch.cat([known, masks])

    def velocity(self, latent, time, registers):
        x = self.of("dec_patch.proj", self.patches(latent)) + self.value("dec_patch.pos_emb")
        x = torch.cat([x, registers + self.value("dec_registers.pos_emb")[: len(registers)]])
        angles = torch.tensor([time * 10000 ** (-i / 128) for i in range(128)], dtype=torch.float64)
        hidden = self.of("dec_time.mlp.0", torch.cat([angles.cos(), angles.sin()]))
        condition = self.of("dec_time.mlp.2", hidden * torch.sigmoid(hidden))
        active = condition * torch.sigmoid(condition)
        for number in range(2):
            block = f"dec_transformer.blocks.{number}"
            kinds = self.of(f"{block}.adaLN_modulation.1", active).reshape(2, 6, WIDTH)
            if self.broken == "modulation swapped":
                kinds = kinds.flip(0)
            if self.broken == "one modulation":
                kinds = kinds[:1].expand(2, 6, WIDTH)
            of_row = [kinds[0 if row < PATCHES else 1] for row in range(len(x))]
            shift1, scale1, gate1, shift2, scale2, gate2 = (torch.stack([m[i] for m in of_row]) for i in range(6))
            x = x + gate1 * self.attention(block, self.norm(x) * (1 + scale1) + shift1, lambda row, column: True)
            x = x + gate2 * self.mlp(block, self.norm(x) * (1 + scale2) + shift2)
        shift, scale = self.of("dec_head.adaLN_modulation.1", active).reshape(2, WIDTH)
        values = self.of("dec_head.linear", self.norm(x[:PATCHES]) * (1 + scale) + shift)
        result = torch.zeros_like(latent)
        for patch, numbers in zip(self.cells(), values, strict=True):
            for cell, number in zip(patch, numbers, strict=True):
                result[cell] = number
        return result

    def decode(self, tokens):
        noise = np.random.Generator(np.random.Philox(key=[0, 0])).standard_normal((CHANNELS, 8, 8), np.float32)
        latent, registers = torch.from_numpy(noise).double(), self.registers(tokens)
        nothing = self.value("null_condition").expand(len(registers), -1)
        for number in range(STEPS):
            time = number / STEPS if self.broken == "time reversed" else 1 - number / STEPS
            with_tokens, without = (self.velocity(latent, time, each) for each in (registers, nothing))
            latent = latent - (without + GUIDANCE * (with_tokens - without)) / STEPS
        return self.vae.decode(latent[None])[0]


@pytest.fixture
def published(ldm):
    """(vae, its weights and those of the transformers under the published names)."""
    vae = ldm(CHANNELS, (4, 8), 1, 2, attention=0, codebook=None)
    weights = convert_ldm_vae_checkpoint(dict(vae.state_dict()), BLOCKS)
    return vae, {f"vae.{name}": tensor for name, tensor in weights.items()} | published_tensors()


@pytest.fixture
def loaded(published):
    tokenizer = FlexTok(**TINY).double().eval()
    tokenizer.load_state_dict(tokenizer.own_names(published[1]))
    return tokenizer


@pytest.fixture
def random():
    """In training, with random numbers for the weights that start as zero, and every second image without tokens."""
    torch.manual_seed(0)
    tokenizer = FlexTok(**TINY | {"null_share": 0.5}).double().train()
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return tokenizer


def test_the_published_size():
    with torch.device("meta"):
        tokenizer = FlexTok(steps=1).eval()
    parts = (tokenizer, tokenizer.vae)
    parameters = [sum(parameter.numel() for parameter in part.parameters()) / 1e6 for part in parts]
    assert parameters == pytest.approx([949.73, 83.82], abs=0.01)
    tokens, encoder, _ = count(lambda: tokenizer.encode(torch.empty(1, 3, 256, 256, device="meta")))
    _, decoder, _ = count(lambda: tokenizer.decode(tokens))
    _, pixels, _ = count(lambda: tokenizer.vae.decode(torch.empty(1, 16, 32, 32, device="meta")))
    assert tokens.shape == (1, 256) and tokenizer.code((256, 256)) == Code(256, (256,), 1, 64_000)
    step = decoder.total - pixels.total
    gflops = [2 * number / 1e9 for number in (encoder.total, pixels.total, step / 2, 25 * step + pixels.total)]
    assert gflops == pytest.approx([588.2, 622.3, 315.9, 16_415], rel=0.001)  # measured on official code, section 3
    # The paper's figure, 7665, is of multiply-adds without attention's products.
    attention = 25 * (decoder.attention - pixels.attention) + pixels.attention
    assert (25 * step + pixels.total - attention) / 1e9 == pytest.approx(7665, abs=0.5)


@torch.no_grad()
def test_published_weights_compute_the_same(published, loaded):
    reference = Reference(*published)
    tokens = loaded.encode(image())
    assert tokens.dtype == torch.long and tokens.shape == (2, TOKENS) and len(tokens.unique()) > 4
    assert torch.equal(tokens, torch.stack([reference.tokens(picture) for picture in image()]))
    registers = loaded.encoder(loaded.posterior(image()).mean, TOKENS)
    expected = torch.stack([reference.encode(picture) for picture in image()])
    torch.testing.assert_close(registers, expected, rtol=0, atol=TOLERANCE)
    for length in (TOKENS, 2):
        known = torch.stack([reference.decode(row) for row in tokens[:, :length]])
        torch.testing.assert_close(loaded.decode(tokens[:, :length]), known, rtol=TOLERANCE, atol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize(
    "broken",
    [
        "scale", "query norm", "patch order", "patches see registers", "registers see all", "modulation swapped",
        "one modulation", "dropped registers are removed", "time reversed",
    ],
)  # fmt: skip
def test_each_detail_of_the_reference_shows(published, loaded, broken):
    reference = Reference(*published, broken)
    registers = loaded.encoder(loaded.posterior(image(1)).mean, TOKENS)[0]
    tokens = loaded.encode(image(1))[:, :2]
    differences = [
        (registers - reference.encode(image(1)[0])).abs().max(),
        (loaded.decode(tokens)[0] - reference.decode(tokens[0])).abs().max(),
    ]
    assert max(differences) > 1e-3


def test_names_of_a_published_file(published, loaded):
    names = loaded.own_names(published[1])
    assert names.keys() == loaded.state_dict().keys()
    unknown = {"encoder.module_dict.enc_odd.weight": torch.zeros(7, 7), "other": torch.zeros(1)}
    kept = loaded.own_names(published[1] | unknown)
    assert kept.keys() - names.keys() == unknown.keys()
    llama = {"fc1_g": "w1", "fc1_x": "w3", "fc2": "w2"}
    renamed = {
        re.sub(r"mlp\.(\w+)", lambda match: f"mlp.{llama[match[1]]}", name) if ".blocks." in name else name: tensor
        for name, tensor in published[1].items()
    }
    assert renamed.keys() != published[1].keys()
    own = loaded.state_dict()
    for found in (loaded.own_names(renamed), loaded.own_names(own)):
        assert found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own)


@torch.no_grad()
def test_any_prefix(loaded):
    tokens = loaded.encode(image())
    for length in range(1, TOKENS + 1):
        assert torch.equal(loaded.encode(image(), num_tokens=length), tokens[:, :length])
        assert loaded.code((16, 16), length) == Code(length, (length,), 1, 60)
    loaded.deviation.fill_(2.0)
    tokens = loaded.encode(image())
    assert torch.equal(loaded(image()), loaded.decode(tokens)) and loaded(image()).shape == image().shape


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(loaded):
    tokens = loaded.encode(image(3))
    together = loaded.decode(tokens)
    torch.manual_seed(5)
    assert torch.equal(together, loaded.decode(tokens))
    # The order of sums may change with the batch's size.
    torch.testing.assert_close(loaded.decode(tokens[2:]), together[2:], rtol=TOLERANCE, atol=TOLERANCE)
    same = loaded.decode(tokens[[1, 1]])
    torch.testing.assert_close(same[0], same[1], rtol=TOLERANCE, atol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 2), (3.0, 4)])
def test_evaluations_of_the_decoder(guidance, rows):
    tokenizer = FlexTok(**TINY | {"guidance": guidance}).eval()
    times = []
    tokenizer.decoder.register_forward_pre_hook(lambda _, given: times.append(given[1]))
    tokenizer.decode(torch.zeros(2, 1, dtype=torch.long))
    assert [len(time) for time in times] == [rows] * STEPS
    expected = torch.tensor([1, 2 / 3, 1 / 3])
    torch.testing.assert_close(torch.stack(times), expected[:, None].expand(-1, rows))


def test_gradients(random):
    assert random(image(8)) is None  # the loss is that of the flow, so no image is made
    ((value, weight),) = random.latent_terms(image(8)).values()
    (weight * value).backward()
    trained = {name: each for name, each in random.named_parameters() if not name.startswith("vae.")}
    idle = [name for name, each in trained.items() if each.grad is None or not each.grad.abs().max() > 0]
    assert idle == []
    assert not any(each.requires_grad for each in random.vae.parameters())
    assert random.last_layer.shape == (3, 4, 3, 3)
    found = {id(parameter) for network in random.networks() for parameter in network.parameters()}
    assert found == {id(parameter) for parameter in random.parameters()}


@torch.no_grad()
def test_the_terms_of_the_loss(random):
    seen, wanted = {}, torch.randn(2, CHANNELS, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    random.encoder.register_forward_pre_hook(lambda _, given: seen.update(latent=given[0]))
    random.decoder.register_forward_pre_hook(lambda _, given: seen.update(noisy=given[0], time=given[1]))
    random.decoder.register_forward_hook(lambda *_: wanted)
    random.deviation.fill_(3.0)
    random(image())
    ((name, (flow, weight)),) = random.latent_terms(image()).items()
    time = seen["time"].reshape(2, 1, 1, 1)
    noise = (seen["noisy"] - (1 - time) * seen["latent"]) / time
    mean, _ = random.vae.encode(image()).latent_dist.parameters.chunk(2, dim=1)
    torch.testing.assert_close(random.deviation, 0.9 * 3 + 0.1 * mean.std())
    torch.testing.assert_close(seen["latent"], mean / mean.std())
    assert noise.std() == pytest.approx(1, abs=0.2)  # of 384 numbers: five standard errors of 0.036
    assert (name, weight) == ("flow", 1)
    assert flow.item() == pytest.approx((wanted - (noise - seen["latent"])).square().mean().item())


@pytest.fixture
def teacher(tmp_path):
    """Writes an autoencoder as an exported file: the path and the autoencoder."""

    def write(**changes):
        torch.manual_seed(4)
        sizes = {name: TINY[name] for name in ("latent_channels", "block_out_channels", "layers_per_block")}
        trained = KLAutoencoder(**sizes, **{"norm_num_groups": TINY["norm_num_groups"]} | changes).eval()
        path, kind = tmp_path / "teacher.safetensors", "gpstoken.baselines.kl.KLAutoencoder"
        write_weights(path, kind, trained.config, trained.state_dict(), {}, torch.float32)
        return path, trained

    return write


@torch.no_grad()
def test_the_teacher_is_the_autoencoder(teacher):
    path, trained = teacher()
    tokenizer = FlexTok(**TINY, teacher=str(path)).train()
    first, picture = tokenizer.vae.decoder.conv_out.weight.clone(), image().float()
    tokenizer(picture)
    assert not torch.equal(tokenizer.vae.decoder.conv_out.weight, first)
    found, expected = tokenizer.vae.state_dict(), trained.autoencoder.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    path.unlink()
    tokenizer(picture)  # it is read once


@torch.no_grad()
def test_a_teacher_that_does_not_fit(teacher):
    path, _ = teacher(norm_num_groups=4)
    tokenizer = FlexTok(**TINY, teacher=str(path)).train()
    with pytest.raises(ValueError, match=rf"\A{path}: the teacher's norm_num_groups is 4, expected 2\Z"):
        tokenizer(image().float())


@torch.no_grad()
def test_registers_that_have_drifted_still_differ(random):
    """A bias of 50 in front of the hyperbolic tangent would leave one code."""
    random.encoder.output.bias += 50
    for _ in range(80):  # of the running means, 0.9 ** 80 = 2e-4 of the start is left: 50 becomes 0.01
        random(image(8))
    registers = random.registers(random.posterior(image(8)).mean / random.deviation, TOKENS)
    torch.testing.assert_close(registers.mean((0, 1)), torch.zeros(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(registers.std((0, 1), correction=0), torch.ones(3).double(), rtol=1e-6, atol=0)
    assert len(random.eval().encode(image(8)).unique()) > 8


@torch.no_grad()
def test_what_training_draws():
    torch.manual_seed(0)
    tokenizer = FlexTok(**TINY | {"num_tokens": 6, "null_share": 0.25, "encoder_depth": 1, "decoder_depth": 1})
    drawn = {}
    tokenizer.decoder.register_forward_pre_hook(lambda _, given: drawn.update(time=given[1], registers=given[2]))
    tokenizer.train()(image(600).float())
    registers, decoder = drawn["registers"], tokenizer.decoder
    nothing = (registers == decoder.null_token).all(-1).all(-1)
    kept = (registers[~nothing] != decoder.mask_token).any(-1).sum(-1)
    assert (registers[~nothing][kept == 2][:, 2:] == decoder.mask_token).all()  # the last ones are dropped
    counts = [int((kept == length).sum()) for length in (1, 2, 4, 6)]
    assert sum(counts) == len(kept)
    # The seed is fixed; a right distribution would fail one seed in a million.
    assert chisquare(counts).pvalue > 1e-6
    assert chisquare([int(nothing.sum()), len(kept)], [150, 450]).pvalue > 1e-6
    assert kstest(drawn["time"].numpy(), "uniform").pvalue > 1e-6


@torch.no_grad()
def test_what_does_not_fit(loaded):
    with pytest.raises(ValueError, match=r"\Aimage: this FlexTok was made for 16x16 pixels, got 32x16\Z"):
        loaded.encode(torch.zeros(1, 3, 32, 16, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"\Aimage: this FlexTok was made for 16x16 .*, got 8x8\Z"):
        loaded.train()(torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    for count_ in (0, 5, 2.0):
        with pytest.raises(ValueError, match=rf"\Anum_tokens: expected a whole number from 1 to 4, got {count_}\Z"):
            loaded.code((16, 16), count_)
    for tokens in (torch.zeros(1, 2), torch.zeros(2, dtype=torch.long), torch.zeros(1, 5, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"\Atokens: expected long\[B, 1 to 4\], got torch\.\w+ \[[\d, ]+\]\Z"):
            loaded.decode(tokens)
    for changes, message in (
        ({"image_size": 18}, "image_size: expected a multiple of 4 pixels, got 18"),
        ({"heads": 3}, "width: expected a multiple of heads=3, got 20"),
        ({"norm_num_groups": 3}, "block_out_channels: norm_num_groups=3 does not divide 4"),
    ):
        with pytest.raises(ValueError, match=rf"\A{message}\Z"):
            FlexTok(**TINY | changes)


@torch.no_grad()
def test_config_rebuilds_it(loaded):
    twin = FlexTok(**loaded.config).double().eval()
    twin.load_state_dict(loaded.state_dict())
    assert torch.equal(twin(image(1)), loaded(image(1)))
