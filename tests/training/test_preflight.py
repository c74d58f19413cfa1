"""What is refused before a training begins, in one line."""

import time

import pytest
import torch

from gpstoken.commands import preflight


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--trainer.accumulate_grad_batches", "2"], "--model.init_args.accumulate 2"),
        (["--trainer.gradient_clip_val", "1.0"], "--trainer.gradient_clip_val: expected null"),
        (["--trainer.max_steps", "-5"], "--trainer.max_steps: expected a whole number of at least -1, got -5"),
        (["--trainer.devices", "0"], "--trainer.devices: expected a whole number of at least 1"),
        (["--trainer.strategy", "sharded"], "--trainer.strategy: expected auto or ddp for a tokenizer, got sharded"),
        (["--trainer.max_stepz", "3"], "did you mean trainer.max_steps?"),
        (["--model.init_args.tokenizer.init_args.grid_size", "48"], "grid_size: expected 16 for image_size 32"),
        (["--data.init_args.root", ""], "root: expected a text that is not empty, got ''"),
    ],
)
def test_a_bad_option_is_one_line_before_training(tiny_arguments, run_cli, tmp_path, capfd, option, said):
    assert run_cli([*tiny_arguments(), *option]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gpstoken: ")]
    assert len(lines) == 1 and said in lines[0]
    assert not list(tmp_path.glob("scratch/*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "teacher: expected the checkpoint of a trained autoencoder, from whose latents"),
        (
            {"weights": "some.ckpt", "inception_weights": "some.pth", "inception_weight": "1"},
            "inception_weight: expected 0, because FlexTok learns without images",
        ),
    ],
)
def test_flextok_learns_from_a_trained_autoencoder_alone(run_cli, tmp_path, capfd, repository, options, said):
    place, files = repository / "experiments", ["tokenizers/flextok", "laptop/tokenizers", "laptop/flextok"]
    arguments = [f"--model.init_args.{name}={value}" for name, value in ({"perceptual_weight": "0"} | options).items()]
    arguments += ["--output", str(tmp_path / "run")]
    assert run_cli(["fit", *(part for name in files for part in ("-c", f"{place}/{name}.yaml")), *arguments]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"gpstoken: {said}")


def test_what_cannot_fit_into_memory_is_refused_unless_a_flag_says_so(tiny_arguments, run_cli, monkeypatch, capfd):
    monkeypatch.setattr(preflight, "free_bytes", lambda device: 1000)
    arguments = tiny_arguments(trainer={"max_steps": 1})
    assert run_cli(arguments) == 2
    assert "--allow_large" in capfd.readouterr().err
    assert run_cli([*arguments, "--allow_large", "true"]) == 0
    shown = capfd.readouterr()
    assert "M parameters" in shown.out and "litlogger" not in shown.err


def test_the_networks_of_the_loss_count_too(make_module, noise):
    """LPIPS by VGG16: 14.7 M weights, and at 32 px what its layers keep of one image, after torchvision's shapes."""
    data, modules = noise(), [make_module(), make_module(perceptual_weight=1.0), make_module(adversarial_start=0)]
    plain, judged, adversarial = (preflight.needs(module, data) for module in modules)
    # Of 3 x 3 convolutions to (channels, side): multiply-adds of VGG16's trunk, of both images, three times.
    widths = [(3, 64, 32), (64, 64, 32), (64, 128, 16), (128, 128, 16), (128, 256, 8), (256, 256, 8), (256, 256, 8)]
    widths += [(256, 512, 4), (512, 512, 4), (512, 512, 4), (512, 512, 2), (512, 512, 2), (512, 512, 2)]
    trunk = sum(9 * before * after * side**2 for before, after, side in widths)
    heads = 64 * 32**2 + 128 * 16**2 + 256 * 8**2 + 512 * (4**2 + 2**2)  # 1 x 1 convolutions of the difference
    assert judged.products - plain.products == 3 * data.batch_size * (2 * trunk + heads)
    weights = 4 * sum(9 * before * after + after for before, after, _ in widths)
    assert judged.memory - plain.memory > weights
    # A convolution 4 x 4 of 3 to 4 channels at 16 px, one to 8 at 15 px, one to a logit at 14 px.
    patches = 16 * (3 * 4 * 16**2 + 4 * 8 * 15**2 + 8 * 1 * 14**2)
    assert adversarial.products - plain.products == 3 * data.batch_size * patches


def test_a_step_takes_at_least_what_is_said(make_module, noise):
    module, data = make_module(), noise(batch_size=16)
    image = torch.rand(16, 3, 32, 32)
    said = preflight.needs(module, data).products / preflight.products_per_second(torch.device("cpu"))
    begin = time.perf_counter()
    for _ in range(3):
        module.autoencoder_terms(image, False)["loss"].backward()
    assert 0 < said < (time.perf_counter() - begin) / 3
