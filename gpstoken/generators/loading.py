"""Loads a trained generator from its checkpoints, with the tokenizer that decodes its tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpstoken.base import Generator, Tokenizer
from gpstoken.files.checkpoints import below, build, read_plain
from gpstoken.files.provenance import file_hash
from gpstoken.files.records import MAPPING, check_tokenizer
from gpstoken.files.released_layouts import read_layouts
from gpstoken.files.weights import GENERATOR, SUFFIX, read_exported, weights_file, write_exported
from gpstoken.limits import at_least, each, optional, text
from gpstoken.loading import class_of, class_path_of, load_tokenizer, tokenizer_hash

AVERAGED = "averaged.module."
MOST_STAGES = 8  # a damaged header must not cause millions of stages to be read


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
        checkpoint: `last.ckpt` or a snapshot of the stage whose tokens are decoded; or a complete generator, as a file
            of `gpstoken export` or as "small", which is in the package.
        layout: for a two-stage generator, the checkpoint of the layout stage, or a .safetensors or .pickle file of
            layouts by class.
        tokenizer: checkpoint of the tokenizer; default: the tokenizer of the token cache.

    Raises:
        ValueError: if a file is unreadable or of another kind, or the files do not belong together.
        FileNotFoundError: if a file is missing.
    """
    *before, final = read_stages(checkpoint)
    path = _tokenizer_of(final, checkpoint, tokenizer)
    if before and layout is not None:
        raise ValueError(f"{checkpoint}: has its {before[0].generator.name} stage; leave out {layout}")
    given = before[0].generator if before else None
    if layout is not None and Path(layout).suffix in (".safetensors", ".pickle", ".pkl"):
        given = read_layouts(layout)
    elif layout is not None:
        before = [read_stage(layout)]
        given = before[0].generator
    return _joined([*before, final], given, path)


def _tokenizer_of(final: Stage, checkpoint: str | Path, tokenizer: str | Path | None = None) -> Path:
    """The file of the tokenizer whose tokens a last stage makes: the given one, or that of its token cache."""
    path = weights_file(tokenizer or final.described["tokenizer"]["path"])
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such tokenizer checkpoint; give the one that {checkpoint} was trained on")
    return path


def _joined(stages: list[Stage], given: Any, tokenizer: Path) -> Loaded:
    """The generator of these stages; `given` is what its last one takes in place of an earlier one, see `complete`."""
    read, final = load_tokenizer(tokenizer), stages[-1]
    own_hash = tokenizer_hash(read)
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
            "classes": final.described.get("classes"),
        },
    )


def class_names(loaded: Loaded) -> list[str]:
    """The names of the classes by label; their numbers where the data had no names."""
    return loaded.record["classes"] or [str(label) for label in range(loaded.generator.num_classes)]


def read_stages(path: str | Path) -> list[Stage]:
    """Reads the stages that a file of `gpstoken export` holds, in their order, or the one of a checkpoint.

    Raises:
        ValueError: like `read_stage`.
        FileNotFoundError: if the file is missing.
    """
    path = weights_file(path, GENERATOR)
    if path.suffix != SUFFIX or not path.is_file():
        return [read_stage(path)]
    described, tensors = read_exported(path, GENERATOR)
    entries = described.get("stages")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_STAGES:
        raise ValueError(f"{path}: its header describes no stages of a generator")
    found = []
    for number, entry in enumerate(entries):
        weights = {f"{AVERAGED}{name}": tensor for name, tensor in below(f"{number}.", tensors).items()}
        steps = entry.get("steps") if isinstance(entry, dict) else None
        found.append(_stage(path, {"generator": entry, "state_dict": weights, "global_step": steps}))
    return found


def write_stages(path: str | Path, checkpoints: Sequence[str | Path], origin: Mapping[str, Any], dtype: Any) -> int:
    """Writes a complete generator for `read_stages`, as a whole or not at all.

    Args:
        path: the file.
        checkpoints: `last.ckpt` or a snapshot of each stage, in the order in which they sample.
        origin: where it comes from.
        dtype: type of the floating-point tensors in the file.

    Returns:
        The number of parameters.

    Raises:
        ValueError: if a checkpoint is no stage's, the stages do not belong together, or a number does not fit `dtype`.
        FileNotFoundError: if a checkpoint is missing.
    """
    stages = [read_stage(checkpoint) for checkpoint in checkpoints]
    before = stages[0].generator if len(stages) > 1 else None
    _joined(stages, before, _tokenizer_of(stages[-1], checkpoints[-1]))  # they belong together
    weights = {
        f"{number}.{name}": tensor
        for number, stage in enumerate(stages)
        for name, tensor in stage.generator.state_dict().items()
    }
    described = [stage.described | {"steps": stage.trained["steps"]} for stage in stages]
    write_exported(path, GENERATOR, {"stages": described}, weights, origin, dtype)
    return sum(_parameters(stage.generator) for stage in stages)


def read_stage(path: str | Path) -> Stage:
    """Reads a checkpoint or snapshot of `GeneratorModule`.

    Raises:
        ValueError: if the file is unreadable, not a stage's checkpoint, or does not fit its own description.
        FileNotFoundError: if it is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; `gpstoken fit` writes last.ckpt and snapshots/")
    return _stage(path, read_plain(path))


def _stage(path: Path, checkpoint: Any) -> Stage:
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
        {"class_path", "init_args", "tokenizer", "training", and in newer files "classes"}.

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
        optional(each(text())).check("classes", described.get("classes"))
    except KeyError as error:
        raise ValueError(f"{path}: not a generator checkpoint, or a damaged one (it has no {error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a generator checkpoint, or a damaged one ({error})") from None
    return described


def describe(
    generator: Generator, tokenizer: dict[str, Any], batch_size: int | None, classes: Sequence[str] | None = None
) -> dict[str, Any]:
    """The "generator" entry of a checkpoint, which `check_stage` accepts.

    Args:
        generator: a stage.
        tokenizer: the tokenizer of its tokens, as a token cache records it.
        batch_size: batch size of its training; None if unknown.
        classes: names of the classes by label, where the data has them.
    """
    return {
        "class_path": class_path_of(generator),
        "init_args": generator.config,
        "tokenizer": tokenizer,
        "training": {} if batch_size is None else {"batch_size": batch_size},
        "classes": None if classes is None else list(classes),
    }


def _describe(stage: Stage) -> dict[str, Any]:
    made = {"class_path": stage.described["class_path"], **stage.generator.config}
    return {"parameters": _parameters(stage.generator.network), **made, **stage.trained}


def _parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
