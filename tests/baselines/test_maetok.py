import math

import pytest
import torch
from scipy.stats import kstest, truncnorm
from skimage.feature import hog

from gpstoken.baselines.maetok import MAETok, drawn_share, oriented_gradients
from gpstoken.baselines.rotary_blocks import first_frequencies
from gpstoken.profiling.memory import training_bytes
from gpstoken.profiling.shapes import without_weights
from tests.baselines.query_reference import CHANNELS, CLOSE, SIDE, SIZES, TOKENS, Reference, layout, published

TINY = SIZES


@pytest.fixture
def weights():
    return published(rotary=True)


@pytest.fixture
def tiny(weights):
    tokenizer = MAETok(**TINY)
    tokenizer.load_state_dict(tokenizer.own_names(weights))
    return tokenizer.double().eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double() * 2 - 1


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        tokenizer = MAETok()
    # 173.89 M in systems.md of the suite, 173.9 M in the paper's table, with what the published weights hold idle
    assert sum(each.numel() for each in tokenizer.parameters()) / 1e6 == pytest.approx(173.89, abs=0.005)
    idle = sum(each.numel() for each in tokenizer.parameters() if not each.requires_grad)
    assert idle == 257 * 768 + 256 * 768 + (768 + 1) * 768 + (32 + 1) * 2 * 768
    shapes = layout(12, 768, 256, 128, 32, 768, True)
    assert len(shapes) == 316  # tensors of the published file
    named = tokenizer.own_names({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert {name: each.shape for name, each in named.items()} == {
        name: each.shape for name, each in tokenizer.state_dict().items()
    }


@torch.no_grad()
def test_published_weights_give_what_the_description_says(tiny, weights, image):
    reference = Reference(weights)
    hidden = torch.zeros(2, 9, dtype=torch.bool)
    hidden[0, [0, 4, 5]] = hidden[1, [2, 8]] = True
    for i, picture in enumerate(image):
        torch.testing.assert_close(tiny.encode(image)[i], reference.latents(picture), **CLOSE)
        masked = hidden[i].nonzero().flatten().tolist()
        torch.testing.assert_close(tiny.latents(image, hidden)[i], reference.latents(picture, masked), **CLOSE)
        torch.testing.assert_close(tiny(image)[i], reference.decode(reference.latents(picture)), **CLOSE)
    assert tiny(image).std() > 0.1  # images that depend on something


def test_unknown_tensors_keep_their_names(tiny, weights):
    strange = {"encoder.freqs": torch.zeros(3), "ema.model.adaLN": torch.zeros(1)}
    assert set(tiny.own_names(weights | strange)) - set(tiny.state_dict()) == set(strange)


def test_frequencies_start_as_two_axes_a_head():
    torch.manual_seed(0)
    along_x, along_y = first_frequencies(3, 16).reshape(2, 3, 2, 4)  # axis of a head, wavelength
    # 100^(-i / 4) for i = 0 to 3; some roundings of float32
    sizes = torch.tensor([1, 0.31622777, 0.1, 0.031622777]).expand(3, 2, 4)
    torch.testing.assert_close(torch.hypot(along_x, along_y), sizes, rtol=1e-6, atol=0)
    crossed = along_x[:, 0] * along_x[:, 1] + along_y[:, 0] * along_y[:, 1]
    assert crossed.abs().max() < 1e-6
    turns = torch.atan2(along_y[:, 0], along_x[:, 0])
    torch.testing.assert_close(turns, turns[:, :1].expand(-1, 4), rtol=0, atol=1e-6)
    assert turns[:, 0].diff().abs().min() > 0.01


def test_the_share_of_masked_patches():
    torch.manual_seed(0)
    shares = [drawn_share() for _ in range(20_000)]
    wanted = truncnorm((0.4 - 0.6) / 0.25, 0, loc=0.6, scale=0.25)
    # The law of Kolmogorov exceeds 1.95 / sqrt(n) once in a thousand.
    assert kstest(shares, wanted.cdf).statistic < 1.95 / math.sqrt(len(shares))
    assert kstest(shares, "uniform", (0.4, 0.2)).statistic > 0.03


def test_masks_differ_between_images_but_not_their_share(tiny):
    torch.manual_seed(0)
    masks = torch.stack([tiny.drawn_mask(torch.zeros(50, 3, SIDE, SIDE)) for _ in range(200)])
    counts = masks.sum(-1)
    assert masks.shape == (200, 50, 9) and torch.equal(counts, counts[:, :1].expand(-1, 50))
    assert set(counts.unique().tolist()) <= {4, 5}
    assert len({tuple(mask.tolist()) for mask in masks[0]}) > 20
    # A place is masked as often as others: 10,000 draws of about .5, within five standard deviations of .005.
    rates = masks.flatten(0, 1).double().mean(0)
    assert (rates - rates.mean()).abs().max() < 0.025


@torch.no_grad()
def test_an_untrained_decoder_has_no_modulation(image):
    tokenizer = MAETok(**TINY).double().eval()
    tokens = tokenizer.encode(image)
    hidden = tokenizer.from_tokens(tokens)
    assert torch.equal(tokenizer.decoder(hidden, tokens), tokenizer.decoder(hidden, torch.zeros_like(tokens)))


@pytest.mark.parametrize("hog_depth", [0, 1])
def test_training_reaches_every_parameter(image, hog_depth):
    torch.manual_seed(0)
    tokenizer = MAETok(**TINY, layer_scale=0.1, hog_depth=hog_depth).double()
    reconstruction = tokenizer(image)
    assert reconstruction.shape == image.shape
    terms = tokenizer.latent_terms(image)
    assert list(terms) == ["hog"] * hog_depth
    (reconstruction.square().mean() + sum(weight * value for value, weight in terms.values())).backward()
    trained = {name: each for name, each in tokenizer.named_parameters() if each.requires_grad}
    assert {name for name, each in trained.items() if each.grad is None or not each.grad.any()} == set()
    assert all(each.grad is None for name, each in tokenizer.named_parameters() if name not in trained)


def test_only_training_masks(tiny, image):
    assert torch.equal(tiny(image), tiny.decode(tiny.encode(image))) and tiny.latent_terms(image) == {}
    tiny.train()
    torch.manual_seed(5)
    masked = tiny.drawn_mask(image)
    torch.manual_seed(5)
    assert torch.equal(tiny(image), tiny.decode(tiny.latents(image, masked)))
    assert not torch.equal(tiny(image), tiny.decode(tiny.encode(image)))


@pytest.mark.parametrize("cell", [4, 8])
def test_histograms_are_those_of_scikit_image(cell):
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(2)).double()
    found = oriented_gradients(image, cell).unflatten(1, (3, 9))
    for picture, histograms in zip(image, found, strict=True):
        for channel, histogram in zip(picture, histograms, strict=True):
            options = {
                "orientations": 9,
                "pixels_per_cell": (cell, cell),
                "cells_per_block": (1, 1),
                "block_norm": "L2",
            }
            expected = torch.from_numpy(hog(channel.numpy(), feature_vector=False, **options))[:, :, 0, 0]
            # Its histograms are kept in float32, and 1e-10 is added under their norm's root.
            torch.testing.assert_close(histogram.permute(1, 2, 0), expected, rtol=0, atol=1e-6)
    assert torch.equal(oriented_gradients(torch.ones(1, 3, 8, 8), 4), torch.zeros(1, 27, 2, 2))


def test_the_auxiliary_loss_by_hand(image):
    torch.manual_seed(0)
    tokenizer = MAETok(**TINY, layer_scale=0.1, hog_depth=1).double()
    torch.manual_seed(5)
    tokenizer(image)
    value, weight = tokenizer.latent_terms(image)["hog"]
    torch.manual_seed(5)
    masked = tokenizer.drawn_mask(image)
    tokens = tokenizer.latents(image, masked)
    predicted, histograms = tokenizer.hog(tokenizer.from_tokens(tokens), tokens), oriented_gradients(image, 2)
    errors = []
    for picture in range(2):
        for patch in masked[picture].nonzero().flatten().tolist():
            y, x = divmod(patch, 3)
            cells = histograms[picture, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].flatten()
            errors.append((predicted[picture, patch] - cells).square().sum() / 108)
    assert weight == 1.0 and value.item() == pytest.approx((sum(errors) / len(errors)).item(), abs=1e-11)


def test_a_step_of_training_is_countable_without_weights():
    tokenizer = without_weights(lambda: MAETok(**TINY, hog_depth=1), ()).train()

    def loss():
        value = tokenizer(torch.zeros(2, 3, SIDE, SIDE)).square().mean()
        return value + sum(weight * term for term, weight in tokenizer.latent_terms(None).values())

    assert training_bytes(tokenizer, loss)["activations"] > 0


def test_code_and_config(tiny, image):
    assert tiny.code((SIDE, SIDE)) == (TOKENS, (TOKENS,), CHANNELS, None)
    assert set(tiny.pack(image)) == {"tokens"}
    twin = MAETok(**tiny.config).double()
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval()(image), tiny(image))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 20}, "width: 20 is not a multiple of 2 heads x 4"),
        ({"image_size": 13}, "image_size: 13 is not a multiple of patch_size 4"),
        ({"patch_size": 3, "hog_depth": 1}, "patch_size: 3 has no half for the cells of HOG"),
        ({"hog_depth": -1}, "hog_depth: expected a whole number from 0 to 1000, got -1"),
    ],
)
def test_sizes_that_do_not_divide(arguments, message):
    with pytest.raises(ValueError) as caught:
        MAETok(**TINY | arguments)
    assert str(caught.value) == message


def test_wrong_images_and_tokens(tiny, image):
    with pytest.raises(ValueError, match=r"\Aimage: this MAETok was made for 12x12 pixels, got 16x12\Z"):
        tiny.train()(torch.zeros(1, 3, 16, 12))
    with pytest.raises(ValueError, match=r"\Atokens: expected float\[B, 4, 3\], got torch.float32 \[1, 3, 4, 4\]\Z"):
        tiny.decode(torch.zeros(1, 3, 4, 4))
