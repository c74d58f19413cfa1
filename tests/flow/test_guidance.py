import pytest
import torch

from gpstoken.flow import SampleNoise, Sampling, guided, sample


def model(x, t, label, layout):
    """Row by row, so that what each row was given can be read from the answer."""
    return x * t[:, None] + label[:, None] + layout


def recording(calls):
    def record(x, t, label, layout):
        calls.append((len(x), float(t[0]), label.tolist()))
        return model(x, t, label, layout)

    return record


CONDITIONS = {"label": torch.tensor([1.0, 2.0, 3.0]), "layout": torch.tensor([[10.0], [20.0], [30.0]])}
NULL = {"label": torch.zeros(3)}
X = torch.tensor([[1.0], [2.0], [3.0]])


def test_guidance_by_hand():
    # Conditional 0.5 x + label + layout, unconditional without the label: the label counts twice at scale 2, the rest
    # once.
    network = guided(model, CONDITIONS, NULL, scale=2.0, interval=(0.2, 0.8))
    assert network(X, 0.5).tolist() == [[12.5], [25.0], [37.5]]
    torch.testing.assert_close(network(X, 0.1), torch.tensor([[11.1], [22.2], [33.3]]))


@pytest.mark.parametrize(("t", "rows"), [(0.1999, 3), (0.2, 6), (0.5, 6), (0.8, 6), (0.8001, 3), (0.0, 3), (1.0, 3)])
def test_unconditional_rows_exist_only_inside_the_interval(t, rows):
    calls = []
    network = guided(recording(calls), CONDITIONS, NULL, scale=1.5, interval=(0.2, 0.8))
    assert network(X, t).shape == X.shape
    assert [call[0] for call in calls] == [rows]
    assert calls[0][2] == [1.0, 2.0, 3.0] + [0.0] * (rows - 3)


def test_no_unconditional_rows_without_guidance():
    calls = []
    guided(recording(calls), CONDITIONS, NULL, scale=1.0, interval=(0.0, 1.0))(X, 0.5)
    assert [call[0] for call in calls] == [3]


def test_rows_of_a_whole_run():
    # 50 points from 0.001 to 0.96, 0.0196 apart: the first 11 lie below 0.2, and the other 38 steps and the last one
    # are guided.
    calls = []
    network = guided(recording(calls), CONDITIONS, NULL, scale=1.5, interval=(0.2, 1.0))
    sample(network, SampleNoise(0, range(3), (1,)), Sampling(steps=50))
    assert [call[0] for call in calls] == [3] * 11 + [6] * 39


def test_null_conditions_must_match():
    with pytest.raises(ValueError, match=r"null 'klass' is \[3\], but conditions have no such condition"):
        guided(model, CONDITIONS, {"klass": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"null 'label' is \[1\], but conditions have \[3\]"):
        guided(model, CONDITIONS, {"label": torch.zeros(1)})
