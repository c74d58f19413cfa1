"""The table of what tokenizers and generators cost at their published size."""

import json

import pytest

MEASURED = {
    "device": "cpu", "precision": "fp32", "compile": False, "threads": 2, "batch_size": 1, "repeats": 3,
    "encode_ms": [500.0, 520.0, 510.0], "decode_ms": [2000.0, 2100.0, 2050.0],
    "latency_ms": 2560.0, "latency_std_ms": 60.5, "throughput_per_s": 0.3906, "peak_memory_mb": None,
}  # fmt: skip
M128 = {
    "kind": "tokenizer",
    "image_size": 256,
    "parameters": {"total": 128_660_000, "encoder": 90_000_000, "decoder": 38_660_000, "other": 0, "as_paper": None},
    "counts": {
        "encoder": {"gmacs": 52.15, "gflops": 104.3, "attention_gmacs": 4.5},
        "decoder": {"gmacs": 335.55, "gflops": 671.1, "attention_gmacs": 0.0},
    },
    "paper_convention": {"encoder_gmacs": 381.2, "decoder_gmacs": 2684.4, "images": 8},
    "memory": {
        "training_counted_mb": 20480.4, "training_batch_size": 16, "training_measured_mb": None,
        "inference_counted_mb": 1200.0,
    },
    "measured": MEASURED,
}  # fmt: skip


def network(gmacs: float, calls: int | None = 500) -> dict:
    return {
        "kind": "generator",
        "image_size": None,
        "parameters": {"total": 676_330_000, "encoder": None, "decoder": None, "other": None, "as_paper": None},
        "counts": {"network": {"gmacs": gmacs, "gflops": 2 * gmacs, "attention_gmacs": 1.0}, "calls": calls},
        "paper_convention": None,
        "memory": {"training_counted_mb": 8000.0, "training_batch_size": 16},
        "measured": None,
    }


@pytest.fixture
def profiled(tmp_path):
    """Writes results/SCALE/efficiency/ROW.json as `gpstoken profile` does."""

    def write(row: str, record: dict, scale: str = "laptop", **changes):
        path = tmp_path / "results" / scale / "efficiency" / f"{row}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {"row": row, "group": "efficiency", "scale": scale, "commit": "0123456789ab"}
        known |= {"versions": {"torch": "2.14.1"}, "machine": {"device": "cpu", "processor": "Test CPU"}}
        path.write_text(json.dumps(known | record | changes))
        return path

    return write


def test_cells_of_a_tokenizer(profiled, pages, cells):
    profiled("gpstoken_m128", M128)
    page = pages()["efficiency.md"]
    line = cells(page, "ours, laptop: published size at 256 px, timed on cpu")
    assert {name: line[name] for name in line if line[name] != "-"} == {
        "source": "ours, laptop: published size at 256 px, timed on cpu", "kind": "tokenizer",
        "method": "GPSToken-M128", "the paper's row": "GPSToken-M128", "parameters": "128.66 M",
        "encoder GMACs": "52.1", "decoder GMACs": "335.6", "encoder GFLOPs": "104.3", "decoder GFLOPs": "671.1",
        "attention (GMACs)": "4.5", "encoder as the paper counts (G)": "381",
        "decoder as the paper counts (G)": "2,684",
        # 381.2 / 383 and 2684.4 / 2689
        "deviation from the paper (%)": "-0.5 / -0.2",
        "training memory, counted (MB)": "20,480", "inference memory, counted (MB)": "1,200", "batch": "1",
        "latency of a batch (ms) ↓": "2,560.00 ± 60.50", "images/s ↑": "0.391", "device": "cpu, 2 threads",
        "precision": "fp32",
    }  # fmt: skip
    paper = cells(page, "paper, A100, 256 px", "tokenizer", "GPSToken-M128")
    assert (paper["encoder as the paper counts (G)"], paper["latency of a batch (ms) ↓"]) == ("383", "180 ± 0.15")
    assert (paper["encoder GMACs"], paper["parameters as the paper counts"], paper["batch"]) == ("-", "127.8 M", "8")
    # the fewest milliseconds of the paper's
    assert cells(page, "paper, A100, 256 px", "tokenizer", "VQVAE-f16")["latency of a batch (ms) ↓"] == "**72 ± 0.05**"


def test_introduction_tells_the_machine(profiled, pages):
    profiled("gpstoken_m128", M128)
    assert (
        "Counts are for the published sizes; timings are from the machine of the **laptop** scale. Timed on cpu (Test "
        "CPU), 2 threads, fp32, not compiled. After ± stands the standard deviation over rounds; a time without it is "
        "of one round. **These are CPU timings**: do not compare them with the paper's, which are for a GPU. Commit "
        "0123456789ab, torch 2.14.1."
    ) in pages()["efficiency.md"]


def test_a_generator_and_what_was_not_timed(profiled, pages, cells):
    profiled("grid", network(118.6))
    profiled("layout", network(6.05, calls=None))
    written = pages()
    line = cells(
        written["efficiency.md"], "ours, laptop: published size, not timed", "generator", "SiT on a grid of KL latents"
    )
    headings = ("network GMACs", "network GFLOPs", "network calls per sample")
    assert [line[name] for name in headings] == ["118.6", "237.2", "500"]
    assert (line["latency of a batch (ms) ↓"], line["encoder as the paper counts (G)"]) == ("-", "-")
    rows = json.loads(written["efficiency.json"])["rows"]
    assert [row["group"] for row in rows] == ["tokenizer"] * 23 + ["generator"] * 18
    assert "Nothing was timed." in written["efficiency.md"]


def test_a_gpu_beside_the_laptop(profiled, pages, cells):
    profiled("gpstoken_m128", M128)
    gpu = MEASURED | {"device": "cuda", "latency_ms": 90.0, "latency_std_ms": None, "peak_memory_mb": 2500.7}
    profiled("gpstoken_m128", M128, "workstation", measured=gpu)
    page = pages("workstation")["efficiency.md"]
    line = cells(page, "ours, workstation: published size at 256 px, timed on cuda")
    assert (line["latency of a batch (ms) ↓"], line["inference memory, measured (MB)"]) == ("90.00", "2,501")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": "vavae"}, r"gpstoken_m128\.json: holds the row 'vavae' of the group 'efficiency'"),
        ({"kind": "generator"}, "profile the row again"),
        ({"scale": "paper"}, "belongs to the scale 'paper', not 'laptop'"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(profiled, pages, changes, message):
    path = profiled("gpstoken_m128", M128)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=message):
        pages()


def claim(written: dict[str, str], text: str) -> dict[str, str]:
    rows = json.loads(written["claims.json"])["rows"]
    (row,) = [row for row in rows if row["cells"]["claim"]["text"] == text]
    return {name: cell["text"] for name, cell in row["cells"].items()} | {"result": row["result"]}


@pytest.mark.parametrize(("texture", "verdict", "ratio"), [(58.55, "holds", "0.54"), (70.0, "does not hold", "0.64")])
def test_half_the_inference_cost_is_counted(profiled, pages, texture, verdict, ratio):
    profiled("grid", network(118.6)), profiled("layout", network(6.05)), profiled("texture", network(texture))
    said = claim(pages(), "Two-stage generation halves the counted inference cost")
    # (6.05 + 58.55) / 118.6 and (6.05 + 70) / 118.6
    assert (said["verdict"], said["ours"].split()[0]) == (verdict, ratio)
    assert said["result"] == "results/laptop/efficiency/texture.json"


def test_half_the_inference_cost_without_a_part_is_not_measured(profiled, pages):
    profiled("grid", network(118.6)), profiled("texture", network(58.55))
    assert claim(pages(), "Two-stage generation halves the counted inference cost")["verdict"] == "not measured"
