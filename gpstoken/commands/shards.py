"""The shards of a token cache: their samples, how they are encoded, and their statistics."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from gpstoken.base import Tokenizer
from gpstoken.files.digests import DIGEST, digest
from gpstoken.files.plain_text import parse_json
from gpstoken.files.records import ALIGNMENT
from gpstoken.files.writing import replacing
from gpstoken.metrics.moments import Moments

FORMAT = "gpstoken.cache"


@dataclass(frozen=True)
class Plan:
    """The samples of one split of the cache, and their division into shards.

    Attributes:
        split: "train", "val" or "test".
        images: the data set's samples.
        views: passes over the images (epochs of "train").
        mirror: whether each image is followed by its mirror image.
        shard_size: samples per shard; the last shard may have fewer.
    """

    split: str
    images: Dataset
    views: int
    mirror: bool
    shard_size: int

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.images) * self.views * (1 + self.mirror)

    def shards(self) -> list[tuple[str, int]]:
        """(file, samples) of each shard."""
        starts = range(0, self.samples, self.shard_size)
        counts = (min(self.shard_size, self.samples - start) for start in starts)
        return [(f"{self.split}/shard-{number:05d}.safetensors", count) for number, count in enumerate(counts)]

    def keys(self, shard: int, batch_size: int) -> Iterator[list[Any]]:
        """The keys of a shard's images, batch by batch; no batch crosses shards, so each shard can be made alone."""
        size = self.shard_size // (1 + self.mirror)
        first, stop = shard * size, min((shard + 1) * size, len(self.images) * self.views)
        for start in range(first, stop, batch_size):
            numbers = range(start, min(start + batch_size, stop))
            yield [divmod(i, len(self.images)) if self.split == "train" else i for i in numbers]


@torch.no_grad()
def encode(
    tokenizer: Tokenizer,
    plan: Plan,
    folder: Path,
    identity: str,
    batch_size: int,
    workers: int = 0,
    num_tokens: int | None = None,
    features: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Writes the missing shards of a split into `folder`, each as a whole or not at all.

    Args:
        tokenizer: on its device.
        plan: the split.
        folder: folder of the shards.
        identity: identity of the cache.
        batch_size: images at a time.
        workers: processes that read images.
        num_tokens: tokens per image; None: the tokenizer's own.
        features: images float[B, 3, H, W] to what is stored beside their tokens in half precision, see `PatchFeatures`.
    """
    shards = plan.shards()
    missing = [i for i, (file, count) in enumerate(shards) if samples_of(folder / file, identity) != count]
    left = sum(shards[i][1] for i in missing)
    if left < plan.samples:
        print(f"{folder}: resuming after {plan.samples - left} of {plan.samples} samples of {plan.split}")
    if not missing:
        return
    device = next(tokenizer.parameters(), torch.empty(0)).device  # pixels have no parameters
    keys = (batch for i in missing for batch in plan.keys(i, batch_size))
    batches = iter(DataLoader(plan.images, batch_sampler=keys, num_workers=workers))
    # A log file gets a line every 20 seconds, not two per second.
    interval = 0.5 if sys.stderr.isatty() else 20.0
    bar = {"desc": f"cache {plan.split}", "unit": " samples", "mininterval": interval}
    with tqdm(total=plan.samples, initial=plan.samples - left, **bar) as progress:
        for i in missing:
            file, count = shards[i]
            first, pieces = i * plan.shard_size, []
            for _ in plan.keys(i, batch_size):
                batch = next(batches)
                image, label = batch["image"], batch["label"]
                if plan.mirror:
                    image = torch.stack([image, image.flip(-1)], dim=1).flatten(0, 1)
                    label = label.repeat_interleave(2)
                index = torch.arange(first, first + len(label))
                first += len(label)
                image = image.to(device)
                tokens = tokenizer.pack(image, num_tokens)
                for name, tensor in tokens.items():
                    if not torch.isfinite(tensor).all():
                        raise ValueError(f"{plan.split}: {name} of samples {index[0]} to {index[-1]} is not finite")
                pieces.append({name: _stored(tensor) for name, tensor in tokens.items()})
                pieces[-1] |= {"label": label, "index": index}
                if features is not None:
                    pieces[-1][ALIGNMENT] = features(image).half().cpu()
                progress.update(len(label))
            tensors = {name: torch.cat([piece[name] for piece in pieces]).contiguous() for name in pieces[0]}
            # One key only: safetensors writes several keys in random order.
            described = {"identity": identity, "samples": count, DIGEST: digest(tensors)}
            with replacing(folder / file) as part:
                part.write_bytes(save(tensors, {FORMAT: json.dumps(described)}))


def _stored(tensor: Tensor) -> Tensor:
    """Converts tokens to their type in a shard: float32, or int32 for codes."""
    return tensor.to("cpu", torch.float32 if tensor.is_floating_point() else torch.int32)


def summarise(folder: Path, plans: list[Plan], differences: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The splits, the number of classes, and mean and standard deviation of each channel of "train" over all tokens.

    The statistics are computed in float64, in one pass over the shards. A constant channel (rho of a layout) has
    standard deviation 1. Codes are indices and have no statistics, and features of images are not generated.

    Args:
        folder: folder of the shards.
        plans: the splits.
        differences: see `Tokenizer.differences`.
    """
    splits, moments = {}, {}
    for plan in plans:
        labels: Counter[int] = Counter()
        shards = plan.shards()
        for file, _ in shards:
            tensors = load_file(folder / file)
            labels.update(tensors.pop("label").tolist())
            del tensors["index"]
            tensors.pop(ALIGNMENT, None)
            tensors = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
            for name, (one, other) in differences.items():
                tensors[name] = tensors[one].double() - tensors[other].double()
            for name, tensor in tensors.items() if plan.split == "train" else ():
                vectors = tensor.movedim(1, -1) if name == "latent" else tensor
                moments.setdefault(name, Moments(vectors.shape[-1])).add(vectors.flatten(0, -2))
        splits[plan.split] = {
            "samples": plan.samples,
            "shards": [{"file": file, "samples": count} for file, count in shards],
            "labels": {str(label): count for label, count in sorted(labels.items())},
        }
    statistics = {}
    for name, moment in moments.items():
        deviation = (moment.scatter.diagonal() / moment.count).sqrt()
        constant = deviation <= 1e-10 * moment.mean.abs()  # far above float64 rounding, far below float32 rounding
        deviation = torch.where(constant, torch.ones_like(deviation), deviation)
        statistics[name] = {"mean": moment.mean.tolist(), "std": deviation.tolist()}
    classes = max(int(label) for split in splits.values() for label in split["labels"]) + 1
    return {"splits": splits, "statistics": statistics, "num_classes": classes}


def samples_of(path: Path, identity: str) -> int | None:
    """Number of samples of a shard; None if it is missing, incomplete, or belongs to another cache."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            described = parse_json(path, (file.metadata() or {}).get(FORMAT, "{}"))
    except (SafetensorError, OSError, ValueError):
        return None
    return described.get("samples") if described.get("identity") == identity else None
