"""GaussianToken against a reference of loops, rotated Gaussians by hand, and its training."""

import math

import pytest
import torch

from gpstoken import splat
from gpstoken.base import Code
from gpstoken.baselines.gaussian_token import GaussianToken
from gpstoken.baselines.rotated_gaussians import SUPPORT, GaussianTokens, rotated
from tests.baselines.gaussian_reference import SIDE, TINY, TOKENS, Reference


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return GaussianToken(**TINY | {"codebook_size": 6, "range_decay": 0.75, "least_use": 0.0})


@pytest.fixture
def image():
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        tokenizer = GaussianToken()
    millions = {
        name: sum(parameter.numel() for parameter in network.parameters()) / 1e6
        for name, network in tokenizer.named_children()
    }
    # Encoder, decoder and embedding of the authors' module, systems.md of the suite; of the embedding's 1.14 M it says
    # that 0.32 M are never used. All are printed with two digits.
    assert millions["encoder"] == pytest.approx(48.45, abs=0.01)
    assert millions["decoder"] == pytest.approx(63.52, abs=0.01)
    assert millions["gs_embed"] == pytest.approx(1.14 - 0.32, abs=0.01)
    assert sum(millions.values()) == pytest.approx(113.11 - 0.32, abs=0.01)
    assert tokenizer.quantiser.entries.shape == (1024, 8)
    assert tokenizer.code((256, 256)) == Code(256, (256,), 6, 1024)


def test_a_rotated_gaussian_typed_by_hand():
    # Scales 3 and 1 along the diagonals: xx = yy = (9 + 1) / 2 = 5, xy = (9 - 1) / 2 = 4. On a map of 5 cells a cell is
    # half a unit of the canvas, whose edges, the centres of the outermost cells, are 4/5 of the way to the image's.
    quarter = math.pi / 4
    geometry = [[0.4, -0.8, 3.0, 1.0, quarter], [0.4, -0.8, 3.0, 1.0, 3 * quarter], [0.0, 0.0, 3.0, 1.0, math.pi / 2]]
    found = rotated(torch.tensor([geometry], dtype=torch.float64), 5)
    sigma = [[math.sqrt(5) / 2] * 2, [math.sqrt(5) / 2] * 2, [0.5, 1.5]]
    torch.testing.assert_close(found.sigma[0], torch.tensor(sigma, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.rho[0], torch.tensor([0.8, -0.8, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)
    mu = torch.tensor([[0.5, -1.0], [0.5, -1.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found.mu[0], mu, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 5.0, 40.0])  # the widest range of the published model is 0.1 to 4 cells
def test_the_renderer_draws_a_rotated_gaussian(ratio):
    side, a, angle = 9, 4.0, 0.7
    b = a / ratio
    geometry = torch.tensor([[[0.2, -0.1, a, b, angle]]], dtype=torch.float64)
    found = splat(rotated(geometry, side), torch.ones(1, 1, 1), (side, side), SUPPORT)
    for row in range(side):
        for column in range(side):
            right, down = column + 0.5 - side * 0.6, row + 0.5 - side * 0.45
            along = right * math.cos(angle) + down * math.sin(angle)
            across = down * math.cos(angle) - right * math.sin(angle)
            weight = math.exp(-((along / a) ** 2 + (across / b) ** 2) / 2)
            # What is cut off lies below exp(-18); a weight's derivative by its exponent is at most 1, and the exponent
            # of a weight above 1e-8 is right to 20 / (1 - rho^2) roundings of float64.
            assert found[0, 0, row, column].item() == pytest.approx(weight, abs=math.exp(-18) + 1e-10)


@torch.no_grad()
def test_the_authors_names_and_the_same_numbers(image):
    reference = Reference()
    expected = [reference.gaussians(each[None].double()) for each in image]
    codes = [reference.codes(features) for _, features in expected]
    images = [
        reference.image(geometry, reference.codebook()[indices])
        for (geometry, _), indices in zip(expected, codes, strict=True)
    ]
    assert len({index for indices in codes for index in indices}) > 2  # else the codebook is hardly tested
    tokenizer = GaussianToken(**TINY)
    dropped = {"loss.logvar": torch.zeros(()), "model_ema.decay": torch.zeros(())}
    tokenizer.load_state_dict(tokenizer.own_names(reference.tensors | dropped))
    tokenizer.eval().double()
    tokenizer.quantiser.float()  # the library computes in float32
    geometry, features = tokenizer.gaussians(image.double())
    # The position embedding is computed in float32, right to 1e-7, which a dozen layers with weights of about 1
    # multiply by less than 100.
    for row, (expected_geometry, expected_features) in enumerate(expected):
        torch.testing.assert_close(geometry[row], expected_geometry, rtol=0, atol=1e-5)
        torch.testing.assert_close(features[row], expected_features, rtol=0, atol=1e-5)
    indices = torch.tensor(codes)
    assert torch.equal(tokenizer.quantiser(features.float()).indices, indices)
    exact = torch.stack([each for each, _ in expected])
    decoded = tokenizer.decode(GaussianTokens(exact, indices))
    # Float64 but for the codebook, whose entries are exact in float32; Gaussians are cut off below exp(-18).
    torch.testing.assert_close(decoded, torch.cat(images), rtol=0, atol=1e-6)


def test_unknown_tensors_keep_their_names(tiny):
    own = tiny.own_names({"gs_embed.spconv.weight": torch.zeros(1), "largest_scale": torch.tensor(3.5)})
    assert set(own) == {"gs_embed.spconv.weight", "largest_scale"} and own["largest_scale"] == 3.5
    with pytest.raises(RuntimeError, match=r"gs_embed\.spconv\.weight"):
        tiny.load_state_dict(own)


@torch.no_grad()
def test_tokens(tiny, image):
    tiny.train()(image)  # the codebook takes its entries from the first batch
    tiny.eval()
    tokens = tiny.encode(image)
    assert tokens.geometry.shape == (3, TOKENS, 5) and tokens.indices.shape == (3, TOKENS)
    assert torch.equal(tiny(image), tiny.decode(tokens)) and tiny(image).shape == image.shape
    packed = tiny.pack(image)
    assert set(packed) == {"geometry", "codes"}
    for part, again in zip(tokens, tiny.unpack(packed), strict=True):
        assert torch.equal(part, again)
    far = torch.tensor([[[9.0, -9.0, 0.0, 9.0, 9.0]]])
    # One step of training has taken the largest scale a quarter of the way from 4 to 3.
    generated = tiny.unpack({"geometry": far, "codes": torch.zeros(1, 1, dtype=torch.long)})
    torch.testing.assert_close(generated.geometry, torch.tensor([[[1.0, -1.0, 0.1, 3.75, math.pi]]]))


@torch.no_grad()
def test_geometry_stays_in_its_ranges(tiny, image):
    last = tiny.gs_embed.rounds[-1].refine[-1]
    tiny.eval().largest_scale.fill_(3.5)
    for sign, bounds in ((-1, [-1, -1, 0.1, 0.1, 0]), (1, [1, 1, 3.5, 3.5, math.pi])):
        last.weight.zero_()
        last.bias.fill_(100.0 * sign)
        geometry, _ = tiny.gaussians(image)
        # A sigmoid of 100 is 1, and two roundings of float32 at most 4.
        torch.testing.assert_close(geometry, torch.tensor(bounds).expand(3, TOKENS, 5), rtol=0, atol=1e-6)


def test_training_reaches_every_parameter(tiny, image):
    with torch.no_grad():  # as made, some weights are zero, and nothing passes them
        for parameter in tiny.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    reconstruction = tiny.train()(image)
    ((value, weight),) = tiny.latent_terms(image).values()
    ((reconstruction - image).square().mean() + weight * value).backward()
    trained = {name: parameter for name, parameter in tiny.named_parameters() if parameter.requires_grad}
    assert [name for name, each in trained.items() if each.grad is None or not each.grad.abs().sum() > 0] == []
    assert {name for name, _ in tiny.named_parameters()} - set(trained) == {
        "gs_embed.instance_feature",
        "quantiser.layer._codebook.embed",  # follows the means of its vectors
    }


def test_the_decoder_is_given_entries_and_their_features_are_committed(tiny, image, monkeypatch):
    given = []
    monkeypatch.setattr(tiny, "image_of", lambda geometry, entries: given.append((geometry, entries)) or entries)
    tiny.gs_embed.register_forward_hook(lambda _, inputs, output: given.append(output[1]))
    tiny.train()(image)
    features, (geometry, entries) = given
    assert geometry.requires_grad  # the geometry is trained as it is, by the decoder alone
    ((value, weight),) = tiny.latent_terms(image).values()
    # Weight 1 on the mean squared difference; entries are a float32 sum of a feature and a difference.
    expected = (features - entries.detach()).square().mean()
    torch.testing.assert_close(weight * value, expected, rtol=1e-4, atol=1e-9)
    (straight,) = torch.autograd.grad(entries.sum(), features)
    assert torch.equal(straight, torch.ones_like(features))
    rounded = (entries.detach().flatten(0, 1) * 2**12).round()
    assert 1 < len(rounded.unique(dim=0)) <= 6  # of the 15 features of a batch


def test_the_largest_scale_is_annealed_in_training_alone(tiny, image):
    tiny.train()
    for step in range(1, 4):
        tiny(image)
        # From 4 to 3, a quarter of what is left at a time
        assert tiny.largest_scale.item() == pytest.approx(3 + 0.75**step, abs=1e-6)
    tiny.eval()(image)
    assert tiny.largest_scale.item() == pytest.approx(3 + 0.75**3, abs=1e-6)
    assert "largest_scale" in tiny.state_dict()


def test_config_rebuilds_it(tiny, image):
    tiny.eval()(image)
    twin = GaussianToken(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    with torch.no_grad():
        assert torch.equal(twin.eval()(image), tiny(image))
    assert tiny.last_layer.shape == (3, 4, 3, 3) and tiny.last_layer.requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_num_groups": 3}, "block_out_channels: norm_num_groups=3 does not divide 4"),
        ({"image_size": 15}, "image_size: expected a multiple of 2 pixels, got 15"),
        ({"heads": 3}, "width: expected a multiple of 4, 3 heads and 2 groups, got 8"),
        ({"width": 6}, "width: expected a multiple of 4, 2 heads and 2 groups, got 6"),
        ({"scale_range": (4.0,)}, "scale_range: expected 2 values"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        GaussianToken(**TINY | changes)
    assert "\n" not in str(caught.value)


def test_other_images_and_tokens(tiny):
    with pytest.raises(ValueError, match=r"\Aimage: this GaussianToken was made for 16x16 pixels, got 16x18\Z"):
        tiny.encode(torch.zeros(1, 3, 16, 18))
    message = r"\Anum_tokens: this GaussianToken has 5 tokens an image, cannot make 4; leave it out\Z"
    with pytest.raises(ValueError, match=message):
        tiny.code((16, 16), 4)
    with pytest.raises(ValueError, match=r"\Atokens: expected float\[B, N, 5\] and long\[B, N\], got \[1, 5, 5\] and "):
        tiny.decode(GaussianTokens(torch.zeros(1, 5, 5), torch.zeros(1, 5)))
