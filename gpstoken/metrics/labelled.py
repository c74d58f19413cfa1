"""Reads the labelled images of `gpstoken generate` and `gpstoken images`, and groups the files of one generator."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpstoken.files.arrays import read_arrays
from gpstoken.files.plain_text import read_json
from gpstoken.files.provenance import file_hash
from gpstoken.files.reasons import reason
from gpstoken.metrics.samples import archive_shape, count

VARYING = ("seed", "sha256", "steps")  # values that may differ between the files of one generator


@dataclass(frozen=True)
class LabelledImages:
    """An npz of images.

    Attributes:
        path: the file.
        labels: int64[n], its `arr_1`.
        manifest: the JSON file beside it.
    """

    path: Path
    labels: np.ndarray
    manifest: dict[str, Any]

    @property
    def images(self) -> Tensor:
        """uint8[n, H, W, 3], its `arr_0`, read from the file on every access."""
        return torch.from_numpy(read_array(self.path, "arr_0"))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images in pixels, without reading them."""
        return archive_shape(self.path)[1:3]

    @property
    def described(self) -> dict[str, str | int]:
        """Name, number of images and hash, for the record of a result."""
        return {"file": self.path.name, "images": len(self.labels), "sha256": file_hash(self.path)}


Sets = dict[int, dict[int, LabelledImages]]  # by training step, then by seed


def read_array(path: Path, key: str) -> np.ndarray:
    """Reads one array of an npz.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, has no such array, or the array holds Python objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `gpstoken generate` or `gpstoken images` writes it")
    try:
        return read_arrays(path, [key])[key]
    except KeyError:
        raise ValueError(f"{path}: has no {key}; expected images arr_0 and labels arr_1") from None
    except Exception as error:  # numpy and zipfile raise nearly anything for damaged files
        raise ValueError(f"{path}: not a readable npz ({reason(error)})") from error


def read_images(path: Path) -> LabelledImages:
    """Reads labels and manifest of an npz of images, but not the images themselves.

    Raises:
        FileNotFoundError: if the file or its manifest is missing.
        ValueError: if a file is damaged, or the labels are not class numbers.
    """
    labels, manifest = read_array(path, "arr_1"), path.with_suffix(".json")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise ValueError(
            f"{path}: expected labels arr_1 = int[n] of 0 and above, got {labels.dtype}{list(labels.shape)}"
        )
    if not manifest.is_file():
        raise FileNotFoundError(
            f"{manifest}: no manifest beside {path.name}; the command that wrote the images writes it"
        )
    if (images := count(path)) != len(labels):
        raise ValueError(f"{path}: {images} images, but {len(labels)} labels")
    return LabelledImages(path, labels.astype(np.int64), read_json(manifest))


def read_sets(paths: Sequence[Path]) -> Sets:
    """Groups files of samples by training step and seed, both ascending; all must come from one generator.

    Seed and training steps are read from the manifests, not from the file names.

    Raises:
        FileNotFoundError: if a file or its manifest is missing.
        ValueError: if a manifest does not state them, or a file is missing, given twice or does not fit the others.
    """
    sets: dict[tuple[int, int], LabelledImages] = {}
    for path in paths:
        samples = read_images(path)
        seed, step = _entry(samples, "sampling").get("seed"), final_stage(samples).get("steps")
        if type(seed) is not int or type(step) is not int:
            raise ValueError(
                f"{path.with_suffix('.json')}: does not state the seed and the training steps of the samples"
            )
        if (step, seed) in sets:
            raise ValueError(f"{path}: seed {seed}, step {step} is given twice, also as {sets[step, seed].path}")
        sets[step, seed] = samples
    first = next(iter(sets.values()))
    hashes: dict[tuple[int, str], Path] = {}
    for (step, _), samples in sets.items():
        _check_alike(samples, first)
        other = hashes.setdefault((step, final_stage(samples).get("sha256", str(samples.path))), samples.path)
        if other != samples.path:
            raise ValueError(f"{samples.path}: comes from the same checkpoint as {other}")
    steps, seeds = ({key[axis] for key in sets} for axis in (0, 1))
    missing = [(step, seed) for step in sorted(steps) for seed in sorted(seeds) if (step, seed) not in sets]
    if missing:
        gap = "seed {1} after {0} training steps".format(*missing[0])
        raise ValueError(f"samples: every seed needs the same training steps, but there are none for {gap}")
    return {step: {seed: sets[step, seed] for seed in sorted(seeds)} for step in sorted(steps)}


def final_stage(samples: LabelledImages) -> dict[str, Any]:
    """The manifest's description of the last stage, which makes the images."""
    stages = list(_entry(samples, "generator").get("stages", {}).values())
    return stages[-1] if stages else {}


def class_names(train: LabelledImages) -> list[str]:
    """The class names of the training images' manifest, or the numbers of the classes."""
    classes = int(train.labels.max()) + 1
    named = train.manifest.get("classes") or train.manifest.get("data", {}).get("classes") or []
    return [str(name) for name in named] if len(named) == classes else [str(number) for number in range(classes)]


def describe_generator(final: dict[int, LabelledImages]) -> dict[str, Any]:
    """The generator's description in the manifests; values that differ between seeds are lists by seed."""
    record = next(iter(final.values())).manifest["generator"]
    stages = {name: dict(described) for name, described in record.get("stages", {}).items()}
    for name, described in stages.items():
        described["sha256"] = [
            samples.manifest["generator"]["stages"][name].get("sha256") for samples in final.values()
        ]
    parameters = {name: described.get("parameters") for name, described in stages.items()}
    return record | {"stages": stages, "parameters_by_stage": parameters}


def _entry(samples: LabelledImages, name: str) -> dict[str, Any]:
    if not isinstance(samples.manifest.get(name), dict):
        raise ValueError(f"{samples.path.with_suffix('.json')}: has no {name!r}; not a manifest of `gpstoken generate`")
    return samples.manifest[name]


def _check_alike(one: LabelledImages, other: LabelledImages) -> None:
    facts, expected = _facts(one), _facts(other)
    for name in sorted(facts.keys() | expected.keys()):
        if facts.get(name) != expected.get(name):
            values = f"{facts.get(name)}, not {expected.get(name)}"
            raise ValueError(f"{one.path}: differs from {other.path} in {name}: {values}")
    if not np.array_equal(one.labels, other.labels):
        raise ValueError(f"{one.path}: differs from {other.path} in the labels of its samples")


def _facts(samples: LabelledImages) -> dict[str, Any]:
    """The values that the files of one generator must share, as a flat dict."""
    generator, sampling = _entry(samples, "generator"), _entry(samples, "sampling")
    if "tokenizer" not in generator:
        raise ValueError(f"{samples.path.with_suffix('.json')}: names no tokenizer")
    tokenizer = generator["tokenizer"]
    facts = {"number of samples": len(samples.labels), "family": generator.get("class_path")}
    facts["tokenizer"] = tokenizer.get("sha256", tokenizer) if isinstance(tokenizer, dict) else tokenizer
    for part, entries in {"sampling": sampling, **generator.get("stages", {})}.items():
        facts |= {
            f"{part} {name}": value for name, value in entries.items() if name not in VARYING or part == "sampling"
        }
    facts.pop("sampling seed", None)
    return facts
