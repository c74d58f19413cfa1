import pytest
import torch

from gpstoken.baselines.maskgit import MaskGITAutoencoder, ResidualBlock

TINY = {
    "codebook_size": 5, "latent_channels": 3, "block_out_channels": [4, 8, 8], "layers_per_block": 1,
    "norm_num_groups": 2,
}  # fmt: skip


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return MaskGITAutoencoder(**TINY).eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        tokenizer = MaskGITAutoencoder().eval()
        indices = tokenizer.encode(torch.empty(1, 3, 256, 256))
    # 54.51 M in systems.md of the suite, 54.5 M in the paper's table
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) / 1e6 == pytest.approx(54.51, abs=0.01)
    # By hand: two blocks a level of 128, 128, 256, 256 and 512 channels and two of 512 between, in each half
    encoder = 3 * 128 + 4 * 128**2 + 4 * 128**2 + 128 * 256 + 3 * 256**2 + 4 * 256**2 + 256 * 512 + 7 * 512**2
    decoder = 256 * 512 + 8 * 512**2 + 512 * 256 + 7 * 256**2 + 256 * 128 + 7 * 128**2 + 128 * 3
    doubling = 512**2 + 256**2 + 256**2 + 128**2
    of_one_pixel = 256**2 + 512**2 + 512 * 256 + 256**2 + 128**2  # four shortcuts and the encoder's head
    weights = sum(parameter.numel() for parameter in tokenizer.parameters() if parameter.dim() == 4)
    assert weights == 9 * (encoder + decoder + doubling) + of_one_pixel
    assert tokenizer.quantiser.entries.shape == (1024, 256)
    assert indices.shape == (1, 16, 16) and tokenizer.factor == 16


def test_a_block_whose_width_changes_has_no_path_around_it():
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    narrow, wide = ResidualBlock(4, 4, 2), ResidualBlock(4, 8, 2)
    for block in (narrow, wide):
        torch.nn.init.zeros_(block.conv2.weight)
    assert torch.equal(narrow(x), x) and torch.equal(wide(x), torch.zeros(1, 8, 3, 3))
    torch.nn.init.dirac_(wide.conv2.weight)  # what the second convolution is given passes through it
    with torch.no_grad():
        hidden = torch.nn.functional.silu(wide.norm2(wide.conv1(torch.nn.functional.silu(wide.norm1(x)))))
        wide.shortcut.weight.copy_(3 * torch.eye(8)[..., None, None])
        # h + 3 h against 4 h: two roundings of 6e-8
        torch.testing.assert_close(wide(x), 4 * hidden, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_images_are_of_0_to_1_within(tiny, image):
    seen = []
    tiny.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    indices = tiny.encode(image)
    assert seen[0].min() >= 0 and seen[0].max() <= 1 and torch.allclose(2 * seen[0] - 1, image, atol=1e-6)
    tiny.decoder.register_forward_hook(lambda _, inputs, output: torch.full_like(output, 0.25))
    assert torch.equal(tiny.decode(indices), torch.full_like(image, -0.5))


@torch.no_grad()
def test_tokens_are_the_nearest_entries(tiny, image):
    indices = tiny.encode(image)
    assert indices.shape == (2, 8, 6) and indices.dtype == torch.long
    assert torch.equal(tiny(image), tiny.decode(indices)) and tiny(image).shape == image.shape
    latents = tiny.latents(image).movedim(1, -1)
    distances = (latents[..., None, :] - tiny.quantiser.entries).square().sum(-1)
    assert torch.equal(indices, distances.argmin(-1))
    packed = tiny.pack(image)
    assert set(packed) == {"codes"} and torch.equal(tiny.unpack(packed), indices)


def published(widths, blocks, latent, shrinking=False):
    """Random weights under the published names of both halves, of MaskGIT or of MaskBit."""
    shapes = {"encoder.conv_in.weight": (widths[0], 3, 3, 3)}
    of_level, of_middle = ("res_blocks", "mid.res_blocks") if shrinking else ("block", "mid")

    def block(place, before, after):
        norms = {"norm1": before, "norm2": after}
        shapes.update(
            {f"{place}.{norm}.{part}": (width,) for norm, width in norms.items() for part in ("weight", "bias")}
        )
        shapes[f"{place}.conv1.weight"], shapes[f"{place}.conv2.weight"] = (after, before, 3, 3), (after, after, 3, 3)
        if before != after:
            shapes[f"{place}.nin_shortcut.weight"] = (after, after, 1, 1)

    before = widths[0]
    for level, width in enumerate(widths):
        for number in range(blocks):
            block(f"encoder.down.{level}.{of_level}.{number}", before, width)
            before = width
        if shrinking and level < len(widths) - 1:
            shapes[f"encoder.down.{level}.down_conv.weight"] = (width, width, 3, 3)
            shapes[f"encoder.down.{level}.down_conv.bias"] = (width,)
    for half in ("encoder", "decoder"):
        for number in range(blocks):
            block(f"{half}.{of_middle}.{number}", widths[-1], widths[-1])
    for level in reversed(range(len(widths))):
        for number in range(blocks):
            block(f"decoder.up.{level}.{of_level}.{number}", before, widths[level])
            before = widths[level]
        if level:
            shapes[f"decoder.up.{level}.upsample_conv.weight"] = (before, before, 3, 3)
            shapes[f"decoder.up.{level}.upsample_conv.bias"] = (before,)
    for place, width, out, side in (("encoder", widths[-1], latent, 1), ("decoder", widths[0], 3, 3)):
        shapes |= {f"{place}.norm_out.weight": (width,), f"{place}.norm_out.bias": (width,)}
        shapes |= {f"{place}.conv_out.weight": (out, width, side, side), f"{place}.conv_out.bias": (out,)}
    shapes |= {"decoder.conv_in.weight": (widths[-1], latent, 3, 3), "decoder.conv_in.bias": (widths[-1],)}
    chance = torch.Generator().manual_seed(2)
    weights = {name: torch.randn(shape, generator=chance).double() / 3 for name, shape in shapes.items()}
    weights["encoder.conv_out.bias"] *= 0  # else one code stands everywhere
    weights["encoder.norm_out.bias"] *= 0
    weights["encoder.conv_out.weight"] *= 9
    return weights


def reconstructed(weights, image, quantised, widths, blocks, groups, shrinking=False):
    """What the published network makes of double[B, 3, H, W] in [-1, 1], layer by layer.

    quantised turns latents, channels last, into the vectors that the decoder takes.
    """
    of_level, of_middle = ("res_blocks", "mid.res_blocks") if shrinking else ("block", "mid")

    def normal(x, place):
        pieces = x.unflatten(1, (groups, -1))
        mean, variance = pieces.mean((2, 3, 4), keepdim=True), pieces.var((2, 3, 4), keepdim=True, correction=0)
        x = ((pieces - mean) / (variance + 1e-6).sqrt()).flatten(1, 2)
        x = x * weights[f"{place}.weight"][:, None, None] + weights[f"{place}.bias"][:, None, None]
        return x * x.sigmoid()

    def convolved(x, place, stride=1):
        weight, bias = weights[f"{place}.weight"], weights.get(f"{place}.bias")
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    def block(x, place):
        y = convolved(
            normal(convolved(normal(x, f"{place}.norm1"), f"{place}.conv1"), f"{place}.norm2"), f"{place}.conv2"
        )
        return y + (convolved(y, f"{place}.nin_shortcut") if f"{place}.nin_shortcut.weight" in weights else x)

    x = convolved((image + 1) / 2, "encoder.conv_in")
    for level in range(len(widths)):
        for number in range(blocks):
            x = block(x, f"encoder.down.{level}.{of_level}.{number}")
        if level < len(widths) - 1 and shrinking:
            x = convolved(x, f"encoder.down.{level}.down_conv", 2)
        elif level < len(widths) - 1:
            x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    for number in range(blocks):
        x = block(x, f"encoder.{of_middle}.{number}")
    x = convolved(normal(x, "encoder.norm_out"), "encoder.conv_out")
    x = convolved(quantised(x.movedim(1, -1)).movedim(-1, 1), "decoder.conv_in")
    for number in range(blocks):
        x = block(x, f"decoder.{of_middle}.{number}")
    for level in reversed(range(len(widths))):
        for number in range(blocks):
            x = block(x, f"decoder.up.{level}.{of_level}.{number}")
        if level:
            x = convolved(x.repeat_interleave(2, 2).repeat_interleave(2, 3), f"decoder.up.{level}.upsample_conv")
    return 2 * convolved(normal(x, "decoder.norm_out"), "decoder.conv_out") - 1


@torch.no_grad()
@pytest.mark.parametrize("blocks", [1, 2])
def test_published_weights_compute_the_same(image, blocks):
    widths = (4, 8, 8, 12)
    tokenizer = MaskGITAutoencoder(5, 3, widths, blocks, 2).double().eval()
    entries = torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    weights = published(widths, blocks, 3) | {"quantize.embedding.weight": entries}
    named = tokenizer.own_names(weights)
    assert {name: tensor.shape for name, tensor in named.items()} == {
        name: tensor.shape for name, tensor in tokenizer.state_dict().items()
    }
    tokenizer.load_state_dict(named)
    found = []

    def nearest(latents):
        found.append((latents[..., None, :] - entries).square().sum(-1).argmin(-1))
        return entries[found[0]]

    expected = reconstructed(weights, image.double(), nearest, widths, blocks, 2)
    (indices,) = found
    assert torch.equal(tokenizer.encode(image.double()), indices) and len(indices.unique()) > 1
    torch.testing.assert_close(tokenizer(image.double()), expected, rtol=0, atol=1e-11)  # doubles of some tens
    assert tokenizer.own_names({"encoder.extra.weight": indices}) == {"encoder.extra.weight": indices}


def test_the_commitment_weighs_a_quarter_on_the_encoder(tiny, image):
    tiny.train()
    with torch.no_grad():
        tiny.encoder[-1].weight.zero_()
        tiny.encoder[-1].bias.copy_(torch.tensor([6.2, 6.6, 8.4]))
    tiny.quantiser.load_state_dict(tiny.quantiser.state_of(torch.arange(15.0).reshape(5, 3)))
    tiny(image)
    value, factor = tiny.latent_terms(image)["codebook"]
    # mean (z - e)^2 = (.04 + .16 + .16) / 3 = .12, once whole and once with beta = .25
    assert value.item() == pytest.approx(0.15, rel=1e-5) and factor == 1.0
    to_bias, to_weight = torch.autograd.grad(value, [tiny.encoder[-1].bias, *tiny.quantiser.parameters()])
    assert to_bias.tolist() == pytest.approx([0.1 / 3, -0.2 / 3, 0.2 / 3], rel=1e-4)
    assert to_weight[0, 2].tolist() == pytest.approx([-0.4 / 3, 0.8 / 3, -0.8 / 3], rel=1e-4)


def test_config_rebuilds_it(tiny, image):
    twin = MaskGITAutoencoder(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval()(image), tiny(image))
    assert tiny.last_layer.shape == (3, 4, 3, 3) and tiny.last_layer.requires_grad
    with pytest.raises(ValueError, match="norm_num_groups=3 does not divide 4"):
        MaskGITAutoencoder(**TINY | {"norm_num_groups": 3})
