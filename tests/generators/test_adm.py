"""ADM and its classifier against slow forward passes over tensors with the published names, and guidance by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from gpstoken.baselines.pixels import Pixels
from gpstoken.baselines.published import read_published
from gpstoken.generators.adm import ADM, ADMSampling, GuidedADM, GuidedADMSampling
from gpstoken.generators.adm_classifier import ADMClassifier
from gpstoken.generators.calls import Calls
from tests.generators.test_ddpm import assert_moments, exact_predictor, moments_of

TINY = {
    "image_size": 16, "block_out_channels": (8, 16, 16), "layers_per_block": 2, "attention_levels": 2,
    "head_channels": 4, "norm_num_groups": 4, "num_classes": 3,
}  # fmt: skip
RECORD = {
    "num_classes": 3, "statistics": {"latent": {"mean": [0.0] * 3, "std": [1.0] * 3}},
    "code": {"tokens": 256, "shape": [16, 16], "channels": 3, "codebook_size": None},
}  # fmt: skip


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Published:
    """ADM's networks with published names, built on the fly: the first pass makes random weights of every name.

    Written from the paper (Diffusion Models Beat GANs, section 3 and Improved DDPM, appendix A) and systems.md 5.
    """

    def __init__(self, widths=(8, 16, 16), layers=2, attention=2, head=4, groups=4, classes=3):
        self.widths, self.layers, self.groups, self.head, self.classes = widths, layers, groups, head, classes
        self.attends = [level >= len(widths) - attention for level in range(len(widths))]
        self.weights = {}

    def weight(self, name, *shape):
        if name not in self.weights:
            self.weights[name] = 0.3 * seeded(*shape, seed=len(self.weights))
        assert self.weights[name].shape == shape
        return self.weights[name]

    def affine(self, name, inputs, outputs, *kernel):
        return self.weight(f"{name}.weight", outputs, inputs, *kernel), self.weight(f"{name}.bias", outputs)

    def convolution(self, name, x, outputs, side=3):
        return F.conv2d(x, *self.affine(name, x.shape[1], outputs, side, side), padding=side // 2)

    def norm(self, name, x):
        grouped = x.reshape(len(x), self.groups, -1)
        grouped = (grouped - grouped.mean(-1, keepdim=True)) / (
            grouped.var(-1, unbiased=False, keepdim=True) + 1e-5
        ) ** 0.5
        scale, shift = self.weight(f"{name}.weight", x.shape[1]), self.weight(f"{name}.bias", x.shape[1])
        ones = (1,) * (x.dim() - 2)
        return grouped.reshape(x.shape) * scale.view(-1, *ones) + shift.view(-1, *ones)

    def residual(self, name, x, condition, outputs, sides=None):
        hidden = F.silu(self.norm(f"{name}.in_layers.0", x))
        if sides == "half":
            hidden, x = F.avg_pool2d(hidden, 2), F.avg_pool2d(x, 2)
        elif sides == "double":
            hidden, x = (each.repeat_interleave(2, 2).repeat_interleave(2, 3) for each in (hidden, x))
        hidden = self.convolution(f"{name}.in_layers.2", hidden, outputs)
        joint = F.linear(F.silu(condition), *self.affine(f"{name}.emb_layers.1", condition.shape[1], 2 * outputs))
        scale, shift = joint[:, :outputs, None, None], joint[:, outputs:, None, None]
        hidden = self.norm(f"{name}.out_layers.0", hidden) * (1 + scale) + shift
        hidden = self.convolution(f"{name}.out_layers.3", F.silu(hidden), outputs)
        return hidden + (x if x.shape[1] == outputs else self.convolution(f"{name}.skip_connection", x, outputs, 1))

    def attention(self, name, x):
        channels, flat = x.shape[1], x.flatten(2)
        weight, bias = self.affine(f"{name}.qkv", channels, 3 * channels, 1)
        joint = F.conv1d(self.norm(f"{name}.norm", flat), weight, bias)
        heard = []
        for head in range(channels // self.head):  # [q, k, v] of each head, one head after the other
            start = head * 3 * self.head
            query, key, value = (
                joint[:, start + part * self.head : start + (part + 1) * self.head] for part in range(3)
            )
            scores = torch.einsum("bci,bcj->bij", query, key) / math.sqrt(self.head)
            heard.append(torch.einsum("bij,bcj->bci", scores.softmax(-1), value))
        weight, bias = self.affine(f"{name}.proj_out", channels, channels, 1)
        return x + F.conv1d(torch.cat(heard, 1), weight, bias).reshape(x.shape)

    def time(self, t):
        width = self.widths[0]
        angle = t[:, None] * 10000.0 ** (-torch.arange(width // 2) / (width // 2))
        hidden = F.linear(torch.cat([angle.cos(), angle.sin()], 1), *self.affine("time_embed.0", width, 4 * width))
        return F.linear(F.silu(hidden), *self.affine("time_embed.2", 4 * width, 4 * width))

    def down(self, x, condition):
        """The way down and the middle: the last state, and all that the way up is given."""
        x, block = self.convolution("input_blocks.0.0", x, self.widths[0]), 0
        kept = [x]
        for level, width in enumerate(self.widths):
            for _ in range(self.layers):
                block += 1
                x = self.residual(f"input_blocks.{block}.0", x, condition, width)
                if self.attends[level]:
                    x = self.attention(f"input_blocks.{block}.1", x)
                kept.append(x)
            if level < len(self.widths) - 1:
                block += 1
                x = self.residual(f"input_blocks.{block}.0", x, condition, width, "half")
                kept.append(x)
        x = self.residual("middle_block.0", x, condition, self.widths[-1])
        return self.residual("middle_block.2", self.attention("middle_block.1", x), condition, self.widths[-1]), kept

    def unet(self, x, t, label):
        condition = self.time(t) + self.weight("label_emb.weight", self.classes, 4 * self.widths[0])[label]
        x, kept = self.down(x, condition)
        block = 0
        for level in reversed(range(len(self.widths))):
            for layer in range(self.layers + 1):
                name, part = f"output_blocks.{block}", 1
                x = self.residual(f"{name}.0", torch.cat([x, kept.pop()], 1), condition, self.widths[level])
                if self.attends[level]:
                    x, part = self.attention(f"{name}.1", x), 2
                if level and layer == self.layers:
                    x = self.residual(f"{name}.{part}", x, condition, self.widths[level], "double")
                block += 1
        return self.convolution("out.2", F.silu(self.norm("out.0", x)), 6)

    def classify(self, x, t):
        x, _ = self.down(x, self.time(t))
        x = F.silu(self.norm("out.0", x)).flatten(2)
        x = torch.cat([x.mean(2, keepdim=True), x], 2)
        channels = x.shape[1]
        x = x + self.weight("out.2.positional_embedding", channels, x.shape[2])
        joint = F.conv1d(x, *self.affine("out.2.qkv_proj", channels, 3 * channels, 1))
        query, key, value = joint.chunk(3, 1)  # all queries first
        heard = []
        for start in range(0, channels, self.head):
            part = slice(start, start + self.head)
            scores = torch.einsum("bci,bcj->bij", query[:, part], key[:, part]) / math.sqrt(self.head)
            heard.append(torch.einsum("bij,bcj->bci", scores.softmax(-1), value[:, part]))
        weight, bias = self.affine("out.2.c_proj", channels, self.classes, 1)
        return F.conv1d(torch.cat(heard, 1), weight, bias)[..., 0]


def randomised(network):
    with torch.no_grad():
        for seed, parameter in enumerate(network.parameters()):
            parameter += 0.1 * seeded(*parameter.shape, seed=seed)
    return network.eval()


@pytest.mark.parametrize("kind", [ADM, ADMClassifier])
def test_published_weights_give_the_published_output(tmp_path, kind):
    published = Published()
    inputs = [seeded(2, 3, 16, 16), torch.tensor([0, 999])]
    inputs += [torch.tensor([2, 0])] if kind is ADM else []
    expected = (published.unet if kind is ADM else published.classify)(*inputs)
    torch.save(published.weights, tmp_path / "weights.pt")
    generator = kind(**TINY)
    generator.load_state_dict(read_published(tmp_path / "weights.pt", generator))
    with torch.no_grad():
        output = generator.network(*inputs)
    # Sums of at most 288 products are off by 17 * 6e-8 of numbers below some ten, in each of 30 layers, whose norms
    # keep that share; angles up to 999 are off by 3e-5, as is what follows.
    assert expected.std() > 0.1
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_published_sizes():
    with torch.device("meta"):
        counts = [sum(parameter.numel() for parameter in kind().parameters()) / 1e6 for kind in (ADM, ADMClassifier)]
    assert counts == pytest.approx([553.84, 54.10], abs=0.005)  # systems.md of the suite, section 2


@pytest.mark.parametrize("kind", [ADM, ADMClassifier])
def test_unknown_names_are_refused_by_name(tmp_path, kind):
    published = Published()
    (published.unet if kind is ADM else published.classify)(
        seeded(1, 3, 16, 16), torch.tensor([1]), *([torch.tensor([0])] if kind is ADM else [])
    )
    torch.save(published.weights | {"input_blocks.99.0.in_layers.0.weight": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"input_blocks\.99"):
        read_published(tmp_path / "a.pt", kind(**TINY))


def test_training_starts_with_a_prediction_of_zero():
    torch.manual_seed(0)
    generator = ADM(**TINY)
    assert (generator.network(**generator.inputs(2)) == 0).all()
    image = seeded(2, 3, 16, 16)
    batch = {"latent": image, "label": torch.tensor([0, 2])}
    losses = generator.loss(batch, torch.Generator().manual_seed(3))
    # The squared error of zero is the noise's, 1 with a deviation of sqrt(2 / 768) = .05; the bound adds to it.
    assert losses.shape == (2,) and (losses > 0.8).all() and losses.isfinite().all()
    losses.mean().backward()
    assert generator.network.conv_out.weight.grad.abs().sum() > 0


def test_the_classifier_learns_noised_images(monkeypatch):
    torch.manual_seed(0)
    generator = randomised(ADMClassifier(**TINY))
    image, label = seeded(64, 3, 16, 16), torch.arange(64) % 3
    seen = []
    generator.network.register_forward_pre_hook(lambda _, given: seen.append(given))
    losses = generator.loss({"latent": image, "label": label}, torch.Generator().manual_seed(1))
    ((x, t),) = seen
    a = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[t]
    # What is left of x_t without the image is noise with the variance 1 - a of each time.
    noise = (x - a.sqrt().view(-1, 1, 1, 1) * image).double() / (1 - a).sqrt().view(-1, 1, 1, 1)
    assert noise.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / noise.numel())) and t.max() - t.min() > 500
    expected = -generator.network(x, t).log_softmax(1)[torch.arange(64), label]
    torch.testing.assert_close(losses, expected)


def test_the_gradient_of_the_classifier():
    """That of a linear classifier: w of the class, minus the mean of all w by their probabilities."""
    generator = ADMClassifier(**TINY).requires_grad_(False)
    w = seeded(3, 3 * 16 * 16) / 20

    class Linear(torch.nn.Module):
        def forward(self, x, t):
            return x.flatten(1) @ w.T

    generator.network = Linear()
    x, labels = seeded(2, 3, 16, 16), torch.tensor([2, 0])
    with torch.no_grad():  # as in the sampler
        gradient = generator.gradient(x, torch.tensor([5, 5]), labels)
    expected = w[labels] - (x.flatten(1) @ w.T).softmax(1) @ w
    torch.testing.assert_close(gradient, expected.view(x.shape))


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_a_linear_classifier_shifts_the_mean_of_the_pixels(guidance):
    """Pixels N(.1, .1^2), which are clipped to [-1, 1] at nine deviations: never."""
    mean, deviation, steps, tilt, n = 0.1, 0.1, 50, 2.0, 60
    exact = exact_predictor(steps, mean=mean, deviation=deviation)
    a = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)

    class Diffusion(torch.nn.Module):
        def forward(self, x, t, label):
            noise, fraction = exact(x, t)
            return torch.cat([noise, 2 * fraction - 1], 1)  # as published networks: -1 to 1

    class Linear(torch.nn.Module):
        """The likelihood of class 1 is tilt * E(data | x_t) of all pixels, and that of class 0 is larger by far."""

        def forward(self, x, t):
            slope = a[t].sqrt() * deviation**2 / (a[t] * deviation**2 + 1 - a[t])
            logit = tilt * slope.to(x.dtype) * x.flatten(1).sum(1)
            return torch.stack([torch.full_like(logit, 1e4), logit, torch.full_like(logit, -1e4)], 1)

    adm, classifier = ADM(**TINY), ADMClassifier(**TINY)
    adm.network, classifier.network = Diffusion(), Linear()
    both = adm.complete(Pixels(), classifier)
    seen = Calls(both)
    options = GuidedADMSampling(steps=steps, guidance=guidance)
    latent = both.sample(torch.ones(n, dtype=torch.long), range(n), 0, options)["latent"].double()
    expected = moments_of(steps, tilt=guidance * tilt, mean=mean, deviation=deviation)
    assert_moments(latent, *expected)
    # The shift of the data of the class, of which 50 steps lose more the narrower the data are; see test_ddpm.py.
    whole = guidance * tilt * deviation**2
    assert 0.5 * whole <= expected[0] - mean + 1e-4 <= whole + 2e-4
    assert seen.total == both.calls(options) and seen.calls["generator"] == steps


def test_a_sample_does_not_depend_on_its_batch():
    both = GuidedADM(randomised(ADM(**TINY)), randomised(ADMClassifier(**TINY)))
    labels, options = torch.tensor([0, 1, 2, 1]), GuidedADMSampling(steps=4)
    together = both.sample(labels, [4, 7, 2, 9], 1, options)["latent"]
    alone = both.sample(labels[2:3], [2], 1, options)["latent"]
    # Clipping forgets the first step, which divides by sqrt(a_999) = .006; convolutions of another order of sums give
    # 1e-6 of numbers below ten in every layer of four passes.
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-3)
    assert (together - both.sample(labels, [4, 7, 2, 9], 2, options)["latent"]).abs().max() > 0.1
    assert together.abs().max() < 3


def test_stages_and_options():
    adm, classifier = ADM(**TINY), ADMClassifier(**TINY)
    both = adm.complete(Pixels(), classifier)
    assert list(both.stages) == ["classifier", "generator"] and adm.complete(Pixels()) is adm
    assert GuidedADM.options() == GuidedADMSampling(250, 1.0) and adm.calls(ADM.options()) == 250
    assert both.calls(GuidedADMSampling(guidance=0.0)) == 250
    batch = {"latent": seeded(2, 3, 16, 16), "label": torch.tensor([0, 2])}
    losses = [each.loss(batch, torch.Generator().manual_seed(0)) for each in (both, adm)]
    assert (losses[0] > losses[1]).all()
    assert adm.preview(torch.tensor([1]), {}, 2)["latent"].shape == (1, 3, 16, 16)
    shown = classifier.preview(batch["label"], batch, 2)["latent"]
    assert shown.shape == batch["latent"].shape and not torch.equal(shown, batch["latent"])
    for one in (adm, classifier):
        one.prepare(RECORD)
        assert len(one.blocks()) == (7 if one is adm else 4)
        twin = type(one).from_config(one.config)
        twin.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="a classifier makes no images"):
        classifier.sample(torch.tensor([0]), [0], 0, None)
    with pytest.raises(ValueError, match="a classifier makes no images"):
        classifier.complete(Pixels())


@pytest.mark.parametrize("kind", [ADM, ADMClassifier])
def test_only_a_cache_of_its_pixels_will_do(kind):
    generator = kind(**TINY)
    for change in ({"shape": [8, 8]}, {"channels": 4}):
        with pytest.raises(ValueError, match=r"generator: takes pixels \[3, 16, 16\], but the cache has tokens"):
            generator.prepare(RECORD | {"code": RECORD["code"] | change})


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"^image_size: expected a multiple of 4, got 18"):
        ADM(**TINY | {"image_size": 18})
    with pytest.raises(ValueError, match=r"^block_out_channels: 10 is not a multiple of norm_num_groups 4"):
        ADM(**TINY | {"block_out_channels": (8, 10)})
    with pytest.raises(ValueError, match=r"^block_out_channels: 12 is not a multiple of head_channels 8"):
        ADMClassifier(**TINY | {"block_out_channels": (8, 12), "head_channels": 8})
    with pytest.raises(ValueError, match="num_classes of ADM is 3, of its classifier 4"):
        GuidedADM(ADM(**TINY), ADMClassifier(**TINY | {"num_classes": 4}))
    with pytest.raises(ValueError, match="expected an ADMClassifier to guide ADM, got a dict"):
        ADM(**TINY).complete(Pixels(), {})
    with pytest.raises(ValueError, match="steps: expected a whole number from 2 to 1000, got 1"):
        ADMSampling(1)
