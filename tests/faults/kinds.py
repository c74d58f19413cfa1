"""The commands that faults are injected into, at a tiny size: functions that give the arguments of each."""

from pathlib import Path

import yaml

from gpstoken.commands.declared import configuration_files, file_options, find_row
from tests.training.conftest import arguments_of_a_tiny_fit

DATA = {"image_size": 32, "epoch_length": 20, "batch_size": 8, "working_size": 48, "views": "centre"}


def faces(folder: Path) -> list[str]:
    options = ["--data", "experiments/_data/embedded_faces.yaml"]  # the quickest to decode
    options += [part for name, value in DATA.items() for part in (f"--data.init_args.{name}", str(value))]
    return [*options, "--data.init_args.prepared", str(folder / "prepared")]


def fit(made, place, generators):
    changes = {"trainer": {"max_steps": 3, "val_check_interval": 2}, "model": {"init_args": {"adversarial_start": 2}}}
    arguments = arguments_of_a_tiny_fit(made, **changes)
    every_step = made / "every_step.yaml"
    row = yaml.safe_load(Path("experiments/laptop/tokenizers.yaml").read_text())["trainer"]
    for each in row["callbacks"]:
        if each["class_path"].endswith("LastCheckpoint"):
            each["init_args"] = {"every_n_steps": 1}
    every_step.write_text(yaml.safe_dump({"trainer": {"callbacks": row["callbacks"]}}))
    return [*arguments, "-c", str(every_step), "--output", str(place / "row")]


def fit_generator(made, place, generators):
    network = {"channels": 5, "shape": [8], "width": 16, "depth": 1, "heads": 2, "num_classes": 40}
    changes = {
        "model": {"init_args": {"generator": {"init_args": {"network": {"init_args": network}}}}},
        "data": {"init_args": {"root": str(made / "cache"), "batch_size": 4}},
        "trainer": {"max_steps": 3, "val_check_interval": 2, "limit_val_batches": 1},
    }
    path = made / "generator.yaml"
    path.write_text(yaml.safe_dump(changes))
    files = [*configuration_files(find_row("layout", ["networks"]), "laptop"), path]
    return ["fit", *file_options(files), "--output", str(place / "layout")]


def cache(made, place, generators):
    tokenizer = str(generators["tokenizer"])
    return ["cache", "--tokenizer", tokenizer, "-o", str(place / "cache"), "--shard-size", "8", *faces(made)]


def evaluate(made, place, generators):
    run, data = str(made / "runs" / "row" / "seed0"), ["--data", "experiments/_data/embedded_faces.yaml"]
    return ["evaluate", run, "-o", str(place / "row.json"), "--row", "row", "--scale", "tiny", "--networks", *data]


def generate(made, place, generators, name="samples"):
    stages = [str(generators["texture"]), "--layout", str(generators["layout"])]
    return ["generate", *stages, "-n", "40", "--batch-size", "16", "--steps", "2", "-o", str(place / name)]


def generate_archive(made, place, generators):
    return generate(made, place, generators, "samples.npz")


def score(made, place, generators):
    files = [str(made / "samples.npz"), "--reference", str(made / "reference.npz")]
    return ["score", *files, "--network", "efficientnet_lite0", "-o", str(place / "score.json")]
