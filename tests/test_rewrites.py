"""The exact rewrites of the networks: what they give, what they save, and that they compile in one piece."""

from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.networks import interpolate_statistics
from gpstoken import GPSToken, Tokens
from gpstoken.blocks import TiledGroupNorm
from gpstoken.decoder import SpatialAttention, Upsample
from gpstoken.profiling.memory import training_bytes
from gpstoken.profiling.shapes import without_weights
from gpstoken.sit import SiT


@pytest.fixture
def small(narrow_tokenizer):
    return partial(narrow_tokenizer, num_tokens=6, depth=3)


def results(tokenizer, image):
    """The image that comes back and the gradient of every parameter that has one."""
    tokenizer.zero_grad()
    out = tokenizer(image)
    out.square().sum().backward()
    return {"image": out.detach()} | {
        name: p.grad.clone() for name, p in tokenizer.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("change", [{"fused": True}, {"fused": True, "recompute": True}])
@pytest.mark.parametrize("norm", ["plain", "released"])
def test_rewritten_tokenizer_equals_the_released_form_in_values_and_gradients(small, some_image, change, norm):
    image = some_image(2, 32, 32, dtype=torch.float64)
    form = small(norm=norm, fused=False).double()
    rewritten = GPSToken(**form.config | change).double()
    rewritten.load_state_dict(form.state_dict())
    expected, actual = results(form, image), results(rewritten, image)
    assert expected.keys() == actual.keys()
    for name, truth in expected.items():
        # Sums in another order, in float64. The bias of a key has no gradient, and rounding is all that is left of it.
        assert float((actual[name] - truth).norm()) <= 1e-11 * float(truth.norm()) + 1e-12, name


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2), (8, 8)])
def test_upsampling_and_convolution_at_once(shape):
    torch.manual_seed(0)
    layer, x = Upsample(3, fused=True).double(), torch.randn(2, 3, *shape, dtype=torch.float64)
    # By hand: every output pixel is the convolution of what nearest neighbours put there.
    doubled = torch.nn.functional.pad(x.repeat_interleave(2, 2).repeat_interleave(2, 3), (1, 1, 1, 1))
    windows = doubled.unfold(2, 3, 1).unfold(3, 3, 1)
    expected = torch.einsum("bihwrs,oirs->bohw", windows, layer.weight) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_released_norm_of_one_tile_equals_the_interpolated_form(layout, grad):
    norm = TiledGroupNorm(3, 12, "released").double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in norm.parameters():
            torch.nn.init.normal_(parameter)
        x = torch.randn(2, 12, 7, 10, dtype=torch.float64) * 3 + 5
    x = x.contiguous(memory_format=layout).requires_grad_(grad)
    with torch.set_grad_enabled(grad):
        found, expected = (function(x) for function in (norm, norm.interpolated))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    if grad:
        leaves = (x, *norm.parameters())
        ours, theirs = (torch.autograd.grad(value.pow(3).sum(), leaves) for value in (found, expected))
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_released_norm_of_a_constant_group_is_its_shift():
    norm = TiledGroupNorm(2, 4, "released")
    torch.nn.init.constant_(norm.bias, 0.25)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert torch.equal(norm(torch.full((1, 4, 8, 8), 3.0)), torch.full((1, 4, 8, 8), 0.25))


def test_recomputing_keeps_less(small, some_image):
    saved = []
    for recompute in (False, True):
        tokenizer, total = small(recompute=recompute), 0

        def note(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            tokenizer(some_image(1, 32, 32))
        saved.append(total)
    assert saved[1] < saved[0] / 2


def test_decoder_attention_is_fused():
    attention, x = SpatialAttention(8, 2).requires_grad_(), torch.randn(1, 8, 4, 4)
    # Only torch's fused kernel may run; it raises where it cannot.
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        attention(x).sum().backward()


@pytest.mark.parametrize("preset", ["gpstoken_m128", "gpstoken_l256"])
def test_decoder_saves_at_most_0_6_of_the_released_form(preset):
    saved = {}
    for name, change in {
        "released": {"norm": "released", "fused": False},
        "ours": {"norm": "plain", "fused": True},
    }.items():
        make = lambda change=change, **more: GPSToken.from_preset(preset, **more | change).decoder  # noqa: E731
        decoder = without_weights(make, ()).train()
        if name == "released":
            interpolate_statistics(decoder)
        channels = decoder.conv_in.in_channels
        feature_map = torch.zeros(1, channels, 64, 64)
        unfused = sdpa_kernel(SDPBackend.MATH if name == "released" else SDPBackend.FLASH_ATTENTION)
        with unfused:
            saved[name] = training_bytes(decoder, lambda d=decoder, x=feature_map: d(x).sum())["activations"]
    print(preset, {name: f"{size / 2**20:.0f} MiB" for name, size in saved.items()})
    assert saved["ours"] <= 0.6 * saved["released"]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile looks at it
class TestCompile:
    """In one graph: a break would raise. In float64: what is compiled may take its sums in another order."""

    @pytest.fixture(autouse=True)
    def fresh(self):
        torch.compiler.reset()

    @pytest.mark.parametrize("fused", [False, True])
    def test_encode_and_decode(self, small, some_image, fused):
        tokenizer, image = small(fused=fused).double(), some_image(2, 32, 32, dtype=torch.float64)
        expected = tokenizer.encode(image)
        encode = torch.compile(tokenizer.encode, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(encode(image).to_tensor(), expected.to_tensor())
        decode = torch.compile(tokenizer.decode, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(decode(expected), tokenizer.decode(expected))

    def test_sit(self):
        network = SiT(channels=9, shape=(8,), layout_channels=5, width=16, depth=2, heads=2, num_classes=3).double()
        given = (
            torch.randn(2, 8, 9).double(),
            torch.rand(2).double(),
            torch.tensor([1, 3]),
            torch.rand(2, 8, 5).double(),
        )
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*given), network(*given))


def test_bfloat16_autocast_stays_close(small, some_image):
    tokenizer, image = small(), some_image(2, 32, 32)
    with torch.no_grad():
        tokens = tokenizer.encode(image)
        expected = tokenizer.decode(tokens)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            coarse = tokenizer.encode(image)
            # The geometry is float32 all the way, moved by features of 8 bits; the image passes some 20 such layers.
            assert coarse.gaussians.mu.dtype == coarse.gaussians.sigma.dtype == torch.float32
            decoded = tokenizer.decode(Tokens(tokens.gaussians, tokens.features, tokens.size))
    assert float((decoded.float() - expected).norm() / expected.norm()) < 0.03
