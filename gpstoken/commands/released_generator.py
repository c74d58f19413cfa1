"""`gpstoken released-generator`: converts the paper's released texture generator to checkpoints of this project.

The release samples layouts of real images by class (`gpstoken released-layouts`); its layout generator is not public.
"""

import math
import sys
from pathlib import Path
from typing import Any

import torch

from gpstoken.commands.parser import Parser
from gpstoken.files.checkpoints import read_released, write_plain
from gpstoken.files.plain_text import read_yaml
from gpstoken.generators.loading import AVERAGED, describe
from gpstoken.generators.two_stage import GEOMETRY, Texture
from gpstoken.loading import class_path_of, tokenizer_hash
from gpstoken.sit import SiT
from gpstoken.tokenizer import GPSToken


def main(arguments: list[str]) -> int:
    """Converts the files of the release; see `convert`. Returns 0."""
    parser = Parser(
        "released-generator",
        __doc__,
        epilog="Then: gpstoken generate DIR/texture.ckpt --layout layouts.safetensors --classes 207 -n 16 -o new",
    )
    parser.add_argument("texture", type=Path, metavar="TEXTURE.safetensors", help="weights of the texture generator")
    parser.add_argument("tokenizer", type=Path, metavar="TOKENIZER.safetensors", help="weights of its tokenizer")
    parser.add_argument("statistics", type=Path, metavar="CONFIG.yaml", help="means and stds of the latents' channels")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tokenizer-preset", default="gpstoken_m128", help="default: gpstoken_m128")
    options = parser.parse_args(arguments)
    convert(options.texture, options.tokenizer, options.statistics, options.output, options.tokenizer_preset)
    return 0


def convert(
    texture: Path,
    tokenizer: Path,
    statistics: Path,
    output: Path,
    tokenizer_preset: str = "gpstoken_m128",
    tokenizer_options: dict[str, Any] | None = None,
    **overrides: Any,
) -> None:
    """Writes texture.ckpt and tokenizer.ckpt, which `load_generator` reads, into a folder.

    Args:
        texture: safetensors of the texture generator, with averaged or raw weights.
        tokenizer: safetensors of the tokenizer whose tokens the generator was trained on.
        statistics: YAML that contains the lists `means` and `stds` of the channels at any depth.
        output: folder, created if it is missing.
        tokenizer_preset: preset of `GPSToken`.
        tokenizer_options: overrides of that preset.
        **overrides: overrides of the preset "gpstoken_texture" of `SiT`.

    Raises:
        ValueError: if a file is unreadable or does not fit.
    """
    with torch.device("meta"):  # drawing random weights, only to replace them, would take most of the time
        network = SiT.from_preset("gpstoken_texture", **overrides)
    weights = read_released(texture, network.state_dict())
    generator = Texture(network)
    trained_on = GPSToken.from_pretrained(tokenizer, tokenizer_preset, **tokenizer_options or {})
    mean, std = read_statistics(statistics, network.config["channels"])
    output.mkdir(parents=True, exist_ok=True)
    described = {"class_path": class_path_of(trained_on), "init_args": trained_on.config}
    place = output / "tokenizer.ckpt"
    tokenizer_weights = {f"tokenizer.{name}": tensor for name, tensor in trained_on.state_dict().items()}
    write_plain(place, {"tokenizer": described, "state_dict": tokenizer_weights, "global_step": 0})
    entry = describe(generator, described | {"sha256": tokenizer_hash(trained_on), "path": str(place)}, None)
    weights = {f"network.{name}": tensor.float() for name, tensor in weights.items()}
    weights |= {"mean": torch.tensor(mean), "std": torch.tensor(std)}
    weights["widths"] = torch.tensor([GEOMETRY, len(mean) - GEOMETRY])
    # The release does not say for how many steps the generator was trained.
    content = {f"{AVERAGED}{name}": tensor for name, tensor in weights.items()}
    write_plain(output / "texture.ckpt", {"generator": entry, "state_dict": content, "global_step": 0})


def read_statistics(path: Path, channels: int) -> tuple[list[float], list[float]]:
    """The lists `means` and `stds`, or `mean` and `std`, of a YAML file, at any depth.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a list is missing or does not have `channels` finite numbers, or a deviation is not above 0.
    """
    content = read_yaml(path)
    lists = []
    for names in (("means", "mean"), ("stds", "std")):
        values = _find(content, names)
        if not isinstance(values, list) or not all(map(_is_number, values)):
            raise ValueError(f"{path}: expected a list of numbers named {names[0]}, each of them finite")
        if len(values) != channels:
            raise ValueError(f"{path}: {names[0]} has {len(values)} numbers, but the network has {channels} channels")
        lists.append([float(value) for value in values])
    if min(lists[1]) <= 0:
        raise ValueError(f"{path}: stds must be above 0, got {min(lists[1])}")
    return lists[0], lists[1]


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max and math.isfinite(value)  # a large integer may exceed the range of floats


def _find(content: Any, names: tuple[str, ...]) -> Any:
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in children:
        if name in names:
            return value
        if isinstance(value, dict | list) and (values := _find(value, names)) is not None:
            return values
    return None
