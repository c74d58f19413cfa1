"""The compiled renderer as an operator of torch: schema, shapes, gradient, autocast, FLOPs, torch.compile."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gpstoken.gaussians import Gaussians
from gpstoken.splat import splat
from tests.threads import torch_threads

splat(
    Gaussians(torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.zeros(1, 1)), torch.ones(1, 1, 1), (2, 2), backend="cpu"
)
OPERATOR = torch.ops.gpstoken.splat_cpu


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's check looks at it
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_accepts_it(dtype, make):
    # torch's own check of custom operators: schema, fake tensors, autograd and AOT dispatch.
    torch.library.opcheck(OPERATOR.default, (*make(2, 5, dtype=dtype), 6, 9, 3.0))


def test_autocast_computes_in_float32(make):
    inputs = [value.bfloat16() for value in make(1, 9)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert OPERATOR(*inputs, 8, 8, 3.0).dtype == torch.float32


def test_flops_are_those_of_the_reference(make, run):
    inputs = make(2, 7, channels=4, dtype=torch.float32)
    counts = []
    for backend in ("reference", "cpu"):
        with FlopCounterMode(display=False) as counter:
            run(inputs, (6, 10), 3, backend)
        counts.append(counter.get_total_flops())
    # Forward one product of every Gaussian with every pixel and channel, backward two.
    assert counts == [3 * 2 * 2 * 7 * 4 * 60] * 2


def test_it_compiles_without_a_graph_break(make):
    inputs = make(2, 7, dtype=torch.float32)
    draw = torch.compile(
        lambda *values: splat(Gaussians(*values[:3]), values[3], (8, 9)), backend="aot_eager", fullgraph=True
    )
    feature_map = draw(*inputs)
    expected = splat(Gaussians(*inputs[:3]), inputs[3], (8, 9))
    assert torch.equal(feature_map, expected)
    gradients = (torch.autograd.grad(value.square().sum(), inputs) for value in (feature_map, expected))
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_threads_do_not_change_a_bit(threads, batch, make, run):
    inputs = make(batch, 33, dtype=torch.float32)
    expected = run(inputs, (17, 20), 3, "cpu")
    with torch_threads(threads):
        assert all(torch.equal(a, b) for a, b in zip(run(inputs, (17, 20), 3, "cpu"), expected, strict=True))


def test_extra_memory_is_at_most_thrice_the_map(make):
    from benchmarks.splat import peak_extra_bytes

    inputs = [value.detach() for value in make(2, 128, channels=16, dtype=torch.float32)]
    peak = peak_extra_bytes(lambda: splat(Gaussians(*inputs[:3]), inputs[3], (64, 64), backend="cpu"))
    # torch counts what torch allocates; the kernel's own map is NumPy's, once more of the same size.
    assert peak + 2 * 16 * 64 * 64 * 4 <= 3 * 2 * 16 * 64 * 64 * 4
