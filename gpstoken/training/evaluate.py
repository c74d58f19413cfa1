"""`gpstoken evaluate`: the runs of one row, seed by seed, to one result file with per-image numbers beside it."""

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpstoken.checkpoints import check
from gpstoken.metrics import METRICS, summarise
from gpstoken.provenance import commit, machine, versions
from gpstoken.training.files import CHECKPOINT_FILE
from gpstoken.writing import replacing


def main(arguments: list[str]) -> int:
    """Parses the command line and evaluates; see `evaluate`."""
    parser = argparse.ArgumentParser(prog="gpstoken evaluate", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that `gpstoken fit --output` wrote, one a seed")
    parser.add_argument("-o", "--output", type=Path, required=True, help="result file, GROUP/ROW.json")
    parser.add_argument("--scale", required=True, help="scale of the runs, printed beside every number")
    options = parser.parse_args(arguments)
    evaluate(options.runs, options.output, options.scale)
    return 0


def evaluate(runs: list[Path], output: Path, scale: str) -> None:
    """Tests the tokenizers of `runs` on the test split of their data and writes ROW.json and ROW.csv.

    Args:
        runs: run folders of one row that differ in their seed alone.
        output: result file; its name is the row, its folder the group. The CSV of every image lies beside it.
        scale: name of the scale.

    Raises:
        ValueError: if a run is unfinished, or the runs are not of one configuration and data.
    """
    # Imported here: Lightning takes seconds, and `--help` should not.
    from lightning import Trainer

    from gpstoken.training.run import RunCLI

    rows: list[dict[str, Any]] = []
    shared: dict[str, Any] | None = None
    for run in runs:
        if not (run / CHECKPOINT_FILE).is_file():
            raise ValueError(f"{run}: no {CHECKPOINT_FILE}; the run is not finished")
        cli = RunCLI(args=["--config", str(run / "config.yaml")], run=False)
        module, data = cli.model, cli.datamodule
        checkpoint = torch.load(run / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
        module.load_state_dict(check(run / CHECKPOINT_FILE, checkpoint["state_dict"], module.state_dict()))
        trainer = Trainer(
            accelerator=cli.config.trainer.accelerator, devices=1, logger=False, enable_checkpointing=False,
            enable_model_summary=False, default_root_dir=run,
        )  # fmt: skip
        trainer.test(module, datamodule=data, verbose=False)
        sources = data.sources("test")
        seed = int(cli.config.seed_everything)
        rows += [{"seed": seed, "source": sources[int(row["index"])], **row} for row in module.rows]
        described = {
            "tokenizer": checkpoint["tokenizer"],
            "parameters": sum(parameter.numel() for parameter in module.tokenizer.parameters()),
            "data": {
                "class_path": f"{type(data).__module__}.{type(data).__qualname__}",
                "split": "test",
                "images": len(sources),
                "photographs": len(set(sources)),
                "fingerprint": data.fingerprint("test"),
            },
            "training": {"steps": checkpoint["global_step"], "batch_size": data.batch_size},
        }
        if shared is not None and described != shared:
            raise ValueError(f"{run}: differs from {runs[0]} in more than its seed")
        shared = described
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    names = [name for name in METRICS if name in rows[0]]
    result = {
        "row": output.stem,
        "group": output.parent.name,
        "scale": scale,
        "seeds": seeds,
        **shared,
        "metrics": {
            name: asdict(summarise(np.array([row[name] for row in rows]).reshape(len(seeds), -1), sources))
            for name in names
        },
        "commit": commit(),
        "versions": versions(),
        "machine": machine(module.device),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output.with_suffix(".csv")) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["seed", "index", "source", *names])
        writer.writeheader()
        writer.writerows({key: row[key] for key in writer.fieldnames} for row in rows)
    with replacing(output) as part:
        part.write_text(json.dumps(result, indent=1) + "\n")
