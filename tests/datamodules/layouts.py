"""A handful of pictures in the exact layout of each data set: real folder names, suffixes and file formats."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from scipy.io import savemat

import datamodules

REPOSITORY = Path(__file__).parents[2]

WNIDS = ("n01440764", "n02084071", "n07747607")
WHU_CLASSES = (
    "Airport", "Beach", "Bridge", "Commercial", "Desert", "Farmland", "footballField",
    "Forest", "Industrial", "Meadow", "Mountain", "Park", "Parking", "Pond",
    "Port", "railwayStation", "Residential", "River", "Viaduct",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """How to write it, the YAML and options it is read with, and what must come out, typed by hand."""

    write: Callable[[Path], None]
    data: str
    options: dict[str, Any]
    sizes: dict[str, int]
    test_labels: list[int] | None  # None: which pictures are drawn is chance
    root: str = "."  # below the folder written to


def encoded(number: int, suffix: str = "jpg", size: tuple[int, int] = (48, 40)) -> bytes:
    """A picture of its own colours, `size` = (width, height)."""
    coarse = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "JPEG": "JPEG", "tif": "TIFF", "ppm": "PPM"}.get(suffix, suffix.upper())
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def imagenet_side(root: Path, side: str, count: int) -> None:
    for i, wnid in enumerate(WNIDS):
        for j in range(count):
            name = f"{wnid}_{j}.JPEG" if side == "train" else f"ILSVRC2012_val_{3 * j + i + 1:08d}.JPEG"
            put(root / side / wnid / name, encoded(100 * i + j + 50 * (side == "val"), "JPEG"))


def imagenet_folders(root: Path) -> None:
    imagenet_side(root, "train", 3)
    imagenet_side(root, "val", 2)


def devkit(root: Path) -> None:
    # As in the real one, numbers are not in the order of the ids, and inner nodes have numbers above all classes.
    rows = [(1, WNIDS[1], 0), (2, WNIDS[2], 0), (3, WNIDS[0], 0), (4, "n00001740", 3)]
    names = [
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    ]
    synsets = np.zeros((len(rows), 1), dtype=[(name, object) for name in names])
    for i, (number, wnid, children) in enumerate(rows):
        nodes = np.arange(1, children + 1, dtype=np.uint16)
        synsets[i, 0] = (np.uint16(number), wnid, "a, b", "c", np.uint8(children), nodes, np.uint8(1), np.uint16(1300))
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": synsets})
    put(folder / "ILSVRC2012_validation_ground_truth.txt", "1\n3\n3\n2\n1\n")


def imagenet_flat(root: Path) -> None:
    imagenet_side(root, "train", 3)
    for i in range(1, 6):
        put(root / "val" / f"ILSVRC2012_val_{i:08d}.JPEG", encoded(500 + i, "JPEG"))
    devkit(root)


def write_shard(path: Path, members: dict[str, bytes], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def shard_members(first: int, labels: list[int]) -> dict[str, bytes]:
    members = {}
    for i, label in enumerate(labels, first):
        # Labels lie before or after their picture, as writers happen to sort.
        parts = {f"{i:06d}.cls": str(label).encode(), f"{i:06d}.jpg": encoded(i), f"{i:06d}.json": b"{}"}
        members |= parts if i % 2 else dict(reversed(parts.items()))
    return members


def imagenet_shards(root: Path) -> None:
    write_shard(root / "imagenet-train-000000.tar", shard_members(0, [7, 999, 0]))
    write_shard(root / "imagenet-train-000001.tar", shard_members(3, [3, 3, 1]))
    write_shard(root / "imagenet-val-000000.tar", shard_members(50, [5, 998, 2]))


def imagenet_shard_folders(root: Path) -> None:
    write_shard(root / "train" / "000000.tar", shard_members(0, [7, 999, 0, 1]))
    write_shard(root / "val" / "000000.tar", shard_members(50, [5, 998]))
    write_shard(root / "val" / "000001.tar", shard_members(50, [2]))


def coco(root: Path) -> None:
    for i in range(6):
        put(root / "val2017" / f"{139 + 17 * i:012d}.jpg", encoded(i))
    for i in range(12):
        put(root / "train2017" / f"{9 + 16 * i:012d}.jpg", encoded(100 + i))
    put(root / "annotations" / "instances_val2017.json", json.dumps({"images": [], "annotations": []}))


def ffhq_1024(root: Path) -> None:
    for number in (*range(6), *range(69000, 69010)):
        put(root / "images1024x1024" / f"{number // 1000 * 1000:05d}" / f"{number:05d}.png", encoded(number, "png"))
    put(root / "thumbnails128x128" / "00000" / "00000.png", encoded(0, "png"))
    put(root / "in-the-wild-images" / "00000" / "00000.png", encoded(0, "png"))
    put(root / "ffhq-dataset-v2.json", "{}")


def ffhq_thumbnails(root: Path) -> None:
    for number in range(16):
        put(root / "thumbnails128x128" / f"{number:05d}.png", encoded(number, "png", (128, 128)))
    put(root / "LICENSE.txt", "")


def ffhq_256(root: Path) -> None:
    for number in range(16):
        put(root / f"{number:05d}.png", encoded(number, "png", (256, 256)))
    put(root / "preview.png", encoded(99, "png"))


def stare(root: Path) -> None:
    for i in (1, 2, 3, 4, 5, 44, 77, 81, 82, 324):
        put(root / f"im{i:04d}.ppm", encoded(i, "ppm", (700, 605)))


def stare_gz(root: Path) -> None:
    for i in (1, 2, 3, 4, 5, 44, 77, 81, 82, 324):
        put(root / f"im{i:04d}.ppm.gz", gzip.compress(encoded(i, "ppm", (700, 605)), 1))
    put(root / "im0001.ppm", encoded(1, "ppm", (700, 605)))


def write_npz(path: Path, size: int, grey: bool, labels: dict[str, list]) -> None:
    arrays = {}
    generator = np.random.default_rng(0)
    for split, values in labels.items():
        shape = (len(values), size, size) + (() if grey else (3,))
        arrays[f"{split}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = np.array(values, dtype=np.uint8).reshape(len(values), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def retinamnist(root: Path) -> None:
    write_npz(root / "retinamnist_224.npz", 224, False, {"train": [0, 1, 4, 2], "val": [3], "test": [4, 0, 2]})


def breastmnist_28(root: Path) -> None:
    write_npz(root / "breastmnist.npz", 28, True, {"train": [0, 1, 1], "val": [1, 0], "test": [1, 0]})


def chestmnist_64(root: Path) -> None:
    write_npz(
        root / "chestmnist_64.npz", 64, True, {"train": [[0, 1], [1, 1]], "val": [[0, 0]], "test": [[1, 0], [1, 1]]}
    )


def whu_rs19(root: Path) -> None:
    for i, name in enumerate(WHU_CLASSES):
        for j in range(2):
            suffix = "tif" if name == "Pond" else "jpg"
            put(root / name / f"{name.lower()}_{j + 1:02d}.{suffix}", encoded(10 * i + j, suffix))
    put(root / "Airport" / "Thumbs.db", "")
    put(root / "__MACOSX" / "._Airport.jpg", "")


def folder(root: Path) -> None:
    for i in range(20):
        put(root / "holidays" / ("sea" if i < 10 else "woods") / f"DSC_{i:04d}.JPG", encoded(i))


def folder_list(root: Path) -> None:
    folder(root)
    lines = (f"holidays/{'sea' if i < 10 else 'woods'}/DSC_{i:04d}.JPG\n" for i in range(0, 20, 2))
    put(root / "list.txt", "".join(lines))


def sizes(train: int, val: int, test: int) -> dict[str, int]:
    return {"train": train, "val": val, "test": test}


SPLIT = {"test_on_all": False}
LAYOUTS = {
    "imagenet folders": Layout(imagenet_folders, "imagenet256", {}, sizes(9, 6, 6), [0, 0, 1, 1, 2, 2]),
    "imagenet flat": Layout(imagenet_flat, "imagenet256", {}, sizes(9, 5, 5), [1, 0, 0, 2, 1]),
    "imagenet shards": Layout(imagenet_shards, "imagenet256", {}, sizes(6, 3, 3), [5, 998, 2]),
    "imagenet shard folders": Layout(imagenet_shard_folders, "imagenet256", {}, sizes(4, 3, 3), [5, 998, 2]),
    "coco": Layout(coco, "coco", {"subset": 4}, sizes(10, 2, 4), [0] * 4),
    "coco whole": Layout(coco, "coco", {}, sizes(10, 2, 6), [0] * 6),
    "ffhq 1024": Layout(ffhq_1024, "ffhq", {"subset": 4}, sizes(10, 2, 4), [0] * 4),
    "ffhq thumbnails": Layout(ffhq_thumbnails, "ffhq", {"subset": 4}, sizes(10, 2, 4), [0] * 4),
    "ffhq 256": Layout(ffhq_256, "ffhq", {"subset": 4}, sizes(10, 2, 4), [0] * 4),
    "stare": Layout(stare, "stare", SPLIT, sizes(8, 1, 1), [0]),
    "stare gz": Layout(stare_gz, "stare", SPLIT, sizes(8, 1, 1), [0]),
    "retinamnist": Layout(retinamnist, "retinamnist", {}, sizes(4, 1, 3), [4, 0, 2]),
    "breastmnist": Layout(breastmnist_28, "retinamnist", {"name": "breastmnist", "size": 28}, sizes(3, 2, 2), [1, 0]),
    "chestmnist": Layout(chestmnist_64, "retinamnist", {"name": "chestmnist", "size": 64}, sizes(2, 1, 2), [0, 0]),
    "whu rs19": Layout(whu_rs19, "whu_rs19", SPLIT, sizes(30, 4, 4), None),
    "folder": Layout(folder, "folder", {}, sizes(16, 2, 2), None),
    "folder list": Layout(folder_list, "folder", {}, sizes(8, 1, 1), None, "list.txt"),
}


def load(layout, root, **options):
    """The data set of the layout's YAML at 32 pixels."""
    config = yaml.safe_load((REPOSITORY / f"experiments/_data/{layout.data}.yaml").read_text())
    small = {"root": str(root / layout.root), "image_size": 32, "batch_size": 2, "prepared": str(root / "../prepared")}
    kind = getattr(datamodules, config["class_path"].removeprefix("datamodules."))
    return kind(**config["init_args"] | small | layout.options | options)
