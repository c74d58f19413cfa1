"""What is refused before a training begins, in one line."""

import pytest

from gpstoken.training import preflight


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


def test_what_cannot_fit_into_memory_is_refused_unless_a_flag_says_so(tiny_arguments, run_cli, monkeypatch, capfd):
    monkeypatch.setattr(preflight, "free_bytes", lambda device: 1000)
    arguments = tiny_arguments(trainer={"max_steps": 1})
    assert run_cli(arguments) == 2
    assert "--allow_large" in capfd.readouterr().err
    assert run_cli([*arguments, "--allow_large", "true"]) == 0
    shown = capfd.readouterr()
    assert "M parameters" in shown.out and "litlogger" not in shown.err
