"""Batches of tokens from the shards that `gpstoken cache` has written."""

import bisect
import functools
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.cache_record import FORMAT, read_record
from datamodules.loaders import SampleLoaders
from gpstoken.files.digests import DIGEST, check_digest
from gpstoken.files.plain_text import parse_json
from gpstoken.files.reasons import reason
from gpstoken.files.tensors import FLOATING
from gpstoken.limits import at_least, limits, optional, text

WHOLE = (torch.int64, torch.int32)
STAGES = {"fit": ("train", "val"), "validate": ("val",)}


class TokenCache(SampleLoaders):
    """The cached tokens of a data set.

    A batch is a dict of stacked tensors: {"geometry": float[B, N, 5], "layout": float[B, N, 5],
    "features": float[B, N, C]} for Gaussian tokens, {"latent": float[B, C, h, w]} for a grid, {"codes": long[B, ...]}
    for a codebook, {"geometry": float[B, N, 5], "codes": long[B, N]} for Gaussians with an index each, always
    {"label": long[B], "index": long[B]}, where index is the place in the cache, and if it was written with features of
    the images {"alignment": half[B, places, C]}.

    Args:
        root: folder written by `gpstoken cache`.
        batch_size: samples in a batch (per device). Training drops the last, incomplete batch of an epoch.
        num_workers: processes that read samples; their number never changes the samples.
        seed: determines the order of the training samples, >= 0.
        epoch_length: training samples per epoch; None: all. Otherwise the epochs go through the whole cache in random
            order, each from where the last one stopped, so that every sample is seen before any is seen again.

    Raises:
        ValueError: for a number below its limit.
    """

    @limits(
        root=text(),
        batch_size=at_least(1),
        num_workers=at_least(0),
        seed=at_least(0),
        epoch_length=optional(at_least(1)),
    )
    def __init__(
        self, root: str, batch_size: int = 64, num_workers: int = 0, seed: int = 0, epoch_length: int | None = None
    ) -> None:
        """See the class."""
        super().__init__()
        self.root = Path(root)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.epoch_length = epoch_length
        self._datasets: dict[str, CachedSamples] = {}

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """The cache's own description, cache.json: tokenizer, code, data, statistics, num_classes, shards.

        Raises:
            ValueError: if the file is missing, has another format, or holds an impossible value.
        """
        return read_record(self.root)

    def setup(self, stage: str) -> None:
        """Checks every shard of the splits of a stage, so that a damaged one is an error at the start."""
        for split in STAGES.get(stage, ()):
            self.dataset(split)

    def dataset(self, split: str) -> "CachedSamples":
        """The samples of "train" or "val"; "val" may have none.

        Raises:
            ValueError: if a shard is missing, damaged or from another cache, or an epoch is shorter than a batch.
        """
        if split not in self._datasets:
            train = split == "train"
            shards = self.record["splits"].get(split, {"shards": []})["shards"]
            numbers = {"label": self.record["num_classes"], "codes": self.record["code"]["codebook_size"]}
            length = self.epoch_length if train else None
            samples = CachedSamples(self.root, shards, self.record["identity"], self.seed, length, numbers)
            if train and len(samples) < self.batch_size:
                raise ValueError(
                    f"{self.root}: an epoch of {len(samples)} samples is below batch_size {self.batch_size}; lower it"
                )
            self._datasets[split] = samples
        return self._datasets[split]

    def val_dataloader(self) -> DataLoader | list:
        """The samples of "val" in order, each on one device; where there are none, an empty list: no validation.

        Raises:
            ValueError: if there are fewer samples than devices.
        """
        samples = self.dataset("val")
        return self.in_order(samples, "samples of val") if len(samples) else []


class CachedSamples(Dataset):
    """The samples of some shards, read when needed: each process maps the files into its own memory.

    Args:
        root: folder that the files' names are relative to.
        shards: [{"file", "samples"}] in order.
        identity: the identity that every shard must have.
        seed: determines the order in which epochs of another length go through the samples.
        length: samples per epoch; None: all.
        numbers: how many labels and codes there are, by the name of the tensor that holds them.

    Raises:
        ValueError: names the first shard that is missing, damaged or from another cache.
    """

    def __init__(
        self,
        root: Path,
        shards: list[dict[str, Any]],
        identity: str,
        seed: int,
        length: int | None,
        numbers: Mapping[str, int | None],
    ) -> None:
        """See the class."""
        self.paths = [root / shard["file"] for shard in shards]
        self.starts = list(accumulate((shard["samples"] for shard in shards), initial=0))
        self.total = self.starts.pop()
        self.length = length or self.total
        self.seed = seed
        self.numbers = numbers
        self._open: dict[int, dict[str, Tensor]] = {}
        names = None
        for path, shard in zip(self.paths, shards, strict=True):
            held = _check(path, shard["samples"], identity)
            if names not in (None, held):
                raise ValueError(f"{path}: holds {sorted(held)}, other shards {sorted(names)}; {_remedy(root)}")
            names = held

    def __len__(self) -> int:
        """Samples per epoch."""
        return self.length

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Tensor]:
        """The tensors of one sample; a plain index means epoch 0."""
        epoch, i = key if isinstance(key, tuple) else (0, key)
        if not 0 <= i < self.length:
            raise IndexError(f"sample {i} of {self.length}")
        lap, place = divmod(epoch * self.length + i, self.total)
        row = place if self.length == self.total else int(_order(self.seed, lap, self.total)[place])
        shard = bisect.bisect_right(self.starts, row) - 1
        if shard not in self._open:
            self._open[shard] = _read(self.paths[shard], self.numbers)
        return {name: tensor[row - self.starts[shard]] for name, tensor in self._open[shard].items()}

    def __getstate__(self) -> dict[str, Any]:
        """A worker process opens the files itself."""
        return vars(self) | {"_open": {}}


@functools.lru_cache(maxsize=2)  # an epoch may end one lap and begin the next
def _order(seed: int, lap: int, total: int) -> np.ndarray:
    return np.random.default_rng((seed, lap, total)).permutation(total)


def _read(path: Path, numbers: Mapping[str, int | None]) -> dict[str, Tensor]:
    """The tensors of a shard, as they were written.

    Raises:
        ValueError: for a damaged shard, a number that is not finite, or a label or code out of range.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = parse_json(path, (file.metadata() or {}).get(FORMAT, "{}"))
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged, or not a shard ({reason(error)}); {_remedy(path.parents[1])}") from error
    check_digest(path, tensors, described.get(DIGEST))
    for name, tensor in tensors.items():
        whole = name in ("label", "index", "codes")
        flat = tensor.dim() == 1
        if tensor.dtype not in (WHOLE if whole else FLOATING) or (whole and flat == (name == "codes")):
            raise ValueError(f"{path}: {name} is {tensor.dtype}{list(tensor.shape)}, not {name} of a token cache")
        if not whole and not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} is not finite; {_remedy(path.parents[1])}")
    for name, count in numbers.items():
        low, high = (int(bound) for bound in tensors[name].aminmax()) if name in tensors else (0, 0)
        if low < 0 or (count is not None and high >= count):
            raise ValueError(f"{path}: expected {name.rstrip('s')}s 0 to {(count or 0) - 1}, got {low} to {high}")
    return tensors | ({"codes": tensors["codes"].long()} if "codes" in tensors else {})


def _check(path: Path, samples: int, identity: str) -> set[str]:
    """Names of the tensors of a shard that is whole and belongs to the cache."""
    if not path.is_file():
        raise ValueError(f"{path}: this shard is missing; {_remedy(path.parents[1])}")
    try:
        with safe_open(path, framework="pt") as file:
            described = parse_json(path, (file.metadata() or {}).get(FORMAT, "{}"))
            counts = {name: file.get_slice(name).get_shape()[0] for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: damaged, or not a shard ({reason(error)}); {_remedy(path.parents[1])}") from error
    if described.get("identity") != identity:
        raise ValueError(f"{path}: a shard of another cache; {_remedy(path.parents[1])}")
    if set(counts.values()) != {samples} or not {"label", "index"} <= set(counts):
        raise ValueError(
            f"{path}: expected {samples} samples with label and index, got {counts}; {_remedy(path.parents[1])}"
        )
    return set(counts)


def _remedy(root: Path) -> str:
    return f"delete {root} and run `gpstoken cache ... -o {root}` again"
