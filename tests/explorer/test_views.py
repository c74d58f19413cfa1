"""What the explorer computes, without its page in the browser."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from gpstoken import Gaussians, GPSToken, Tokens, load_generator, partition
from gpstoken.explorer.views import (
    GENERATION,
    Settings,
    dropped,
    generated,
    measures,
    mixed,
    moved,
    nearest,
    pictures,
    settings_of,
    view,
)

TINY = {
    "num_tokens": 16, "feature_channels": 4, "image_size": 64, "grid_size": 16, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_multipliers": (1, 2, 2), "decoder_blocks": 1,
    "norm_groups": 2, "min_region_size": 4,
}  # fmt: skip
SETTINGS = Settings(tokens=16, min_region_size=4)


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return GPSToken(**TINY).eval()


@pytest.fixture
def image():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def tokens_at(mu, sigma, rho):
    parts = (torch.tensor(part, dtype=torch.float32)[None] for part in (mu, sigma, rho))
    return Tokens(Gaussians(*parts), torch.zeros(1, len(rho), 2))


def test_a_view_is_what_the_tokenizer_gives(tokenizer, image):
    shown = view(tokenizer, image, SETTINGS)
    with torch.no_grad():
        tokens = tokenizer.encode(image)
        assert torch.equal(shown.tokens.to_tensor(), tokens.to_tensor())
        assert torch.equal(shown.reconstruction, tokenizer.decode(tokens))
    assert torch.equal(shown.layout.to_tensor(), tokenizer.layout(image).to_tensor())
    assert settings_of(tokenizer) == replace(SETTINGS, strength=settings_of(tokenizer).strength)


def test_more_tokens_than_regions_are_refused(tokenizer, image):
    # 64 pixels are halved to 8, and regions of at most 9 stay whole: 8 rows of 8.
    assert len(view(tokenizer, image, Settings(tokens=64, min_region_size=8)).tokens) == 64
    with pytest.raises(ValueError, match=r"65 tokens are too many: with s_min = 8 px .* at most 64 regions"):
        view(tokenizer, image, Settings(tokens=65, min_region_size=8))


def test_the_sliders_reach_the_tokenizer_and_leave_it_alone(tokenizer, image):
    before = dict(vars(tokenizer))
    shown = view(tokenizer, image, Settings(tokens=9, lambda_=0.0, min_region_size=8, support_factor=1.0))
    assert len(shown.tokens) == 9
    other = GPSToken(**TINY | {"lambda_": 0.0, "min_region_size": 8, "support_factor": 1.0}).eval()
    other.load_state_dict(tokenizer.state_dict())
    with torch.no_grad():
        assert torch.equal(shown.reconstruction, other.decode(other.encode(image, 9)))
    assert vars(tokenizer) == before


def test_the_brush_draws_tokens(tokenizer, image):
    strong = replace(SETTINGS, strength=1e6)  # noise is as complex as anything can be
    focus = np.zeros((64, 64), bool)
    focus[:32, :32] = True
    inside = [
        ((shown.layout.mu[0] < 0).all(-1)).sum().item()
        for shown in (view(tokenizer, image, strong), view(tokenizer, image, strong, focus))
    ]
    # 16 tokens on noise: a quarter of the picture has four of them, and nearly all when the map draws them there.
    assert inside[0] <= 6 and inside[1] >= 12


def test_the_nearest_gaussian_is_that_of_the_highest_density():
    generator = np.random.default_rng(0)
    mu, sigma = generator.uniform(-1, 1, (12, 2)), generator.uniform(0.02, 0.5, (12, 2))
    rho = generator.uniform(-0.9, 0.9, 12)
    tokens = tokens_at(mu, sigma, rho)
    chosen = []
    for point in generator.uniform(-1, 1, (40, 2)):
        densities = [
            multivariate_normal(m, [[s[0] ** 2, r * s[0] * s[1]], [r * s[0] * s[1], s[1] ** 2]]).logpdf(point)
            for m, s, r in zip(mu, sigma, rho, strict=True)
        ]
        best, second = sorted(densities)[-1], sorted(densities)[-2]
        if best - second > 1e-3:  # float32
            assert nearest(tokens, *point) == int(np.argmax(densities))
            chosen.append(int(np.argmax(densities)))
    assert len(set(chosen)) > 4


def test_dropping_and_moving_change_one_token(tokenizer, image):
    shown = view(tokenizer, image, SETTINGS)
    fewer = dropped(tokenizer, shown, 3)
    kept = [0, 1, 2, *range(4, 16)]
    assert torch.equal(fewer.tokens.to_tensor(), shown.tokens.to_tensor()[:, kept])
    assert torch.equal(fewer.regions, shown.regions[:, kept])
    assert torch.equal(fewer.layout.to_tensor(), shown.layout.to_tensor()[:, kept])
    elsewhere = moved(tokenizer, shown, 3, 0.5, -0.25)
    assert elsewhere.tokens.gaussians.mu[0, 3].tolist() == [0.5, -0.25]
    assert torch.equal(elsewhere.tokens.to_tensor()[:, kept], shown.tokens.to_tensor()[:, kept])
    for edited in (fewer, elsewhere):
        with torch.no_grad():
            assert torch.equal(edited.reconstruction, tokenizer.decode(edited.tokens))
        assert edited.previous is shown.reconstruction
        change = measures(edited)["psnr"] - measures(shown)["psnr"]
        assert measures(edited)["change"] == change and "change" not in measures(shown)


def test_the_last_token_stays(tokenizer, image):
    one = view(tokenizer, image, Settings(tokens=1, min_region_size=4))
    with pytest.raises(ValueError, match="The last token cannot be dropped"):
        dropped(tokenizer, one, 0)


def test_a_mixture_has_the_layout_of_one_and_the_textures_of_the_other(tokenizer, image):
    other = image.flip(-1) * 0.5
    first = view(tokenizer, image, SETTINGS)
    both = mixed(tokenizer, first, other)
    assert torch.equal(both.tokens.gaussians.to_tensor(), first.tokens.gaussians.to_tensor())
    assert both.image is other and both.previous is None
    regions = partition(image, 16, min_region_size=4, tile_size=64)
    with torch.no_grad():
        assert torch.equal(both.tokens.features, tokenizer.encode(other, regions=regions).features)
        assert torch.equal(both.reconstruction, tokenizer.decode(both.tokens))


def test_a_mixture_keeps_to_the_painted_layout_and_to_what_was_dropped(tokenizer, image):
    focus = np.zeros((64, 64), bool)
    focus[:32, :32] = True
    first = dropped(tokenizer, view(tokenizer, image, replace(SETTINGS, strength=1e6), focus), 5)
    both = mixed(tokenizer, first, image)
    # Each texture belongs to its region: the same photograph in its own layout is as before, but for the dropped token,
    # which the transformer no longer sees.
    regions = partition(image, 16, min_region_size=4, bias=torch.from_numpy(focus * 1e6), tile_size=64)
    with torch.no_grad():
        expected = tokenizer.encode(image, regions=regions[:, [0, 1, 2, 3, 4, *range(6, 16)]])
    assert torch.equal(both.tokens.features, expected.features)
    assert len(both.tokens) == 15


def test_what_is_shown(tokenizer, image):
    shown = view(tokenizer, image, SETTINGS)
    drawn = pictures(shown, 2)
    assert {each.size for each in (drawn.initial, drawn.refined, drawn.reconstruction, drawn.error)} == {(128, 128)}
    assert drawn.change is None
    values = measures(shown)
    assert values["bytes"] == 16 * (5 + 4) * 2 and values["bits"] == 8 * values["bytes"] / 64**2
    levels = ((shown.reconstruction.clamp(-1, 1) - image) * 127.5).square().mean().item()
    # To whole levels, whose rounding error has a variance of 1/6 beside an error of thousands.
    assert values["psnr"] == pytest.approx(10 * np.log10(255**2 / levels), abs=0.01)
    perfect = replace(shown, reconstruction=shown.image.clone())
    assert pictures(perfect).error.getextrema() == ((0, 0),) * 3  # black
    # A level of 10 of 255 brighter: four times 10.
    brighter = replace(shown, reconstruction=torch.full_like(image, 20 / 255), previous=torch.zeros_like(image))
    assert pictures(brighter).change.getextrema() == ((40, 40),) * 3


def test_a_generated_image_is_what_the_generator_gives(narrow_generator):
    generator, tokenizer, _ = load_generator(narrow_generator["texture"], narrow_generator["layout"])
    shown = generated(generator, tokenizer, label=1, number=4)
    parts = generator.sample(torch.tensor([1]), [4], 0, GENERATION)
    tokens = tokenizer.unpack(parts)
    assert torch.equal(shown.tokens.to_tensor(), tokens.to_tensor())
    with torch.no_grad():
        assert torch.equal(shown.reconstruction, tokenizer.decode(tokens))
    # Its regions are a partition of the canvas, and those of its layout.
    side = tokenizer.image_size
    covered = torch.zeros(side, side, dtype=torch.long)
    for left, top, right, bottom in shown.regions[0].tolist():
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()
    layout = Gaussians.from_regions(shown.regions, (side, side), tokenizer.sigma_rule)
    assert torch.equal(layout.to_tensor().to(parts["layout"]), parts["layout"])
    assert generated(generator, tokenizer, label=1, number=5).tokens.to_tensor().ne(tokens.to_tensor()).any()


def test_a_generated_image_is_compared_with_itself_once_it_is_edited(narrow_generator, image):
    generator, tokenizer, _ = load_generator(narrow_generator["texture"], narrow_generator["layout"])
    shown = generated(generator, tokenizer, label=0, number=0)
    assert set(measures(shown)) == {"bytes", "bits"} and pictures(shown).error is None
    without = dropped(tokenizer, shown, 2)
    assert len(without.tokens) == len(shown.tokens) - 1 and torch.equal(without.image, shown.reconstruction)
    assert {"psnr"} < set(measures(without)) and "change" not in measures(without)
    assert "change" in measures(dropped(tokenizer, without, 1))
    side = tokenizer.image_size
    assert mixed(tokenizer, shown, image[..., :side, :side]).regions is shown.regions
