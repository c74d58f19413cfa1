"""Finds the weights of metric networks, and checks their hashes."""

import os
from pathlib import Path

import torch

from gpstoken.files.provenance import file_hash

_PREPARE = "run `python -m datamodules.prepare -o data/embedded`, which writes data/networks"
# Network -> file names and sha256, or the first eight digits of it, as in torch's file names; None: unknown hash.
FILES: dict[str, dict[str, str | None]] = {
    "inception": {
        "weights-inception-2015-12-05-6726825d.pth": "6726825d",  # torch-fidelity's name
        "pt_inception-2015-12-05-6726825d.pth": "6726825d",  # pytorch-fid's
    },
    "alexnet": {
        "lpips_alexnet.safetensors": "c6cd663a7b9e2c4794d78678f6a7b76877f077b94b850cab12124210d0da68be",
        "alexnet-owt-7be5be79.pth": "7be5be79",
    },
    "vgg16": {
        "lpips_vgg16.safetensors": "22a3e16dd06742c2ab14535d434d1bd999139f1df782dddd7979a6c931528996",
        "vgg16-397923af.pth": "397923af",
    },
    "efficientnet_lite0": {
        "efficientnet_lite0.safetensors": "06dd5d1c2bb84177854c28c85079843b5936aa227ad39586269b5b59151bfde1",
    },
    # The largest first, because published distances use ViT-L/14.
    "dinov2": {f"dinov2_vit{size}14_pretrain.pth": None for size in "lbs"},
}
HOW_TO_GET = {
    "inception": "download https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "alexnet": _PREPARE,
    "vgg16": _PREPARE,
    "efficientnet_lite0": _PREPARE,
    "dinov2": "download https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
}


def find_weights(name: str, path: str | Path | None = None) -> Path:
    """The file of a network's weights: `path`, else $GPSTOKEN_<NAME>_WEIGHTS, else the usual folders.

    The usual folders are data/networks, torch's hub folder ($TORCH_HOME/hub/checkpoints) and
    ~/.cache/torch/hub/checkpoints. A file with a known name must have the known hash; a file with another name must be
    given, and is not checked: `weights_record` records which file it was.

    Args:
        name: a key of `FILES`.
        path: the file, if it is given.

    Raises:
        FileNotFoundError: if there is none; the message says which folders were searched and how to get the file.
        ValueError: for an unknown name or a wrong hash.
    """
    if name not in FILES:
        raise ValueError(f"network weights: expected one of {', '.join(FILES)}, got {name!r}")
    variable = f"GPSTOKEN_{name.upper()}_WEIGHTS"
    given = path or os.environ.get(variable)
    if given:
        if not Path(given).is_file():
            origin = "" if path else f" (from ${variable})"
            raise FileNotFoundError(f"network weights {given}{origin} not found: {HOW_TO_GET[name]}")
        return _checked(name, Path(given))
    folders = [
        Path("data/networks"),
        Path(torch.hub.get_dir(), "checkpoints"),
        Path.home() / ".cache/torch/hub/checkpoints",
    ]
    for folder in dict.fromkeys(folders):
        for file in FILES[name]:
            if (folder / file).is_file():
                return _checked(name, folder / file)
    places = ", ".join(str(folder) for folder in dict.fromkeys(folders))
    raise FileNotFoundError(
        f"network weights of {name} not found: looked for {' or '.join(FILES[name])} in {places}; "
        f"{HOW_TO_GET[name]}, or set {variable}"
    )


def weights_record(path: str | Path) -> dict[str, str]:
    """{"file", "sha256"} of a weights file, for the record of a result."""
    return {"file": Path(path).name, "sha256": file_hash(Path(path))}


def _checked(name: str, path: Path) -> Path:
    expected = FILES[name].get(path.name)
    if expected and not (digest := file_hash(path)).startswith(expected):
        digests = f"sha256 {digest[:16]}…, expected {expected[:16]}…"
        raise ValueError(f"network weights {path}: {digests}; delete it and {HOW_TO_GET[name]}")
    return path
