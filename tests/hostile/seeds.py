"""A small whole file of each format, which mutations begin with."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from gpstoken.files.digests import DIGEST, digest

IDENTITY = "0123"
CACHE = {
    "format": "gpstoken.cache", "version": 1, "identity": IDENTITY, "num_classes": 3,
    "tokenizer": {"class_path": "gpstoken.tokenizer.GPSToken", "init_args": {}, "sha256": "00", "path": "last.ckpt"},
    "statistics": {"layout": {"mean": [0.0] * 5, "std": [1.0] * 5}, "features": {"mean": [0.0, 0.5], "std": [1.0, 2]}},
}  # fmt: skip


def write_cache(root: Path, **changes) -> Path:
    """A token cache of two shards; `changes` are of its cache.json."""
    splits = {}
    for split, count in (("train", 4), ("val", 2)):
        (root / split).mkdir(parents=True, exist_ok=True)
        name = f"{split}/shard-00000.safetensors"
        index = torch.arange(count)
        numbers = {"geometry": torch.ones(count, 3, 5), "layout": torch.ones(count, 3, 5)}
        content = {**numbers, "features": torch.ones(count, 3, 2), "label": index % 3, "index": index}
        described = {"identity": IDENTITY, "samples": count, DIGEST: digest(content)}
        save_file(content, root / name, {"gpstoken.cache": json.dumps(described)})
        splits[split] = {"samples": count, "shards": [{"file": name, "samples": count}]}
    (root / "cache.json").write_text(json.dumps(CACHE | {"splits": splits} | changes))
    return root
