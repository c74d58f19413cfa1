"""D2iT's DVAE against diffusers' encoders of both depths, scipy's densities, and grids typed by hand."""

import math

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from scipy.stats import norm

from gpstoken.baselines.dynamic_grain import DynamicGrainAutoencoder
from gpstoken.baselines.grain_codes import GrainTokens, gathered, placed
from gpstoken.baselines.grey_entropy import entropy, exact_entropy, grey_of, regions_of
from gpstoken.baselines.grid import latent_diffusion_blocks
from gpstoken.rounding import rounded

WIDTHS = (4, 6, 8)
TINY = {"latent_channels": 3, "block_out_channels": WIDTHS, "layers_per_block": 1, "norm_num_groups": 2}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    tokenizer = DynamicGrainAutoencoder(**TINY)
    for parameter in tokenizer.parameters():  # as made, norms and biases are ones and zeros: no test of their order
        parameter.data += 0.1 * torch.randn_like(parameter)
    return tokenizer.eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_published_form():
    with torch.device("meta"):
        tokenizer = DynamicGrainAutoencoder().eval()
        codes, grain = tokenizer.encode(torch.empty(1, 3, 256, 256))
        assert tokenizer.decode(GrainTokens(codes, grain)).shape == (1, 3, 256, 256)
    # systems.md: half of 16 x 16 regions have 4 codes, the others 1, 640 in all; the decoder starts at 32 x 32.
    assert codes.shape == (1, 640, 4) and grain.shape == (1, 16, 16) and tokenizer.factor == 16
    assert tokenizer.code((256, 256)) == (640, (640,), 4, None)
    # No figure is published. The decoder is that of Stable Diffusion's f8 autoencoder, 49.49 M in systems.md.
    decoder = sum(parameter.numel() for parameter in tokenizer.decoder.parameters())
    assert decoder / 1e6 == pytest.approx(49.49, abs=0.005)
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == 105_989_943


def within(prefix, tensors):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@pytest.mark.parametrize("levels", [2, 3])
def test_each_outlet_is_that_of_an_autoencoder_of_its_depth(tiny, image, levels):
    """The library's autoencoder of as many levels, with the same weights."""
    oracle = AutoencoderKL(latent_channels=3, **latent_diffusion_blocks(WIDTHS[:levels], 1, 2, 0)).double().eval()
    tensors = tiny.double().state_dict()
    outlet = within(f"encoder.{'fine' if levels == 2 else 'coarse'}.", tensors)
    blocks = {name: tensor for name, tensor in within("encoder.", tensors).items() if name[:4] in ("conv", "down")}
    own = {}
    for name, tensor in (blocks | outlet).items():
        name = name.replace("downsample.", f"down_blocks.{len(WIDTHS) - 2}.downsamplers.0.")
        if levels == 2 and (name.startswith("down_blocks.2") or name.startswith("down_blocks.1.downsamplers")):
            continue
        own[f"encoder.{name}" if "quant_conv" not in name else name] = tensor
    own |= {name: tensor for name, tensor in oracle.state_dict().items() if name.startswith(("decoder", "post"))}
    oracle.load_state_dict(own)
    with torch.no_grad():
        found = tiny.encoder(image.double())[levels - 2]
        expected = oracle.encode(image.double()).latent_dist.parameters
    # float64: a dozen layers, of sums of at most 72 terms of about 1 each
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_the_decoder_is_the_librarys_on_the_grid_of_codes(tiny, image):
    oracle = AutoencoderKL(latent_channels=3, **latent_diffusion_blocks(WIDTHS[:2], 1, 2, 0)).double().eval()
    image, tensors = image.double(), tiny.double().state_dict()
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(("decoder", "post_quant"))}
    oracle.load_state_dict(oracle.state_dict() | own)
    with torch.no_grad():
        tokens = tiny.encode(image)
        fine, coarse = (moments[:, :3].float().double() for moments in tiny.encoder(image))
        # "Neighbour copy": where the map is coarse, all four cells have the coarse code.
        mask = tokens.grain[:, None].repeat_interleave(2, 2).repeat_interleave(2, 3)
        tokens = GrainTokens(tokens.codes.double(), tokens.grain)
        grid = torch.where(mask > 0, fine, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3))
        assert torch.equal(placed(tokens), grid)
        # The same layers on numbers that lie otherwise in memory: float64 sums of at most 72 terms of about 1 each
        torch.testing.assert_close(tiny.decode(tokens), oracle.decode(grid).sample, rtol=0, atol=1e-11)
        assert torch.equal(tiny.float()(image.float()), tiny.decode(tiny.encode(image.float())))
    assert 0 < mask.mean() < 1


def test_codes_in_their_order():
    fine = torch.arange(16.0).view(1, 1, 4, 4)
    coarse = torch.tensor([[[[100.0, 101.0], [102.0, 103.0]]]])
    grain = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    codes = gathered(fine, coarse, grain, 2)
    # The coarse regions 0 and 3, then region 1 at rows 0 and 1, columns 2 and 3, then region 2.
    assert codes.flatten().tolist() == [100, 103, 2, 3, 6, 7, 8, 9, 12, 13]
    assert placed(GrainTokens(codes, grain))[0, 0].tolist() == [
        [100, 100, 2, 3], [100, 100, 6, 7], [8, 9, 103, 103], [12, 13, 103, 103]
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"\Atokens: 9 codes do not fit 4 regions of 1 or 4 codes\Z"):
        placed(GrainTokens(codes[:, 1:], grain))


def test_entropy_is_that_of_a_kernel_density():
    pixels = torch.rand(3, 2, 25, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    levels = np.arange(256) / 255
    for row in range(3):
        for column in range(2):
            density = sum(norm.pdf(levels, value, 0.01) for value in pixels[row, column].numpy())
            shares = density / density.sum()
            expected = -(shares * np.log2(shares, where=shares > 0, out=np.zeros(256))).sum()
            # sums of 25 and of 256 float64
            assert exact_entropy(pixels)[row, column].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [1, 16, 256])
def test_the_fast_entropy_is_the_exact_one(count):
    chance = torch.Generator().manual_seed(count)
    pixels = torch.rand(40, count, generator=chance, dtype=torch.float64)
    pixels[:10] = pixels[:10].round()  # black and white, whose kernels are cut off
    pixels[10:20] = 0.5 + 0.01 * pixels[10:20]
    # A kernel is left out beyond 16.5 levels, 6.47 deviations, where it is 8.1e-10 of its peak. Its sum over the levels
    # is 2.5 peaks or more (half of that at an end), and what is left out less than 2 * 8.1e-10 * 1 / (1 - r), with a
    # ratio r = exp(-6.47 / 2.55) = 0.079 of one level to the next: a share d < 1.4e-9. An entropy of 256 shares
    # changes by less than d (log2(256 / d) + 1.5) = 6e-8.
    torch.testing.assert_close(entropy(pixels), exact_entropy(pixels), rtol=0, atol=6e-8)


def test_flat_regions_have_the_entropy_of_the_kernel():
    # Of a Gaussian of 2.55 levels, log2(2.55 sqrt(2 pi e)); sampled at whole levels, it differs by less than 1e-15.
    expected = math.log2(2.55 * math.sqrt(2 * math.pi * math.e))
    flat = torch.full((1, 9), 0.4, dtype=torch.float64)
    assert exact_entropy(flat).item() == pytest.approx(expected, abs=1e-12)
    # Two values far apart, half of the pixels each: a bit more.
    two = torch.tensor([[0.2, 0.8] * 4], dtype=torch.float64)
    assert exact_entropy(two).item() == pytest.approx(expected + 1, abs=1e-12)


def test_grey_and_regions():
    image = torch.zeros(1, 3, 4, 6)
    image[:, 0, 1, 5] = 1.0  # (1 + .299) / 2
    grey = grey_of(image)
    assert grey[0, 1, 5].item() == pytest.approx(0.6495, abs=1e-7) and grey[0, 0, 0].item() == 0.5
    regions = regions_of(grey, 2)
    assert regions.shape == (1, 2, 3, 4) and (regions != 0.5).nonzero().tolist() == [[0, 0, 2, 3]]


def test_the_busiest_half_is_fine_and_of_equal_ones_the_first(tiny):
    image = torch.zeros(1, 3, 16, 16)  # 4 x 4 regions of 4 pixels
    image[:, :, 4:8, 8:16] = torch.linspace(-1, 1, 8)
    image[:, :, 12, 0] = 1.0
    found = tiny.grain(image)[0].tolist()
    # Three busy regions, and the first five of the thirteen flat ones.
    assert found == [[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert tiny.grain(torch.rand(5, 3, 20, 12) * 2 - 1).sum((1, 2)).tolist() == [7.0] * 5  # of 15


def test_training_draws_every_code_and_counts_its_divergence_once(tiny, image, monkeypatch):
    for outlet in (tiny.encoder.fine, tiny.encoder.coarse):  # its last layer forgets what it is given
        torch.nn.init.zeros_(outlet.quant_conv.weight)
        outlet.quant_conv.bias.data = torch.tensor([1.5] * 3 + [math.log(4.0)] * 3)
    monkeypatch.setattr(tiny, "decode", lambda tokens: tokens.codes)
    torch.manual_seed(0)
    draws = tiny.train()(image.repeat(50, 1, 1, 1))
    # 24 regions, 12 of them fine: 60 codes of 3 numbers, (1.5^2 + 4 - 1 - ln 4) / 2 each; a float32 sum of 180
    assert draws.shape == (100, 60, 3)
    assert tiny.divergence.tolist() == pytest.approx([180 * 1.9318528] * 100, rel=1e-5)
    # 18,000 draws of N(1.5, 2): the errors of mean and deviation are 0.015 and 0.0105; four of them
    assert draws.mean().item() == pytest.approx(1.5, abs=0.06) and draws.std().item() == pytest.approx(2.0, abs=0.042)
    (term, weight) = tiny.latent_terms(image)["kl"]
    assert term.item() == pytest.approx(180 * 1.9318528, rel=1e-5) and weight == 1e-6 / (3 * 16 * 24)


def test_every_weight_is_trained(tiny, image):
    (tiny.train()(image).square().mean() + 1e-3 * tiny.divergence.mean()).backward()
    assert [name for name, weight in tiny.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@torch.no_grad()
def test_pack_and_unpack_and_bits(tiny, image):
    tokens, parts = tiny.encode(image), tiny.pack(image)
    assert {name: tuple(part.shape) for name, part in parts.items()} == {"tokens": (2, 60, 3), "grain": (2, 4, 6, 1)}
    again = tiny.unpack(parts)
    assert torch.equal(again.codes, tokens.codes) and torch.equal(again.grain, tokens.grain)
    for bits in (8, 16):
        stored = rounded(tokens, bits)
        assert torch.equal(stored.grain, tokens.grain) and not torch.equal(stored.codes, tokens.codes)


def test_config_rebuilds_it(tiny, image):
    twin = DynamicGrainAutoencoder(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval()(image), tiny(image))
    assert tiny.last_layer.shape == (3, 4, 3, 3) and tiny.last_layer.requires_grad


def test_what_does_not_fit(tiny):
    with pytest.raises(ValueError, match=r"\Aimage: sides must be multiples of 4 pixels, got 16x18\Z"):
        tiny.encode(torch.zeros(1, 3, 16, 18))
    message = r"\Anum_tokens: DynamicGrainAutoencoder has 40 tokens an image, cannot make 16; leave it out\Z"
    with pytest.raises(ValueError, match=message):
        tiny.code((16, 16), 16)
    with pytest.raises(ValueError, match="norm_num_groups=2 does not divide 5"):
        DynamicGrainAutoencoder(**TINY | {"block_out_channels": (4, 5)})
    with pytest.raises(ValueError, match=r"\Ablock_out_channels: expected two levels or more, got 1\Z"):
        DynamicGrainAutoencoder(**TINY | {"block_out_channels": (4,)})
