"""What the explorer computes, without its page in the browser."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from gpstoken import Gaussians, GPSToken, Tokens, partition
from gpstoken.explorer.views import Settings, edited, measures, mixed, moved, nearest, pictures, view, without

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
    dropped = without(shown.tokens, 3)
    kept = [0, 1, 2, *range(4, 16)]
    assert torch.equal(dropped.to_tensor(), shown.tokens.to_tensor()[:, kept])
    elsewhere = moved(shown.tokens, 3, 0.5, -0.25)
    assert elsewhere.gaussians.mu[0, 3].tolist() == [0.5, -0.25]
    assert torch.equal(elsewhere.to_tensor()[:, kept], shown.tokens.to_tensor()[:, kept])
    with torch.no_grad():
        expected = tokenizer.decode(dropped)
    assert torch.equal(edited(tokenizer, shown, dropped).reconstruction, expected)


def test_the_last_token_stays():
    with pytest.raises(ValueError, match="the last token cannot be dropped"):
        without(tokens_at([[0.0, 0.0]], [[0.1, 0.1]], [0.0]), 0)


def test_a_mixture_has_the_layout_of_one_and_the_textures_of_the_other(tokenizer, image):
    other = image.flip(-1) * 0.5
    first, second = view(tokenizer, image, SETTINGS), view(tokenizer, other, SETTINGS)
    both = mixed(tokenizer, first, second)
    assert torch.equal(both.tokens.gaussians.to_tensor(), first.tokens.gaussians.to_tensor())
    regions = partition(image, 16, min_region_size=4, tile_size=64)
    with torch.no_grad():
        assert torch.equal(both.tokens.features, tokenizer.encode(other, regions=regions).features)


def test_what_is_shown(tokenizer, image):
    shown = view(tokenizer, image, SETTINGS)
    assert {picture.size for picture in pictures(shown, 2)} == {(128, 128)}
    values = measures(shown)
    assert values["bytes"] == 16 * (5 + 4) * 2 and values["bits"] == 8 * values["bytes"] / 64**2
    levels = ((shown.reconstruction.clamp(-1, 1) - image) * 127.5).square().mean().item()
    # To whole levels, whose rounding error has a variance of 1/6 beside an error of thousands.
    assert values["psnr"] == pytest.approx(10 * np.log10(255**2 / levels), abs=0.01)
    perfect = replace(shown, reconstruction=shown.image)
    assert pictures(perfect)[3].getextrema() == ((0, 0),) * 3  # black
