"""The tokenizer on a GPU, where there is one, else on the CPU: released weights, compiled, bfloat16, gradients."""

import pytest
import torch

from gpstoken import Tokens
from tests.test_tokenizer_golden import FLOAT64, VECTORS, error, float32, golden, load

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The default backend takes minutes on a CPU: there only the tracing is tested.
BACKEND = "inductor" if DEVICE == "cuda" else "eager"
TOLERANCE = {torch.float64: lambda _: FLOAT64, torch.float32: float32}


@pytest.fixture(autouse=True)
def whole_float32():
    """Convolutions in float32 and not, as is torch's default on a GPU, in TensorFloat32, which has 10 bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def images(dtype):
    pixels = torch.from_numpy(VECTORS["images"]).permute(0, 3, 1, 2)
    return (pixels.float() / 127.5 - 1).to(DEVICE, dtype)


def on_device(dtype, compiled=False):
    tokenizer = load(dtype).to(DEVICE)
    if compiled:
        for network in tokenizer.networks():
            network.compile(backend=BACKEND)
    return tokenizer


@torch.no_grad()
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_released_weights(dtype, compiled):
    torch._dynamo.reset()
    tokenizer, tokens = on_device(dtype, compiled), Tokens.from_tensor(golden("tokens").to(DEVICE, dtype))
    encoded, decoded = tokenizer.encode(images(dtype)), tokenizer.decode(tokens)
    assert encoded.features.device.type == decoded.device.type == DEVICE
    assert error(encoded.to_tensor().cpu(), golden("tokens")) < TOLERANCE[dtype]("tokens")
    assert error(decoded.cpu(), golden("decoded")) < TOLERANCE[dtype]("decoded")


@torch.no_grad()
@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")
def test_bfloat16_is_as_near_as_that_of_the_cpu():
    def distance(device):
        tokenizer, tokens = load(torch.float32).to(device), Tokens.from_tensor(golden("tokens").float().to(device))
        with torch.autocast(device, torch.bfloat16):
            decoded = tokenizer.decode(tokens).double().cpu()
        return ((decoded - golden("decoded")).norm() / golden("decoded").norm()).item()

    # Both round the same values to 8 bits and add in other orders; 2^-9 is one rounding, float32 is far below it.
    assert 2**-9 < distance(DEVICE) < 2 * distance("cpu")


@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")
def test_gradients_equal_those_of_the_cpu():
    def gradients(device):
        tokenizer, image = load(torch.float64).to(device), images(torch.float64).to(device)
        (tokenizer.decode(tokenizer.encode(image)) - image).square().mean().backward()
        return {name: each.grad.cpu() for name, each in tokenizer.named_parameters() if each.grad is not None}

    expected, actual = gradients("cpu"), gradients(DEVICE)
    assert len(expected) > 50 and expected.keys() == actual.keys()
    for name, truth in expected.items():
        # Two orders of sums of up to 10^6 terms in float64, and gradients that largely cancel.
        assert (actual[name] - truth).norm() <= 1e-8 * truth.norm() + 1e-12, name
