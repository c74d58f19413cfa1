import math

import pytest
import torch
from scipy.special import entr, softmax

from gpstoken.baselines.softvq import SoftVQ
from tests.baselines.query_reference import (
    CHANNELS,
    CLOSE,
    PATCH,
    SIDE,
    SIZES,
    TOKENS,
    WIDTH,
    Reference,
    layout,
    published,
)

BOOKS = (2, 5)
TINY = SIZES | {"codebooks": BOOKS[0], "codebook_size": BOOKS[1]}


@pytest.fixture
def weights():
    return published(rotary=False, codebooks=BOOKS)


@pytest.fixture
def tiny(weights):
    tokenizer = SoftVQ(**TINY)
    tokenizer.load_state_dict(tokenizer.own_names(weights))
    return tokenizer.double().eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double() * 2 - 1


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        tokenizer = SoftVQ()
    # 173.56 M in systems.md of the suite, 173.6 M in the paper's table, with the decoder's idle patch embedding
    assert sum(each.numel() for each in tokenizer.parameters()) / 1e6 == pytest.approx(173.56, abs=0.005)
    shapes = layout(12, 768, 256, 64, 32, 768, False, (4, 8192))
    assert len(shapes) == 360  # tensors of the published file
    named = tokenizer.own_names({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert {name: each.shape for name, each in named.items()} == {
        name: each.shape for name, each in tokenizer.state_dict().items()
    }


@torch.no_grad()
def test_published_weights_give_what_the_description_says(tiny, weights, image):
    reference = Reference(weights)
    for picture, vectors, tokens, decoded in zip(
        image, tiny.latents(image), tiny.encode(image), tiny(image), strict=True
    ):
        expected = reference.latents(picture)
        torch.testing.assert_close(vectors, expected, **CLOSE)
        torch.testing.assert_close(tokens, reference.soft(expected)[1], **CLOSE)
        torch.testing.assert_close(decoded, reference.decode(tokens), **CLOSE)
    assert tiny(image).std() > 0.1  # images that depend on something


def test_unknown_tensors_keep_their_names(tiny, weights):
    named = tiny.own_names(weights | {"ema.model.extra": torch.zeros(1), "encoder.other": torch.zeros(1)})
    assert set(named) - set(tiny.state_dict()) == {"ema.model.extra", "encoder.other"}


def test_the_entropy_loss_by_hand(tiny, weights, image):
    tiny.train()(image)
    (name, (value, weight)), *others = tiny.latent_terms(image).items()
    assert (name, weight, others) == ("entropy", 0.01, [])
    reference, vectors = Reference(weights), tiny.latents(image).detach()
    shares = torch.tensor(
        [reference.soft(each)[0] for each in vectors], dtype=torch.float64
    )  # [images, tokens, entries]
    of_tokens = -(shares * shares.log()).sum(-1).mean()
    of_codebooks = []
    for tokens in (slice(0, 2), slice(2, 4)):  # a codebook has half of the tokens
        mean = shares[:, tokens].flatten(0, 1).mean(0)
        of_codebooks.append(entr(mean.numpy()).sum())
    assert value.item() == pytest.approx(of_tokens.item() - sum(of_codebooks) / 2, abs=1e-11)


def test_codebooks_learn_from_the_sums_alone(tiny):
    vectors = torch.randn(1, TOKENS, CHANNELS, dtype=torch.float64)
    tiny.quantize(vectors)[0].sum().backward()
    entries = torch.nn.functional.normalize(tiny.quantize.embedding.detach(), dim=-1).requires_grad_()
    directions = torch.nn.functional.normalize(vectors, dim=-1).unflatten(1, (2, 2))
    cosines = torch.einsum("bktc,kec->bkte", directions, entries.detach())
    shares = torch.from_numpy(softmax(cosines.numpy() / 0.07, axis=-1))
    # d sum / d entry is its share for each channel; the part along the entry is lost in its length.
    upstream = shares.sum((0, 2))[..., None].expand_as(entries)
    lengths = tiny.quantize.embedding.detach().norm(dim=-1, keepdim=True)
    expected = (upstream - entries * (upstream * entries).sum(-1, keepdim=True)) / lengths
    torch.testing.assert_close(tiny.quantize.embedding.grad, expected.detach(), **CLOSE)


def test_undecided_and_unused_entries_cost(tiny):
    tokenizer = SoftVQ(**TINY | {"codebooks": 1, "codebook_size": 3, "num_tokens": 3})
    with torch.no_grad():
        tokenizer.quantize.embedding.copy_(torch.eye(3)[None])
    # Each token is one of three entries: no entropy of its own, and all of that of the mean.
    _, loss = tokenizer.quantize(torch.eye(3)[None])
    # exp(-1 / .07) = 6e-7 of the weight lies on the other entries, with a logarithm of -14.
    assert loss.item() == pytest.approx(-math.log(3), abs=1e-4)
    _, loss = tokenizer.quantize(torch.ones(1, 3, 3))
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_training_reaches_every_parameter(tiny, image):
    tokens = tiny.encode(image)
    assert tokens.shape == (2, TOKENS, CHANNELS)
    assert torch.equal(tiny(image), tiny.decode(tokens)) and tiny.entropy is None
    reconstruction = tiny.train()(image)
    assert torch.equal(reconstruction, tiny.decode(tokens))  # nothing is drawn
    value, weight = tiny.latent_terms(image)["entropy"]
    (reconstruction.square().mean() + weight * value).backward()
    idle = {name for name, each in tiny.named_parameters() if not each.requires_grad}
    assert idle == {f"decoder.vit.patch_embed.proj.{name}" for name in ("weight", "bias")}
    silent = {name for name, each in tiny.named_parameters() if each.grad is None or not each.grad.any()}
    assert silent == idle


def test_half_precision_computes_the_weights_in_float32(image):
    tokenizer = SoftVQ(**TINY).eval()
    vectors = torch.randn(2, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.quantize(vectors)[0], tokenizer.quantize(vectors)[0].float())
        inside = tokenizer.quantize(vectors)[0]
    assert torch.equal(inside, tokenizer.quantize(vectors)[0])


def test_code_and_config(tiny, image):
    assert tiny.code((SIDE, SIDE)) == (TOKENS, (TOKENS,), CHANNELS, None)
    packed = tiny.pack(image)
    assert set(packed) == {"tokens"} and torch.equal(tiny.unpack(packed), tiny.encode(image))
    twin = SoftVQ(**tiny.config).double()
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval()(image), tiny(image))
    assert tiny.last_layer.shape == (3 * PATCH**2, WIDTH) and tiny.last_layer.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_tokens": 5}, "num_tokens: 5 is not a multiple of codebooks 2"),
        ({"width": 25}, "width: 25 is not a multiple of 2 heads"),
        ({"image_size": 13}, "image_size: 13 is not a multiple of patch_size 4"),
        ({"layer_scale": 0.0}, "layer_scale: expected a finite number above 0, got 0.0"),
    ],
)
def test_sizes_that_do_not_divide(arguments, message):
    with pytest.raises(ValueError) as caught:
        SoftVQ(**TINY | arguments)
    assert str(caught.value) == message


def test_wrong_images_and_tokens(tiny, image):
    with pytest.raises(ValueError, match=r"\Aimage: this SoftVQ was made for 12x12 pixels, got 12x16\Z"):
        tiny.encode(torch.zeros(1, 3, 12, 16))
    message = r"\Anum_tokens: this SoftVQ has 4 tokens an image, cannot make 3; leave it out\Z"
    with pytest.raises(ValueError, match=message):
        tiny.pack(image, 3)
    for tokens, found in (
        (torch.zeros(1, TOKENS, CHANNELS, dtype=torch.long), r"torch.int64 \[1, 4, 3\]"),
        (torch.zeros(1, TOKENS), r"torch.float32 \[1, 4\]"),
    ):
        with pytest.raises(ValueError, match=rf"\Atokens: expected float\[B, 4, 3\], got {found}\Z"):
            tiny.decode(tokens)
