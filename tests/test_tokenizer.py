"""The tokenizer as a person uses it, at the paper's image sizes and with narrow networks.

The grid is a quarter of the paper's: attention over its 4096 points would take most of the time.
"""

from functools import partial

import pytest
import torch

from gpstoken import Gaussians, GPSToken, Tokens, partition
from gpstoken.gaussians import split_tiles

NARROW = {
    "num_tokens": 16, "feature_channels": 4, "width": 16, "depth": 1, "heads": 2, "roi_size": 2, "stem_channels": 4,
    "decoder_channels": 4, "decoder_multipliers": (1, 1, 1, 1, 2), "decoder_blocks": 1, "grid_size": 16,
    "norm_groups": 2,
}  # fmt: skip


@pytest.fixture
def narrow(make_tokenizer):
    return partial(make_tokenizer, NARROW)


@pytest.mark.parametrize(
    ("preset", "parameters", "decoder"),
    [
        ("gpstoken_s64", 128_663_478, 33_020_675),
        ("gpstoken_m128", 128_663_478, 33_020_675),
        ("gpstoken_l256", 128_745_414, 33_094_403),
    ],
)
def test_presets_have_the_released_number_of_parameters(preset, parameters, decoder):
    with torch.device("meta"):
        tokenizer = GPSToken.from_preset(preset)
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == parameters
    assert sum(parameter.numel() for parameter in tokenizer.decoder.parameters()) == decoder
    assert tokenizer.num_tokens == int(preset[-3:].strip("sm"))
    assert (tokenizer.support_factor, tokenizer.min_region_size, tokenizer.sigma_rule) == (3.0, 8, "released")


@torch.no_grad()
@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        ((256, 256), (1, 1)),
        ((512, 512), (2, 2)),
        ((1024, 1024), (4, 4)),
        ((256, 768), (1, 3)),
        ((512, 256), (2, 1)),
        ((192, 320), (1, 1)),
        ((384, 512), (1, 1)),
        ((48, 16), (1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("tile_decoding", ["merged", "separate"])
def test_sizes(narrow, some_image, size, tiles, tile_decoding):
    tokenizer = narrow(tile_decoding=tile_decoding)
    assert tokenizer.canvas.tiles(tokenizer.canvas.size(size)) == tiles
    tokens = tokenizer.encode(some_image(1, *size))
    area = size[0] * size[1] / 256**2
    assert tokens.features.shape == (1, max(1, round(16 * area)), 4) and tokens.size == size
    assert (tokens.gaussians.mu.abs() <= 1).all()
    assert tokenizer.render(tokens).shape == (1, 4, size[0] // 16, size[1] // 16)
    image = tokenizer.decode(tokens)
    assert image.shape == (1, 3, *size) and image.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize(
    ("norm", "tile_decoding"), [("plain", "merged"), ("released", "merged"), ("released", "separate")]
)
def test_images_of_a_batch_do_not_see_each_other(narrow, some_image, norm, tile_decoding):
    tokenizer = narrow(norm=norm, tile_decoding=tile_decoding).double()
    image = some_image(2, 512, 512, dtype=torch.float64)
    together = tokenizer.encode(image)
    alone = [tokenizer.encode(image[index : index + 1]) for index in range(2)]
    # float64 sums of another batch size: rounding, amplified by the dozen layers of the decoder.
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(together.to_tensor(), torch.cat([tokens.to_tensor() for tokens in alone]), **close)
    decoded = tokenizer.decode(together)
    torch.testing.assert_close(decoded, torch.cat([tokenizer.decode(tokens) for tokens in alone]), **close)
    assert (decoded[0] - decoded[1]).abs().max() > 0.01


@torch.no_grad()
def test_separate_tiles_are_decoded_as_if_alone(narrow, some_image):
    tokenizer = narrow(tile_decoding="separate", image_size=128, grid_size=8).double()
    tokens = tokenizer.encode(some_image(2, 256, 384, dtype=torch.float64))
    decoded = tokenizer.decode(tokens)
    tiles = split_tiles(tokens.gaussians, (2, 3))
    for index in range(12):
        picture, row, column = index // 6, index % 6 // 3, index % 3
        features = tokens.features[picture, (index % 6) * 16 : (index % 6 + 1) * 16]
        tile = Gaussians(*(part[index : index + 1] for part in (tiles.mu, tiles.sigma, tiles.rho)))
        alone = tokenizer.decode(Tokens(tile, features[None], (128, 128)))[0]
        there = decoded[picture, :, row * 128 : (row + 1) * 128, column * 128 : (column + 1) * 128]
        # Merging and splitting rounds mu and sigma in the last place; the renderer and decoder pass that on.
        torch.testing.assert_close(there, alone, rtol=0, atol=1e-10)


@torch.no_grad()
def test_tiles_are_encoded_as_if_alone(narrow, some_image):
    tokenizer = narrow().double()
    image = some_image(1, 512, 512, dtype=torch.float64)
    whole = tokenizer.encode(image)
    for index, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        alone = tokenizer.encode(image[..., row * 256 : (row + 1) * 256, column * 256 : (column + 1) * 256])
        part = slice(16 * index, 16 * index + 16)
        torch.testing.assert_close(whole.features[:, part], alone.features, rtol=0, atol=1e-12)
        corner = torch.tensor([column - 0.5, row - 0.5], dtype=torch.float64)
        torch.testing.assert_close(whole.gaussians.mu[:, part], alone.gaussians.mu / 2 + corner, rtol=0, atol=1e-12)
        torch.testing.assert_close(whole.gaussians.sigma[:, part], alone.gaussians.sigma / 2, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("num_tokens", [1, 2, 63, 257])
def test_any_number_of_tokens_without_retraining(narrow, some_image, num_tokens):
    tokenizer = narrow()
    tokens = tokenizer.encode(some_image(1, 256, 256), num_tokens)
    assert tokens.to_tensor().shape == (1, num_tokens, 9)
    assert tokenizer.decode(tokens).shape == (1, 3, 256, 256)


@torch.no_grad()
def test_more_tokens_than_regions_are_refused(narrow, some_image):
    with pytest.raises(ValueError, match="num_tokens must be at most 1024"):
        narrow().encode(some_image(1, 256, 256), 1025)
    with pytest.raises(ValueError, match="multiple of the 4 tiles, got 30"):
        narrow().encode(some_image(1, 512, 512), 30)


@torch.no_grad()
def test_bias_moves_tokens(narrow, some_image):
    tokenizer, image = narrow().double(), some_image(1, 256, 256, dtype=torch.float64)
    left = torch.zeros(256, 256)
    left[:, :128] = 1e4
    here, there = (tokenizer.layout(image, 64, bias).mu[0, :, 0] for bias in (left, left.flip(1)))
    assert (here < 0).sum() >= 60 and (there > 0).sum() >= 60
    # One map for each image of a batch
    both = tokenizer.encode(image.expand(2, -1, -1, -1), 64, torch.stack([left, left.flip(1)])).to_tensor()
    for row, bias in enumerate((left, left.flip(1))):
        alone = tokenizer.encode(image, 64, bias).to_tensor()[0]
        # In float64: sums of another batch size are taken in another order.
        torch.testing.assert_close(both[row], alone, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("size", [(256, 256), (512, 512)])
def test_supplied_regions_take_the_place_of_the_partition(narrow, some_image, size):
    tokenizer, image = narrow(), some_image(1, *size)
    count = 16 * size[0] * size[1] // 256**2
    regions = partition(image, count)
    supplied, own = tokenizer.encode(image, regions=regions), tokenizer.encode(image)
    assert torch.equal(supplied.to_tensor(), own.to_tensor())
    assert torch.equal(tokenizer.layout(image, regions=regions).to_tensor(), tokenizer.layout(image).to_tensor())


@torch.no_grad()
def test_tokens_have_no_order(narrow, some_image):
    tokenizer, image = narrow().double(), some_image(1, 256, 256, dtype=torch.float64)
    regions = partition(image, 63)
    order = torch.randperm(63, generator=torch.Generator().manual_seed(2))
    tokens, shuffled = tokenizer.encode(image, regions=regions), tokenizer.encode(image, regions=regions[:, order])
    torch.testing.assert_close(shuffled.to_tensor(), tokens.to_tensor()[:, order], rtol=0, atol=1e-12)
    torch.testing.assert_close(tokenizer.decode(shuffled), tokenizer.decode(tokens), rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("tile_decoding", ["merged", "separate"])
def test_arguments_are_not_changed(narrow, some_image, tile_decoding):
    tokenizer = narrow(tile_decoding=tile_decoding)
    image, bias = some_image(1, 512, 512), torch.rand(512, 512)
    regions = partition(image, 64)
    before = [x.clone() for x in (image, bias, regions)]
    tokens = tokenizer.encode(image, bias=bias)
    tokenizer.encode(image, regions=regions)
    held = tokens.to_tensor()
    tokenizer.decode(tokens)
    assert all(torch.equal(*pair) for pair in zip((image, bias, regions), before, strict=True))
    assert torch.equal(tokens.to_tensor(), held)


@torch.no_grad()
def test_layout_is_where_refinement_starts(narrow, some_image):
    image = some_image(1, 512, 512)
    untrained, fixed = narrow(), narrow(refine_geometry=False)
    torch.nn.init.zeros_(untrained.refine.to_offset.weight)
    layout = untrained.layout(image).to_tensor()
    # logit and sigmoid cancel to float32 rounding.
    torch.testing.assert_close(untrained.encode(image).gaussians.to_tensor(), layout, rtol=1e-5, atol=1e-6)
    assert torch.equal(fixed.encode(image).gaussians.to_tensor(), fixed.layout(image).to_tensor())
    assert (narrow().encode(image).gaussians.to_tensor() - layout).abs().max() > 0.01


def test_every_parameter_learns(narrow, some_image):
    tokenizer = narrow()
    tokenizer(some_image(1, 256, 256)).square().mean().backward()
    frozen = [name for name, parameter in tokenizer.named_parameters() if not parameter.requires_grad]
    assert frozen and all(name.startswith("refine.unused_time_projections.") for name in frozen)
    for name, parameter in tokenizer.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
        assert parameter.grad is None or (parameter.grad.isfinite().all() and parameter.grad.any()), name
    assert tokenizer.last_layer.grad.any()


@torch.no_grad()
def test_geometry_stays_in_float32_under_autocast(narrow, some_image):
    tokenizer, image = narrow(), some_image(1, 256, 256)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = tokenizer.encode(image)
        feature_map = tokenizer.render(tokens)
    assert tokens.gaussians.mu.dtype == feature_map.dtype == torch.float32
    # An offset in bfloat16 is off by some 2^-8 of its size, here below 1; mu moves by at most half of that.
    difference = (tokens.gaussians.to_tensor() - tokenizer.encode(image).gaussians.to_tensor()).abs().max()
    assert difference < 2 * 2**-8


@torch.no_grad()
@pytest.mark.parametrize("fill", [-1.0, 0.0, 1.0])
def test_a_flat_image_is_tokenized(narrow, fill):
    tokenizer = narrow()
    assert tokenizer(torch.full((1, 3, 256, 256), fill)).isfinite().all()


def test_bad_arguments(narrow, some_image):
    tokenizer = narrow()
    random = torch.full((1, 3, 9), 0.5)
    for size, canvas in (((255, 256), None), ((256, 136), None), ((100, 100), (356, 100)), ((100, 100), (96, 112))):
        with pytest.raises(ValueError, match=r"multiples of 16 pixels, got 25|cannot come from this tokenizer"):
            tokenizer.decode(Tokens.from_tensor(random, size, canvas))
    with pytest.raises(ValueError, match="canvas needs the size of the image"):
        Tokens.from_tensor(random, None, (256, 256))
    image = some_image(1, 512, 512)
    with pytest.raises(ValueError, match=r"multiple of 4 tiles, got \(1, 3, 4\)"):
        tokenizer.encode(image, regions=torch.ones(1, 3, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="inside the 256x256 image"):  # a region across the tiles
        tokenizer.encode(image, regions=torch.tensor([[[0, 0, 300, 256]] * 4]))
    with pytest.raises(ValueError, match="expected 4 feature channels, got 5"):
        tokenizer.decode(Tokens.from_tensor(torch.full((1, 3, 10), 0.5)))
    with pytest.raises(ValueError, match=r"features\[1, 3, C\], got \(1, 2, 4\)"):
        Tokens(Gaussians.from_tensor(torch.ones(1, 3, 5)), torch.ones(1, 2, 4))
    with pytest.raises(ValueError, match="image must be finite"):
        tokenizer.encode(torch.full((1, 3, 256, 256), float("nan")))
    with pytest.raises(ValueError, match=r"expected one of gpstoken_s64, .*, got 'gpstoken_xl'"):
        GPSToken.from_preset("gpstoken_xl")
    for argument, value in (("tile_decoding", "both"), ("sigma_rule", "w/6"), ("norm", "batch"), ("norm_groups", 3)):
        with pytest.raises(ValueError, match=argument):
            GPSToken(**NARROW | {argument: value})
