import time

import pytest
import torch

from gpstoken.profiling.timing import measure, summary, timed, training_peak_mb

CPU = torch.device("cpu")


def test_latency_is_the_mean_of_rounds_with_all_their_parts():
    # rounds of 3 and 5 ms: mean 4, standard deviation sqrt(1 + 1); eight images in 4 ms are 2000 a second
    found = summary({"encode": [1.0, 3.0], "decode": [2.0, 2.0]}, 8)
    assert found == {"latency_ms": 4.0, "latency_std_ms": 1.414, "throughput_per_s": 2000.0}


def test_one_round_has_no_spread():
    assert summary({"network": [10.0]}, 1) == {"latency_ms": 10.0, "latency_std_ms": None, "throughput_per_s": 100.0}


def test_time_is_in_milliseconds():
    result, milliseconds = timed(lambda: time.sleep(0.02) or "done", CPU)
    assert result == "done"
    assert 20 <= milliseconds < 2000  # a sleep is never shorter; a busy machine may wake up late


def test_each_part_is_given_what_the_one_before_returned_and_the_first_round_does_not_count():
    calls = []

    def encode(image):
        calls.append("encode")
        if len(calls) == 1:
            time.sleep(0.3)
        return {"of": image}

    def decode(tokens):
        assert list(tokens) == ["of"]
        assert not torch.is_grad_enabled()
        calls.append("decode")
        time.sleep(0.01)

    found = measure({"encode": encode, "decode": decode}, torch.zeros(2, 1), 3, CPU)
    assert calls == ["encode", "decode"] * 4
    assert len(found["encode_ms"]) == len(found["decode_ms"]) == 3
    assert max(found["encode_ms"]) < 300
    assert found["throughput_per_s"] == pytest.approx(2000 / found["latency_ms"], rel=1e-3)  # both are rounded
    assert found["peak_memory_mb"] is None


def test_training_steps_that_do_not_fit_have_no_peak(monkeypatch):
    # The rest of the function is torch's and needs a CUDA device; that it steps and gives up is seen without one.
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    network, image = torch.nn.Linear(3, 3), torch.ones(2, 3)
    before = network.weight.clone()
    assert training_peak_mb(network, lambda: network(image), image) > 0
    assert not torch.equal(network.weight, before)

    def too_large():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert training_peak_mb(network, too_large, image) is None
