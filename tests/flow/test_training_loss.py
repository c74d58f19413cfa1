import pytest
import torch

from gpstoken.flow import flow_loss, training_interval
from gpstoken.flow.paths import PATHS


def test_losses_by_hand():
    # x1 = (2, 0), x0 = (0, 4), t = 1/2: x_t = (1, 2), velocity (2, -4). A network of zeros is off by the target.
    data, noise, t = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]]), torch.tensor([0.5])
    seen = []

    def network(x, times):
        seen.append((x, times))
        return torch.zeros_like(x)

    assert flow_loss(network, data, noise, t).tolist() == [10.0]  # (4 + 16) / 2
    assert flow_loss(network, data, noise, t, prediction="noise").tolist() == [8.0]  # 16 / 2
    assert flow_loss(network, data, noise, t, prediction="score").tolist() == [8.0]
    # The score -x0 / sigma = (0, -8): half of it leaves half of sigma s + x0.
    half = flow_loss(lambda x, t: torch.tensor([[0.0, -4.0]]), data, noise, t, prediction="score")
    assert half.tolist() == [2.0]
    assert seen[0][0].tolist() == [[1.0, 2.0]]
    assert seen[0][1] is t


def test_each_sample_has_its_own_loss_and_time():
    data, noise = torch.ones(3, 4, 5), torch.zeros(3, 4, 5)
    loss = flow_loss(lambda x, t: x, data, noise, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(loss, torch.tensor([1.0, 0.25, 0.0]))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prediction", ["velocity", "score", "noise"])
def test_the_exact_field_is_the_minimum(mixture, path, prediction):
    generator = torch.Generator().manual_seed(0)
    component = torch.multinomial(mixture.weights, 4000, replacement=True, generator=generator)
    normal, noise = torch.randn(2, 4000, 2, dtype=torch.float64, generator=generator)
    data = mixture.means[component] + torch.einsum(
        "bij,bj->bi", torch.linalg.cholesky(mixture.covariances)[component], normal
    )
    low, high = training_interval(path, prediction)
    t = torch.full((4000,), low + 0.6 * (high - low), dtype=torch.float64)

    def loss(scale, shift):
        return flow_loss(
            lambda x, t: scale * mixture.predict(prediction, path, x, t[0]) + shift, data, noise, t, path, prediction
        ).mean()

    # A regression on 8000 numbers whose residuals deviate by at most 1.9: the best shift is known to 1.9 / 90 = 0.02,
    # the best scale to that over the field's own size, at least 0.3.
    best = loss(1.0, 0.0)
    for scale, shift in ((0.5, 0.0), (1.5, 0.0), (1.0, 0.1), (1.0, -0.1)):
        assert loss(scale, shift) > best


def test_the_loss_trains_in_half_precision_too():
    weight = torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)
    loss = flow_loss(lambda x, t: x.bfloat16() @ weight, torch.ones(3, 2), torch.zeros(3, 2), torch.rand(3))
    assert loss.dtype == torch.float32
    loss.mean().backward()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": torch.tensor(0.5)}, r"t must be \[3\], a time for each sample, got \[\]"),
        ({"noise": torch.ones(3, 1)}, "must have the same shape"),
        ({"network": lambda x, t: x[:, :1]}, r"gave \[3, 1\] for states \[3, 2\]"),
        ({"prediction": "x1"}, "prediction must be one of"),
        ({"path": "curved"}, "path must be one of"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    arguments = {
        "network": lambda x, t: x,
        "data": torch.ones(3, 2),
        "noise": torch.ones(3, 2),
        "t": torch.rand(3),
    } | change
    with pytest.raises(ValueError, match=message):
        flow_loss(**arguments)
