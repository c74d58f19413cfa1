"""Loads a trained generator from its checkpoints, with the tokenizer that decodes its tokens."""

from pathlib import Path
from typing import Any, NamedTuple

from gpstoken.base import Generator, Tokenizer
from gpstoken.files.checkpoints import below, build, read_plain
from gpstoken.files.provenance import file_hash
from gpstoken.files.records import MAPPING, check_tokenizer
from gpstoken.files.released_layouts import read_layouts
from gpstoken.limits import at_least, text
from gpstoken.loading import class_of, class_path_of, load_tokenizer, tokenizer_hash

AVERAGED = "averaged.module."


class Stage(NamedTuple):
    """One trained stage.

    Attributes:
        generator: with its averaged (EMA) weights, in evaluation mode.
        described: the "generator" entry of its checkpoint.
        trained: {"steps", "batch_size", "sha256" of the checkpoint}.
    """

    generator: Generator
    described: dict[str, Any]
    trained: dict[str, Any]


class Loaded(NamedTuple):
    """A generator of images.

    Attributes:
        generator: generates packed tokens.
        tokenizer: decodes them, after `unpack`, to images.
        record: the description of both, as plain data.
    """

    generator: Generator
    tokenizer: Tokenizer
    record: dict[str, Any]


def load_generator(
    checkpoint: str | Path, layout: str | Path | None = None, tokenizer: str | Path | None = None
) -> Loaded:
    """Loads a generator of any family that was trained by this project.

    Args:
        checkpoint: `last.ckpt` or a snapshot of the stage whose tokens are decoded.
        layout: for a two-stage generator, the checkpoint of the layout stage, or a .safetensors or .pickle file of
            layouts by class.
        tokenizer: checkpoint of the tokenizer; default: the tokenizer of the token cache.

    Raises:
        ValueError: if a file is unreadable or of another kind, or the files do not belong together.
        FileNotFoundError: if a file is missing.
    """
    final = read_stage(checkpoint)
    path = Path(tokenizer or final.described["tokenizer"]["path"])
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such tokenizer checkpoint; give the one that {checkpoint} was trained on")
    before, given = None, None
    if layout is not None and Path(layout).suffix in (".safetensors", ".pickle", ".pkl"):
        given = read_layouts(layout)
    elif layout is not None:
        before = read_stage(layout)
        given = before.generator
    read = load_tokenizer(path)
    own_hash = tokenizer_hash(read)
    stages = [stage for stage in (before, final) if stage is not None]
    for stage in stages:
        trained_on = stage.described["tokenizer"]["sha256"]
        if trained_on != own_hash:
            raise ValueError(
                f"generator: the {stage.generator.name} stage was trained on the tokens of tokenizer "
                f"{trained_on[:12]}, but this one is {own_hash[:12]}"
            )
    generator = final.generator.complete(read, given).requires_grad_(False).eval()
    described = {"class_path": class_path_of(read), "init_args": read.config, "sha256": own_hash}
    return Loaded(
        generator,
        read,
        {
            "class_path": class_path_of(generator),
            "stages": {stage.generator.name: _describe(stage) for stage in stages},
            "tokenizer": described | {"parameters": _parameters(read)},
        },
    )


def read_stage(path: str | Path) -> Stage:
    """Reads a checkpoint or snapshot of `GeneratorModule`.

    Raises:
        ValueError: if the file is unreadable, not a stage's checkpoint, or does not fit its own description.
        FileNotFoundError: if it is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; `gpstoken fit` writes last.ckpt and snapshots/")
    checkpoint = read_plain(path)
    described = check_stage(path, checkpoint)
    try:
        kind = class_of(described["class_path"], Generator)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    weights = below(AVERAGED, checkpoint["state_dict"])
    generator = build(path, kind, described["init_args"], weights, kind.from_config)
    trained = {"steps": checkpoint["global_step"], **described["training"], "sha256": file_hash(path)}
    return Stage(generator, described, trained)


def check_stage(path: Path, checkpoint: Any) -> dict[str, Any]:
    """The "generator" entry of a stage's checkpoint.

    Args:
        path: path of the file, for errors.
        checkpoint: its content, from `gpstoken.files.checkpoints.read_plain`.

    Returns:
        {"class_path", "init_args", "tokenizer", "training"}.

    Raises:
        ValueError: if it is not such a checkpoint, or has an invalid value.
    """
    described = checkpoint.get("generator") if isinstance(checkpoint, dict) else None
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(described, dict) or not isinstance(weights, dict):
        raise ValueError(f"{path}: not a generator checkpoint of this project (no 'generator' entry or no weights)")
    try:
        at_least(0).check("global_step", checkpoint["global_step"])
        text().check("class_path", described["class_path"])
        for name in ("init_args", "training"):
            MAPPING.check(name, described[name])
        check_tokenizer("tokenizer", described["tokenizer"])
    except KeyError as error:
        raise ValueError(f"{path}: not a generator checkpoint, or a damaged one (it has no {error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a generator checkpoint, or a damaged one ({error})") from None
    return described


def describe(generator: Generator, tokenizer: dict[str, Any], batch_size: int | None) -> dict[str, Any]:
    """The "generator" entry of a checkpoint, which `check_stage` accepts.

    Args:
        generator: a stage.
        tokenizer: the tokenizer of its tokens, as a token cache records it.
        batch_size: batch size of its training; None if unknown.
    """
    return {
        "class_path": class_path_of(generator),
        "init_args": generator.config,
        "tokenizer": tokenizer,
        "training": {} if batch_size is None else {"batch_size": batch_size},
    }


def _describe(stage: Stage) -> dict[str, Any]:
    made = {"class_path": stage.described["class_path"], **stage.generator.config}
    return {"parameters": _parameters(stage.generator.network), **made, **stage.trained}


def _parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
