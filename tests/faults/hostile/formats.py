"""Each format that is read: how a hostile file of it is drawn, and the readers that such a file is given to."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from datamodules import TokenCache
from datamodules.shards import _scan
from gpstoken import Tokens
from gpstoken.commands.cost import _stage
from gpstoken.commands.fit_help import _classes
from gpstoken.commands.released_generator import read_statistics
from gpstoken.files.checkpoints import read_plain, read_safetensors, read_tokenizer
from gpstoken.files.digests import DIGEST, digest
from gpstoken.files.flax import read_flax
from gpstoken.files.latent_statistics import published_statistics
from gpstoken.files.pictures import pixel_limit, read_picture
from gpstoken.files.plain_text import read_json, read_yaml
from gpstoken.files.released_layouts import read_layouts
from gpstoken.files.weights import read_origin_of
from gpstoken.generators.loading import read_stage
from gpstoken.loading import load_tokenizer
from gpstoken.metrics.frechet import read_statistics as read_reference
from gpstoken.metrics.labelled import read_images
from gpstoken.metrics.samples import contents, count, read_batches
from gpstoken.profiling.rows import read_row
from gpstoken.training.origins import read_data_of, read_origin
from tests.faults.hostile import seeds
from tests.faults.hostile.mutations import (
    PIECES,
    VALUES,
    as_json,
    bent,
    changed,
    changed_npz,
    changed_safetensors,
    npy,
)  # fmt: skip

Files = dict[str, bytes]
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        draw: files by name out of chance; see `mutations`.
        readers: each is called with the folder that holds them, and raises what it raises.
        share: of the inputs of `python -m tests.faults.hostile.fuzz`, in parts of a thousand.
    """

    draw: Callable[[Any], Files]
    readers: tuple[Callable[[Path], None], ...]
    share: int


def draw_json(chance: Any) -> bytes:
    """The description of a run or of samples."""
    tree = {
        "commit": "abc",
        "weights": {"file": "x", "sha256": "00"},
        "sampling": {"steps": 4, "seed": 0},
        "n": [1, 2.5],
    }
    return bent(as_json(tree), chance) if chance.random() < 0.5 else as_json(changed(tree, chance))


CONFIG = yaml.dump(seeds.CONFIG, Dumper=DUMPER).encode()


def draw_yaml(chance: Any) -> bytes:
    """The configuration of a run: its values changed, its lines moved, its bytes bent."""
    kind = chance.randrange(4)
    if kind == 0:
        tree = changed(seeds.CONFIG, chance, [value for value in VALUES if value != "\ud800"])
        return yaml.dump(tree, Dumper=DUMPER, default_flow_style=chance.choice((None, False, True))).encode()
    text = CONFIG
    if kind == 1:
        lines = text.splitlines(keepends=True)
        for _ in range(chance.choice((1, 2, 5))):
            place = chance.randrange(len(lines))
            lines.insert(chance.randrange(len(lines)), lines[place] if chance.random() < 0.5 else lines.pop(place))
        return b"".join(lines)
    if kind == 2:
        place = chance.choice([place for place, byte in enumerate(text) if byte in b": \n"])
        return text[:place] + chance.choice(PIECES) * chance.choice((1, 1, 1, 30)) + text[place:]
    return bent(text, chance)


def draw_cache(chance: Any) -> Files:
    """A token cache with a wrong description or wrong shards."""
    files = dict(WHOLE_CACHE)
    kind = chance.randrange(4)
    if kind == 0:
        files["cache.json"] = bent(files["cache.json"], chance)
    elif kind == 1:
        files["cache.json"] = as_json(changed(json.loads(files["cache.json"]), chance))
    else:
        name = chance.choice(list(files)[1:])
        files[name] = changed_safetensors(files[name], chance, "gpstoken.cache")
    return files


WHOLE_CACHE = seeds.cache_files()


def draw_checkpoint(chance: Any) -> bytes:
    """A checkpoint with little in it: bent, of other values, or with another pickle under right checksums."""
    content = seeds.plain_checkpoint()
    kind = chance.randrange(4)
    if kind == 0:
        return bent(seeds.saved(content | {DIGEST: digest(content)}), chance)
    if kind == 1:
        content = changed(content, chance, [*VALUES, *TENSORS])
        return seeds.saved({"a": 1} | content | {DIGEST: "00"} if isinstance(content, dict) else content)
    content = changed(content, chance) if chance.random() < 0.3 else content
    return _with_pickle(seeds.saved(content), chance)


def draw_latent_statistics(chance: Any) -> bytes:
    """Mean and deviation of two channels, changed."""
    content = {"mean": torch.zeros(2), "std": torch.ones(2)}
    return seeds.saved(changed(content, chance, [*VALUES, *TENSORS]))


def draw_tokenizer(chance: Any) -> bytes:
    """The checkpoint of a whole tokenizer, of other arguments or tensors."""
    content = dict(seeds.checkpoint())
    name = chance.choice(("tokenizer", "tokenizer", "state_dict"))
    content[name] = changed(content[name], chance, [*VALUES, *TENSORS])
    return seeds.saved(content)


def draw_stage(chance: Any) -> bytes:
    """The checkpoint of a generator's stage, of another description."""
    content = dict(seeds.stage_checkpoint())
    content["generator"] = changed(content["generator"], chance, [*VALUES, *TENSORS])
    return seeds.saved(content)


def _tensors() -> list[torch.Tensor]:
    one = torch.ones(1)
    return [
        torch.zeros(0), torch.tensor(1.5), torch.ones(2, 3).bool(), torch.full((2, 3), torch.nan), one.expand(10**10),
        torch.ones(2, dtype=torch.complex64), torch.ones(3, 2).T, one.expand(3, 2), torch.eye(3).to_sparse(),
        torch.nn.Parameter(torch.ones(2, 3)), torch.ones(3).to(torch.float8_e4m3fn), torch.ones(2, 3, device="meta"),
        torch.sparse_coo_tensor([[0]], [1.0], (10**10,)), torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    ]  # fmt: skip


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    TENSORS = _tensors()


def _with_pickle(content: bytes, chance: Any) -> bytes:
    whole, out = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in whole.namelist():
            member = whole.read(name)
            if name.endswith("data.pkl") or chance.random() < 0.05:
                member = bent(member, chance)
            if chance.random() < 0.99:
                archive.writestr(zipfile.ZipInfo(name), member)
    return out.getvalue()


def draw_images(chance: Any) -> Files:
    """An npz of images with its manifest."""
    files = {"images.npz": changed_npz(seeds.images(), chance), "images.json": as_json({"generator": {}})}
    return files | ({"images.json": draw_json(chance)} if chance.random() < 0.2 else {})


def draw_array(chance: Any) -> bytes:
    """An npy of images."""
    return bent(npy(seeds.images()["arr_0"]), chance)


def draw_picture(chance: Any) -> bytes:
    """A picture of one of the formats that are read."""
    return bent(seeds.picture(chance.choice(("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"))), chance)


def _tokens(folder: Path) -> None:
    tokens = Tokens.load(folder / "file")
    tokens.check()
    assert tokens.size is None or tokens.size[0] * tokens.size[1] <= pixel_limit()


def _cache(folder: Path) -> None:
    data = TokenCache(str(folder), batch_size=1)
    data.setup("fit")
    for split in ("train", "val"):
        samples = data.dataset(split)
        for place in {0, len(samples) - 1} if len(samples) else ():
            assert int(samples[place]["label"]) < data.record["num_classes"]


def _reference(folder: Path) -> None:
    for each in read_reference(folder / "file").values():
        assert each.covariance.shape == each.mean.shape * 2 and each.mean.dtype == torch.float64
        assert (
            each.mean.isfinite().all() and each.covariance.isfinite().all() and (each.count is None or each.count > 0)
        )


def _images(folder: Path) -> None:
    contents(folder / "images.npz")
    found = read_images(folder / "images.npz")
    assert len(found.labels) == count(found.path) == len(found.images) == sum(map(len, read_batches(found.path, 2)))


def _stage_model(folder: Path) -> None:
    generator, described, _ = read_stage(folder / "file")
    assert Path(described["tokenizer"]["path"])
    options = generator.options(sampler="ode", steps=2)
    assert generator.sample(torch.zeros(1, dtype=torch.long), [0], 0, options)


def _statistics(folder: Path) -> None:
    assert all(len(values) == 2 for values in read_statistics(folder / "config.yaml", 2))


def _help(folder: Path) -> None:
    _classes(read_yaml(folder / "config.yaml"), "", {})


def _batches(folder: Path) -> None:
    assert all(batch.dtype == torch.uint8 for batch in read_batches(folder / "file.npy", 2))


def one_file(draw: Callable[[Any], bytes], name: str = "file") -> Callable[[Any], Files]:
    """Files of which there is one."""
    return lambda chance: {name: draw(chance)}


def _of(read: Callable[[Path], Any], name: str = "file") -> Callable[[Path], None]:
    return lambda folder: read(folder / name)


RUN = (
    read_data_of, _of(read_row, "config.yaml"), _statistics, _help, _stage,
)  # fmt: skip
FORMATS = {
    "token file": Format(one_file(lambda chance: changed_safetensors(seeds.token_file(), chance)), (_tokens,), 200),
    "token cache": Format(draw_cache, (_cache,), 140),
    "weights": Format(
        one_file(lambda chance: changed_safetensors(seeds.token_file(), chance)), (_of(read_safetensors),), 109
    ),
    "exported tokenizer": Format(
        one_file(lambda chance: changed_safetensors(seeds.weights_file(), chance), "file.safetensors"),
        (_of(load_tokenizer, "file.safetensors"), _of(read_origin_of, "file.safetensors")),
        20,
    ),
    "checkpoint": Format(one_file(draw_checkpoint), (_of(read_plain), _of(read_tokenizer)), 12),
    "checkpoint of a tokenizer": Format(one_file(draw_tokenizer), (_of(load_tokenizer),), 1),
    "checkpoint of a stage": Format(one_file(draw_stage), (_stage_model,), 1),
    "statistics npz": Format(one_file(lambda chance: changed_npz(seeds.statistics(), chance)), (_reference,), 80),
    "images npz": Format(draw_images, (_images,), 70),
    "images npy": Format(one_file(draw_array, "file.npy"), (_batches,), 70),
    "config.yaml": Format(one_file(draw_yaml, "config.yaml"), RUN, 90),
    "json": Format(one_file(draw_json, "origin.json"), (_of(read_json, "origin.json"), read_origin), 130),
    "picture": Format(one_file(draw_picture), (_of(lambda path: read_picture(path, max_pixels=2**22)),), 60),
    "tar shard": Format(one_file(lambda chance: bent(seeds.tar(), chance)), (_of(_scan),), 20),
    "latent statistics": Format(
        one_file(draw_latent_statistics, "latents_stats.pt"),
        (lambda folder: published_statistics(folder / "file", 2),),
        1,
    ),
    "msgpack": Format(one_file(lambda chance: bent(seeds.flax_file(), chance)), (_of(read_flax),), 20),
    "layouts": Format(one_file(lambda chance: bent(seeds.layouts(), chance)), (_of(read_layouts),), 17),
}
