import time
from types import SimpleNamespace

import pytest
import torch

from gpstoken.profiling import timing
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
    # A sleep is never shorter, and a busy machine may wake up late; in microseconds it would be 20,000.
    assert 20 <= milliseconds < 20_000


def test_each_part_is_given_what_the_one_before_returned_and_the_first_round_does_not_count(monkeypatch):
    calls, seconds = [], [0.0]
    # The parts move the clock themselves: no other work of the machine does.
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: seconds[0]))

    def encode(image):
        calls.append("encode")
        seconds[0] += 0.3 if len(calls) == 1 else 0.002
        return {"of": image}

    def decode(tokens):
        assert list(tokens) == ["of"]
        assert not torch.is_grad_enabled()
        calls.append("decode")
        seconds[0] += 0.01

    found = measure({"encode": encode, "decode": decode}, torch.zeros(3, 1), 3, CPU)
    assert calls == ["encode", "decode"] * 4
    # 2 and 10 milliseconds: three images in 12 are 250 a second
    assert found == {
        "repeats": 3, "encode_ms": [2.0] * 3, "decode_ms": [10.0] * 3, "latency_ms": 12.0, "latency_std_ms": 0.0,
        "throughput_per_s": 250.0, "peak_memory_mb": None,
    }  # fmt: skip


@pytest.mark.parametrize(("limit", "rounds"), [(1.5, 2), (0.5, 1), (10, 4)])
def test_no_further_round_begins_after_the_limit(monkeypatch, limit, rounds):
    seconds = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: seconds[0]))

    def encode(_):
        seconds[0] += 1.0

    found = measure({"encode": encode}, torch.zeros(1, 1), 4, CPU, limit)
    assert found["repeats"] == len(found["encode_ms"]) == rounds
    assert (found["latency_std_ms"] is None) == (rounds == 1)


def test_training_steps_that_do_not_fit_have_no_peak(monkeypatch):
    # The rest of the function is torch's and needs a CUDA device; that it steps and gives up is seen without one.
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    network, image = torch.nn.Linear(3, 3), torch.ones(2, 3)
    before = network.weight.clone()
    assert training_peak_mb(network, lambda: network(image).square().mean(), torch.device("cpu")) > 0
    assert not torch.equal(network.weight, before)

    def too_large():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert training_peak_mb(network, too_large, torch.device("cpu")) is None
