"""The table of benchmarks."""

import json

import pytest

CPU = {"device": "cpu", "processor": "Test CPU", "threads": 2, "commit": "0123456789ab"}
VERSIONS = {"torch": "2.14.1", "numba": "0.68.1"}
LINE = {
    "case": "splat A, forward", "variant": "cpu", "reference": "released", "clock": "cpu",
    "ms": 1234.5, "ms_min": 1200.0, "ms_max": 1300.25, "speedup": 4.5, "speedup_min": 4.0, "speedup_max": 5.25,
}  # fmt: skip


@pytest.fixture
def benchmarked(tmp_path):
    """Writes results/benchmarks/NAME.json as `python -m benchmarks --json` does."""

    def write(name: str, machine: dict, *rows: dict) -> None:
        folder = tmp_path / "results" / "benchmarks"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps({"machine": machine | VERSIONS, "rows": rows}))

    return write


def test_cells(benchmarked, pages, cells):
    itself, alone = LINE | {"variant": "released", "speedup": 1.0}, LINE | {"variant": "alone", "reference": ""}
    benchmarked("test", CPU, itself, alone, LINE | {"floor_ms": 0.12, "reached": 0.064, "peak_mib": 2.08})
    page = pages()["kernels.md"]
    assert "cpu (Test CPU), 2 threads: commit 0123456789ab, torch 2.14.1, numba 0.68.1." in page
    # no line of the reference against itself; no number of a GPU that there was not
    assert cells(page, "cpu (Test CPU), 2 threads") == {
        "machine": "cpu (Test CPU), 2 threads", "case": "splat A, forward", "variant": "cpu", "against": "released",
        "CPU (ms per image or batch) ↓": "1,234.50 (1,200.00-1,300.25)", "CPU, times as fast ↑": "4.50 (4.00-5.25)",
        "CPU, floor over time (%) ↑": "6", "GPU (ms per image or batch) ↓": "-", "GPU, times as fast ↑": "-",
        "GPU, floor over time (%) ↑": "-", "extra memory (MiB) ↓": "2.1",
    }  # fmt: skip


def test_a_gpu_has_columns_of_its_own(benchmarked, pages, cells):
    benchmarked("a", CPU, LINE)
    benchmarked("b", CPU | {"device": "NVIDIA H100"}, LINE | {"clock": "cuda", "variant": "triton"})
    line = cells(pages()["kernels.md"], "NVIDIA H100 (Test CPU), 2 threads")
    assert (line["variant"], line["GPU, times as fast ↑"], line["CPU, times as fast ↑"]) == (
        "triton", "4.50 (4.00-5.25)", "-",
    )  # fmt: skip


def test_nothing_measured(pages):
    assert "Nothing has been timed yet; `python -m benchmarks --json FILE` does it." in pages()["kernels.md"]


@pytest.mark.parametrize("text", ['{"rows": []}', "[]", '{"machine": {}, "rows": []}'])
def test_another_file_is_refused(benchmarked, pages, tmp_path, text):
    benchmarked("test", CPU)
    (tmp_path / "results" / "benchmarks" / "test.json").write_text(text)
    with pytest.raises(ValueError, match=r"test\.json: not a file of benchmarks"):
        pages()
