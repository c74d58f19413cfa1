"""The commands of README.md and docs/commands.md run as they stand, in order; options at the end make them small."""

import pickle
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from skimage.data import chelsea

from gpstoken import GPSToken, cli
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.commands import released_generator
from gpstoken.sit import SiT
from reports.tables import __main__ as tables
from tests.datamodules import layouts
from tests.training.conftest import REPOSITORY, TOKENIZER

README, COMMANDS_PAGE = ((REPOSITORY / name).read_text() for name in ("README.md", "docs/commands.md"))
EXAMPLES = COMMANDS_PAGE.partition("## Examples\n")[2].partition("\n## ")[0]
COMMANDS = [
    line.strip().partition("  #")[0]
    for line in (EXAMPLES + README).splitlines()
    if re.match("    (gpstoken|python -m reports|dvc) ", line)
]
RELEASED = "gpstoken released-generator"  # of 676 M parameters; here its function is given narrow networks
# A command's beginning -> options that make it small.
FIT = "--trainer.max_steps 2 --trainer.val_check_interval 2 --trainer.limit_val_batches 1 --data.init_args.batch_size 2"
# Not VGG, whose 138 M weights torchvision draws at random before ours are read.
ALEXNET = " --model.init_args.evaluation_networks '{alexnet: data/networks/lpips_alexnet.safetensors}'"
STAGE = "".join(
    f" --model.init_args.generator.init_args.network.init_args.{option}"
    for option in ("width 16", "depth 1", "heads 2")
)
FOUR = "--data.init_args.subset 4 --data.init_args.image_size 64 --networks"  # images
SMALLER = {
    "gpstoken encode": "",
    "gpstoken demo": "--tokens 64 128",
    "gpstoken decode": "",
    "gpstoken fit gpstoken_m128": FIT + ALEXNET,
    "gpstoken fit layout": FIT + STAGE,
    "gpstoken fit texture": FIT + STAGE,
    "gpstoken evaluate runs/mine -o results/mine/studies": "--data.init_args.image_size 64",
    "gpstoken evaluate runs/mine -o results/mine/tokenizers": FOUR,
    "gpstoken evaluate runs/small": "--data.image_size 64",
    "gpstoken evaluate runs/jpeg": "--data.image_size 64",
    "gpstoken score --self-test": "--device cpu --network efficientnet_lite0",
    "gpstoken score photos": "--device cpu --network efficientnet_lite0",
    "gpstoken score samples": "--device cpu --network efficientnet_lite0 --allow-small",
    "gpstoken cache": "--data.init_args.epoch_length 8 --data.init_args.batch_size 8",
    "gpstoken generate runs/texture": "-n 5 --steps 2",
    "gpstoken generate generator": "-n 5 --steps 2",
    "gpstoken generate small": "-n 2 --steps 2",
    "gpstoken generate runs/published": "-n 3 --steps 2 --classes 0-2",
    "gpstoken generate released": "-n 3 --steps 2 --classes 0-2 --device cpu",
    "gpstoken export": "",
    "gpstoken profile": "--count-only",
    "gpstoken speed": "--rounds 1 --batch-size 2",
    "gpstoken published experiments/tokenizers/vavae.yaml": "-c tiny_vavae.yaml",
    "gpstoken published experiments/tokenizers/sdxl_vae.yaml": "-c tiny_vae.yaml",
    "gpstoken published experiments/tokenizers/small.yaml": "",
    "gpstoken published experiments/tokenizers/jpeg.yaml": "",
    "gpstoken published-generator": "-c tiny_repa.yaml --image-size 8",
    "gpstoken released-layouts": "",
    "python -m reports.tables": "",
    RELEASED: "",
}
# What changes the pipeline itself: tests/test_pipeline.py, and `make repro`, which .ci/run runs whole.
PIPELINE = ("dvc exp run", "dvc exp show")
VAVAE = {"latent_channels": 4, "block_out_channels": [4, 8], "layers_per_block": 1, "norm_num_groups": 2}
REPA = {"shape": [4, 4], "width": 16, "depth": 1, "heads": 2, "num_classes": 3}
TEXTURE = {"channels": 9, "shape": (8,), "width": 16, "depth": 1, "heads": 2, "num_classes": 3}


@pytest.fixture(scope="module")
def fresh_clone(tmp_path_factory, tiny_runs) -> Path:
    """A folder as the README has it: the data, a finished laptop run, photographs, files of other people."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("experiments", "results/laptop"):
        shutil.copytree(REPOSITORY / name, folder / name)
    (folder / "data").mkdir()
    for name in ("embedded", "networks"):
        (folder / "data" / name).symlink_to(REPOSITORY / "data" / name)
    shutil.copytree(tiny_runs[0], folder / "runs/laptop/tokenizers/gpstoken_m128/seed0")
    layouts.coco(folder / "data" / "coco")
    photo = Image.fromarray(chelsea()).resize((75, 50))
    for name in ("photo.jpg", "holiday/1.jpg", *(f"photos/{number}.jpg" for number in range(20))):
        (folder / name).parent.mkdir(exist_ok=True)
        photo.save(folder / name)
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "samples.npz", arr_0=noise)
    np.savez(folder / "VIRTUAL_imagenet256_labeled.npz", arr_0=noise[::-1])
    (folder / "tiny_vavae.yaml").write_text(
        yaml.safe_dump({"model": {"init_args": {"tokenizer": {"init_args": VAVAE}}}})
    )
    torch.manual_seed(0)
    weights = KLAutoencoder(**VAVAE, attention_levels=1).autoencoder.state_dict()
    torch.save({"state_dict": weights}, folder / "vavae-imagenet256-f16d32-dinov2.pt")
    repa(folder)
    save_file(SiT.from_preset("gpstoken_texture", **TEXTURE).state_dict(), folder / "texture.safetensors")
    tokenizer = GPSToken.from_preset("gpstoken_m128", **TOKENIZER)
    save_file(tokenizer.state_dict(), folder / "gpstoken_m128.safetensors")
    statistics = {"means": [0.0] * 9, "stds": [0.1] * 9}
    (folder / "gpstoken_generator.yaml").write_text(yaml.safe_dump({"model": {"params": statistics}}))
    means = {label: np.full((2, 8, 5), 0.2 + 0.1 * label, dtype=np.float32) for label in range(3)}
    (folder / "initg.pickle").write_bytes(pickle.dumps(means))
    return folder


def repa(folder: Path) -> None:
    """A narrow REPA and a narrow autoencoder of its latents, as their authors write them."""
    sizes = {"model": {"init_args": {"tokenizer": {"init_args": VAVAE}}}}
    (folder / "tiny_vae.yaml").write_text(yaml.safe_dump(sizes))
    save_file(KLAutoencoder(**VAVAE).autoencoder.state_dict(), folder / "sd-vae-ft-ema.safetensors")
    sizes = {"network": {"init_args": REPA}, "block": 1, "projector_width": 6, "feature_channels": 5}
    overlay = {"model": {"init_args": {"generator": {"init_args": sizes}}}}
    (folder / "tiny_repa.yaml").write_text(yaml.safe_dump(overlay))
    weights = SiT(channels=4, patch_size=2, learn_sigma=False, **REPA).state_dict()
    for number, shape in {0: (6, 16), 2: (6, 6), 4: (5, 6)}.items():
        weights |= {
            f"projectors.0.{number}.weight": torch.zeros(shape),
            f"projectors.0.{number}.bias": torch.zeros(shape[0]),
        }
    torch.save({"ema": weights}, folder / "repa.pt")


def test_the_readme_has_commands():
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda number: " ".join(COMMANDS[number].split()[:2]))
def test_every_command_has_a_size(number):
    beginnings = [each for each in (*SMALLER, *PIPELINE) if COMMANDS[number].startswith(each)]
    assert len(beginnings) == 1


def test_commands_run_in_order(fresh_clone, monkeypatch, capfd):
    monkeypatch.chdir(fresh_clone)
    monkeypatch.setattr("sys.argv", ["gpstoken"])
    monkeypatch.setattr("gpstoken.commands.fit.SCRATCH", Path("scratch"))
    printed = ""
    for command in COMMANDS:
        if not command.startswith(PIPELINE):
            code = run(command)
            shown = capfd.readouterr()
            assert code == 0, f"{command}\n{shown.err[-2000:]}"
            printed += shown.out
    for command in re.findall("next: (gpstoken evaluate runs.*)", printed):  # what a finished fit advises
        assert cli.main([*shlex.split(command)[1:], "--networks"]) == 0
    made = [
        "tokens/photo.safetensors", "tokens/photo.png", "pictures/photo.png", "runs/mine/last.ckpt",
        "runs/photos/last.ckpt", "results/mine/tokenizers/mine.json", "result.json", "photos.npz",
        "data/cache/mine/cache.json", "runs/layout/last.ckpt", "runs/texture/last.ckpt", "new", "generated.npz",
        "results/mine/tokenizers/photos.json", "results/laptop/scored/mine.json",
        "results/mine/efficiency/gpstoken_m128.json", "runs/published/vavae/seed0/last.ckpt",
    ]  # fmt: skip
    assert [name for name in made if not Path(name).exists()] == []
    generator_from_python()


def run(command: str) -> int:
    (options,) = [options for beginning, options in SMALLER.items() if command.startswith(beginning)]
    words = shlex.split(f"{command} {options}")
    if command.startswith(RELEASED):
        *files, _, output = words[2:]
        released_generator.convert(*map(Path, files), Path(output), tokenizer_options=TOKENIZER, **TEXTURE)
        return 0
    if words[0] == "python":
        assert words[2] == "reports.tables"
        return tables.main(words[3:])
    try:
        return cli.main(words[1:])
    except SystemExit as stop:
        return stop.code


def generator_from_python() -> None:
    """The lines that sample from Python."""
    (block,) = [
        each for each in re.findall("(?:^    .*\n|\n)+", COMMANDS_PAGE, re.MULTILINE) if "import load_gen" in each
    ]
    names = {"torch": torch}
    exec("\n".join(line[4:] for line in block.splitlines()).replace("steps=250", "steps=2"), names)
    assert names["images"].shape == (5, 3, 256, 256)
    assert names["record"]["classes"] == ["natural", "face", "retina", "satellite", "aerial"]
