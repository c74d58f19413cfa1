"""Evaluates one run on one data set: metrics of every image and distribution scores, resumable and distributed."""

import hashlib
import inspect
import json
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from torch import nn

from gpstoken.base import Code
from gpstoken.commands.fit import RunCLI
from gpstoken.commands.protocol import Protocol, accelerator, times
from gpstoken.files.checkpoints import check, read_plain
from gpstoken.files.parts import Parts
from gpstoken.files.provenance import file_hash
from gpstoken.metrics import METRICS
from gpstoken.metrics.codebook import codebook_usage
from gpstoken.metrics.distributions import paired_scores
from gpstoken.metrics.focus import disc
from gpstoken.metrics.recognition import PartsOf, recognise, summarised
from gpstoken.metrics.weights import weights_record
from gpstoken.rounding import stored_bits
from gpstoken.training.files import CHECKPOINT_FILE
from gpstoken.training.lost import watch_processes
from gpstoken.training.origins import read_data_of, read_origin
from gpstoken.training.recorder import SIDES, Recorder
from gpstoken.training.tokenizer_module import TokenizerModule


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of one run.

    Attributes:
        seed: seed of the training.
        described: tokenizer, data and protocol as plain data; equal for all seeds of a row.
        sources: the photograph of each image.
        columns: float[images] of every metric.
        scores: distribution scores by name.
        recognition: what of the original images is recognised, see `summarised`; empty where nothing is to recognise.
        codebook: usage of the codebook, see `codebook_usage`; empty without a codebook.
        seconds: time of each stage.
        trained_at: commit of the training.
        checkpoint: hexadecimal sha256 of the checkpoint.
        device: the device of the evaluation.
        processes: number of processes that shared the images.
        first: whether this is the process that writes the result.
        parts: the finished images on disk, to be removed once the result is written.
    """

    seed: int
    described: dict[str, Any]
    sources: list[str]
    columns: dict[str, np.ndarray]
    scores: dict[str, float]
    recognition: dict[str, Any]
    codebook: dict[str, float]
    seconds: dict[str, float]
    trained_at: str
    checkpoint: str
    device: torch.device
    processes: int
    first: bool
    parts: Parts


def evaluate_run(
    run: Path,
    output: Path,
    row: str,
    protocol: Protocol,
    networks: dict[str, nn.Module],
    data: list[str],
    devices: int,
    images_of: Parts | None = None,
) -> Evaluated:
    """Evaluates one run, without repeating the images that an earlier, killed call has finished.

    Args:
        run: folder that `gpstoken fit` wrote.
        output: result file; the finished images lie beside it.
        row: name of the trained row.
        protocol: what is measured.
        networks: the feature networks that the protocol names.
        data: command-line options that replace the run's data.
        devices: number of processes that share the images.
        images_of: the parts of an earlier seed on the same images, whose features need not be computed again.

    Raises:
        ValueError: if the run is unfinished, or the images on disk are not those of the data.
    """
    if not (run / CHECKPOINT_FILE).is_file():
        raise ValueError(f"{run}: no {CHECKPOINT_FILE}; the run is not finished")
    started = perf_counter()
    trained_on = read_data_of(run)
    size = trained_on["image_size"]
    if protocol.size_factor is not None:
        data = [*data, "--data.init_args.image_size", str(size * protocol.size_factor)]
    words = ["--config", str(run / "config.yaml"), "--trainer.accelerator", accelerator(protocol.device)]
    cli = RunCLI(args=[*words, *(_keep_size(data, size) if data else [])], run=False)
    module, images = cli.model, cli.datamodule
    checkpoint = read_plain(run / CHECKPOINT_FILE)
    if not isinstance(checkpoint, dict) or not {"tokenizer", "state_dict", "global_step"} <= checkpoint.keys():
        raise ValueError(f"{run / CHECKPOINT_FILE}: not a checkpoint of a tokenizer's training")
    module.load_state_dict(check(run / CHECKPOINT_FILE, checkpoint["state_dict"], module.state_dict()))
    if protocol.token_factor is not None:
        count = module.tokenizer.code((size, size)).tokens
        protocol = replace(protocol, num_tokens=times(count, protocol.token_factor))
    _set_up(module, images.image_size, protocol)
    recognition = images.recognition("test")
    if recognition is not None:
        module.evaluation_networks = {}  # LPIPS of such pictures is of no use, and takes nine tenths of the time
    origin = read_origin(run)
    code = module.tokenizer.code((images.image_size, images.image_size), protocol.num_tokens)
    described = {
        "tokenizer": checkpoint["tokenizer"],
        "parameters": sum(parameter.numel() for parameter in module.tokenizer.parameters()),
        "data": _describe(images),
        "evaluated": {
            "row": row,
            "image_size": images.image_size,
            "num_tokens": code.tokens,
            "code": {"shape": list(code.shape), "channels": code.channels, "codebook_size": code.codebook_size},
            "focus": None
            if protocol.focus_radius is None
            else {"radius": protocol.focus_radius, "strength": protocol.focus_strength},
            **_stored(code, protocol.token_bits),
        },
        "training": {"steps": checkpoint["global_step"], "batch_size": trained_on["batch_size"]}
        | checkpoint.get("training", {})
        | ({"published": origin["weights"]} if origin.get("weights") else {}),
        "networks": {name: weights_record(network.path) for name, network in networks.items()},
    }
    checkpoint_hash = file_hash(run / CHECKPOINT_FILE)
    depends_on = [described, images_of is None, images.evaluation_group, checkpoint_hash]
    identity = json.dumps(depends_on, sort_keys=True)
    parts = Parts(output.with_name(f".{output.stem}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}.parts"))
    sources = images.sources("test")
    done = parts.done()
    if done:
        print(f"{run}: resuming after {len(done)} of {len(sources)} images")
    prepared = perf_counter()
    looked_at = {} if recognition is None else {recognition.metric: PartsOf(recognition.boxes)}
    recorder = Recorder(
        parts, networks | looked_at, SIDES if images_of is None else SIDES[1:], bool(code.codebook_size)
    )
    trainer = Trainer(
        accelerator=cli.config.trainer.accelerator, devices=devices, strategy="ddp" if devices > 1 else "auto",
        use_distributed_sampler=False,  # the loader shares the groups among the devices itself
        logger=False, enable_checkpointing=False, enable_model_summary=False, default_root_dir=run,
        callbacks=[recorder],
    )  # fmt: skip
    watch_processes(trainer, "evaluation", f"the same command resumes after the images in {parts.folder}")
    images.trainer = trainer  # its devices share the images
    recorder.company = images.is_company("test", done)
    if len(done) < len(sources):
        try:
            trainer.test(module, images.evaluation_loader("test", done), verbose=False)
        except FloatingPointError as error:
            raise ValueError(f"{run / CHECKPOINT_FILE}: {error}") from error
    trainer.strategy.barrier()
    tested = perf_counter()
    done = parts.done()
    if done != set(range(len(sources))):
        progress = f"holds {len(done)} of {len(sources)} images"
        raise ValueError(f"{parts.folder}: {progress}; all processes must see this folder")
    features = [column.split(".") for column in parts.columns() if column.endswith(f".{SIDES[1]}")]
    layers = {name: [layer for network, layer, _ in features if network == name] for name in networks}
    sides = dict(zip(SIDES, ((images_of or parts).column, parts.column), strict=True))
    scores = paired_scores(sides, layers, protocol.statistics) if trainer.is_global_zero else {}
    columns = parts.sorted([name for name in METRICS if name in parts.columns()])
    ceiling = {}
    if recognition is not None:
        recognised, originals = recognise(recognition, sides)
        columns |= recognised
        ceiling = {recognition.metric: summarised(recognition, originals, sources)}
    usage = codebook_usage(parts.sorted(["codes"])["codes"]) if code.codebook_size else {}
    trainer.strategy.barrier()  # the first process deletes the parts when it has written the result
    stages = np.diff([started, prepared, tested, perf_counter()]).tolist()
    return Evaluated(
        seed=int(cli.config.seed_everything),
        described=described,
        sources=sources,
        columns=columns,
        scores=scores,
        recognition=ceiling,
        codebook=usage,
        seconds=dict(zip(("prepare", "reconstruct and compare", "distribution scores"), stages, strict=True)),
        trained_at=origin.get("commit", "unknown"),
        checkpoint=checkpoint_hash,
        device=module.device,
        processes=trainer.world_size,
        first=trainer.is_global_zero,
        parts=parts,
    )


def _set_up(module: TokenizerModule, side: int, protocol: Protocol) -> None:
    module.token_bits = protocol.token_bits
    if protocol.num_tokens is not None:
        module.encoding["num_tokens"] = protocol.num_tokens
    if protocol.focus_radius is not None:
        module.focus = disc((side, side), protocol.focus_radius)
        if protocol.focus_strength:
            if "bias" not in inspect.signature(module.tokenizer.encode).parameters:
                name = type(module.tokenizer).__name__
                raise ValueError(f"--focus-strength: {name} cannot draw tokens to a region; leave the option out")
            module.encoding["bias"] = module.focus * protocol.focus_strength


def _stored(code: Code, bits: int | None) -> dict[str, int]:
    """How tokens were rounded, and the bits of an image that this makes; nothing where they were not."""
    return {} if bits is None else {"token_bits": bits, "bits": stored_bits(code, bits)}


def _describe(images: LightningDataModule) -> dict[str, Any]:
    sources = images.sources("test")
    return {
        "class_path": f"{type(images).__module__}.{type(images).__qualname__}",
        "dataset": images.name,
        "split": "test",
        "crop": images.crop,
        "images": len(sources),
        "photographs": len(set(sources)),
        "skipped": len(images.skipped("test")),
        "fingerprint": images.fingerprint("test"),
    }


def _keep_size(data: list[str], size: int) -> list[str]:
    """Adds the image size of training to `data` if it names none: the YAML of a data set has the paper's size."""
    named = any(option.split("=")[0].endswith(".image_size") for option in data)
    return data if named else [*data, "--data.init_args.image_size", str(size)]
