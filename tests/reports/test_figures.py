import numpy as np
import torch
from matplotlib.figure import Figure

from gpstoken import Gaussians, GPSToken
from reports import figures

TINY = {
    "num_tokens": 8,
    "feature_channels": 4,
    "image_size": 32,
    "grid_size": 16,
    "width": 16,
    "depth": 1,
    "heads": 2,
    "roi_size": 2,
    "stem_channels": 4,
    "decoder_channels": 4,
    "decoder_multipliers": (1, 2),
    "decoder_blocks": 1,
    "norm_groups": 2,
    "min_region_size": 4,
}


def draw(tmp_path, name: str) -> dict[str, bytes]:
    output = tmp_path / name
    arguments = ["--results", str(tmp_path / "results" / "laptop"), "--runs", str(tmp_path / "runs/laptop/tokenizers")]
    assert figures.main([*arguments, "-o", str(output)]) == 0
    return {path.name: path.read_bytes() for path in output.iterdir()}


def without_weights(write_run, row: str, seed: int, loss: float) -> None:
    (write_run(row, seed, loss) / "last.ckpt").unlink()


def test_same_inputs_give_the_same_bytes(arm, write_run, tmp_path, capsys):
    arm("uniform"), arm("init_only", gain=0.1), arm("gpstoken_m128", gain=0.2)
    for seed in range(2):
        without_weights(write_run, "gpstoken_m128", seed, 1.0 + seed)
    first = draw(tmp_path, "first")
    # gpstoken_m128 is one of the counts of the figure of tokens, and alone shows nothing
    assert set(first) == {"ablation.png", "ablation.svg", "training.png", "training.svg"}
    assert draw(tmp_path, "second") == first
    assert "overview: nothing to draw yet" in capsys.readouterr().out
    svg = first["ablation.svg"].decode()
    # two of the three claims have both rows
    assert "minus uniform, not refined" in svg
    assert "minus uniform, refined" not in svg
    assert "4 images of 2 photographs" in svg


def test_nothing_to_draw(tmp_path, capsys):
    assert draw(tmp_path, "empty") == {}
    lines = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["ablation", "tokens", "resolution", "focus", "training", "overview"]


def test_curves_keep_only_the_steps_that_every_seed_has(write_run, tmp_path):
    first, second = write_run("uniform", 0, loss=1.0), write_run("uniform", 1, loss=3.0)
    with (second / "metrics.csv").open("a") as file:
        file.write("30,train/loss,9\n")
    curve = figures.read_curves(first.parent)["train/loss"]
    assert curve.tolist() == [[10, 20], [1.0, 0.5], [3.0, 1.5]]


def test_running_mean_by_hand():
    values = np.array([0.0, 10.0, 20.0, 30.0, 40.0, 100.0])
    assert figures.running_mean(values).tolist() == [10.0, 15.0, 20.0, 40.0, 47.5, 170 / 3]


def test_ellipses_are_the_one_sigma_contours():
    height, width = 20, 30
    mu = torch.tensor([[[-0.4, 0.2], [0.5, -0.5], [0.0, 0.0]]])
    sigma = torch.tensor([[[0.3, 0.1], [0.1, 0.2], [0.2, 0.2]]])
    rho = torch.tensor([[0.8, -0.6, 0.0]])
    axes = Figure().subplots()
    figures.show(axes, torch.zeros(1, 3, height, width), Gaussians(mu, sigma, rho))
    scale = np.array([(width - 1) / 2, (height - 1) / 2])
    assert len(axes.patches) == 3
    for patch, m, s, r in zip(axes.patches, mu[0].numpy(), sigma[0].numpy(), rho[0].numpy(), strict=True):
        angle = np.linspace(0, 2 * np.pi, 40)
        outline = patch.get_patch_transform().transform(np.stack([np.cos(angle), np.sin(angle)], axis=1))
        # back from pixels to the canvas, then the exponent of Eq. (2): it is 1 where the distance is one sigma
        x, y = ((outline / scale - 1 - m) / s).T
        np.testing.assert_allclose((x * x - 2 * r * x * y + y * y) / (1 - r * r), 1, rtol=1e-5)  # float32 inputs


def test_overview_is_the_flow_at_both_sizes():
    torch.manual_seed(0)
    figure = figures.overview(GPSToken(**TINY).eval())
    axes = np.array(figure.axes).reshape(3, 4)
    assert [place.get_title() for place in axes[0]] == [
        "input",
        "initial Gaussians",
        "refined Gaussians",
        "reconstruction",
    ]
    assert [line[0].get_ylabel() for line in axes] == ["32 px, 8 tokens"] * 2 + ["128 px, 128 tokens"]
    assert [len(place.patches) for place in axes[2]] == [0, 128, 128, 0]
    assert axes[2, 3].get_images()[0].get_array().shape == (128, 128, 3)
