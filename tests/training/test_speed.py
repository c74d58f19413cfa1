"""`gpstoken speed`: trained tokenizers timed in turns, and their products by hand."""

import json

import pytest
import torch

from gpstoken.baselines.linear import LinearPatches
from gpstoken.commands.speed import side_by_side
from gpstoken.profiling import timing

PATCH, CHANNELS, SIDE = 8, 6, 32
PRODUCTS = (SIDE // PATCH) ** 2 * CHANNELS * 3 * PATCH**2  # of a patch's numbers with each channel's weights


class Noted(LinearPatches):
    """Writes down when it encodes and decodes."""

    def __init__(self, name, calls):
        super().__init__(PATCH, CHANNELS)
        self.name, self.calls = name, calls

    def encode(self, image):
        self.calls.append((self.name, "encode", len(image)))
        return super().encode(image)

    def decode(self, tokens):
        self.calls.append((self.name, "decode", len(tokens)))
        return super().decode(tokens)


def test_rows_take_turns_and_the_first_round_is_not_timed(monkeypatch):
    calls, ticks = [], iter(range(1000))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks) ** 2 / 1000)  # seconds
    rows = {name: Noted(name, calls) for name in ("first", "second")}
    found = side_by_side(rows, torch.rand(4, 3, SIDE, SIDE), rounds=2)
    one = [(name, part, 1) for name in rows for part in ("encode", "decode")]  # counted
    assert calls == one + 3 * [(name, part, 4) for name in rows for part in ("encode", "decode")]
    # Call k begins at (2 k)^2 ms and ends at (2 k + 1)^2 ms; a round has four calls of four images.
    took = [((2 * call + 1) ** 2 - (2 * call) ** 2) / 4 for call in range(12)]
    assert found["first"]["encode_ms"] == [took[4], took[8]] and found["second"]["decode_ms"] == [took[7], took[11]]
    assert found["first"]["encode_gmacs"] == found["first"]["decode_gmacs"] == PRODUCTS / 1e9


def test_of_finished_runs(tiny_runs, run_cli, tmp_path, capsys):
    output = tmp_path / "speed" / "rows.json"
    options = ["--row", "rows", "--scale", "tiny", "--batch-size", "2", "--rounds", "2", "--device", "cpu"]
    assert run_cli(["speed", str(tiny_runs[0]), *options, "-o", str(output)]) == 0
    record = json.loads(output.read_text())
    assert (record["row"], record["group"], record["scale"], record["image_size"]) == ("rows", "speed", "tiny", 32)
    assert {"commit", "versions", "machine"} <= record.keys() and list(record["rows"]) == ["row"]
    assert all(len(record["rows"]["row"][part]) == 2 for part in ("encode_ms", "decode_ms"))
    assert run_cli(["speed", *map(str, tiny_runs), *options, "-o", str(output)]) == 2
    assert "row: given twice; of each row one run is timed" in capsys.readouterr().err


def test_a_missing_run_is_one_line(run_cli, tmp_path, capsys):
    options = ["--row", "rows", "--scale", "tiny", "-o", str(tmp_path / "rows.json")]
    assert run_cli(["speed", str(tmp_path / "row" / "seed0"), *options]) == 2
    assert str(tmp_path / "row" / "seed0") in capsys.readouterr().err


@pytest.mark.parametrize(("scale", "arms"), [("laptop", True), ("quick", True), ("paper", False)])
def test_arms_are_of_the_scales_that_give_them_a_size(scale, arms, run_cli):
    from gpstoken.commands.by_row import expanded

    (line,) = expanded("speed", "rows", scale, [0])
    assert f"runs/{scale}/tokenizers/gpstoken_m128/seed0" in line and "-o" not in line
    assert (f"runs/{scale}/tokenizers/titok_268/seed0" in line) is arms
