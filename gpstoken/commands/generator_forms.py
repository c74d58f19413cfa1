"""The command lines of a generator's row and of what it is compared with: see `gpstoken.commands.by_row`."""

from typing import Any

from gpstoken.commands.declared import SAMPLED, Row, find_row, options, read_scale, scale_file

Command = list[str]
SPLITS = ("train", "test")  # splits of the real images that samples are compared with


def cache(key: str, scale: str, _: Any) -> list[Command]:
    """The tokens that generators learn from."""
    row = find_row(key, ("generator_tokenizers",))
    words = ["cache", "--tokenizer", f"runs/{scale}/{row.group}/{key}/seed0/last.ckpt"]
    words += ["--output", f"data/cache/{scale}/{key}"]
    settings = read_scale(scale)
    return [[*words, *options(settings.get("cache", {}) | settings.get(key, {}) | _classes(scale))]]


def images(key: str, scale: str, _: Any) -> list[Command]:
    """The real images that samples are compared with, or their reconstructions."""
    settings = read_scale(scale).get("images", {}) | _classes(scale)
    if key not in SPLITS:  # reconstructed test images: the upper bound of generators on this tokenizer's tokens
        row = find_row(key, ("generator_tokenizers",))
        settings["through"] = f"runs/{scale}/{row.group}/{key}/seed0/last.ckpt"
    if key != "train":
        settings.pop("count", None)
    words = ["images", "--split", "train" if key == "train" else "test", "--output", f"data/real/{scale}/{key}.npz"]
    return [[*words, *options(settings)]]


def features(key: str, scale: str, _: Any) -> list[Command]:
    """The features of the real images."""
    if key != "real":
        raise ValueError(f"{key}: only the real images' features are stored: gpstoken features real --scale {scale}")
    files = [f"data/real/{scale}/{split}.npz" for split in SPLITS]
    return [["features", *files, *options(read_scale(scale).get("features", {}))]]


def generate_curve(key: str, scale: str, seeds: list[int]) -> list[Command]:
    """The samples of a row from every snapshot, one per seed."""
    row = find_row(key, SAMPLED)
    settings = read_scale(scale)
    how = options(settings.get("generate", {}) | settings.get(row.family, {}))
    if row.section != "generators":
        how = ["--last", *how]
    lines = []
    for seed in seeds:
        words = ["generate-curve", *_networks(row, scale, seed), "--seed", str(seed)]
        lines.append([*words, "--output", f"samples/{scale}/{key}/seed{seed}", *how])
    return lines


def cost(key: str, scale: str, _: Any) -> list[Command]:
    """The cost of a generator."""
    row = find_row(key, ("generators", "other_generators"))
    settings = read_scale(scale)
    words = ["cost", *_networks(row, scale, 0), "--row", key, "--scale", scale]
    words += ["--output", f"results/{scale}/cost/{key}.json"]
    return [[*words, *options(settings.get("cost", {}) | settings.get(row.family, {}))]]


def evaluate_generator(key: str, scale: str, _: Any) -> list[Command]:
    """The evaluation of a row's samples."""
    row = find_row(key, SAMPLED)
    real = f"data/real/{scale}"
    words = ["evaluate-generator", f"samples/{scale}/{key}/seed*/step_*.npz", "--row", key, "--scale", scale]
    words += ["--train", f"{real}/train.npz", "--test", f"{real}/test.npz"]
    words += ["--reconstructions", f"{real}/{row.tokens}.npz"]
    words += ["--output", f"results/{scale}/generators/{key}.json"]
    return [[*words, *options(read_scale(scale).get("evaluate-generator", {}))]]


def _classes(scale: str) -> dict[str, Any]:
    return {"data": scale_file(scale, "classes.yaml").as_posix()}


def _networks(row: Row, scale: str, seed: int) -> Command:
    first, last = row.networks[0], row.networks[-1]
    words = [f"runs/{scale}/generators/{last}/seed{seed}"]
    return words if first == last else [*words, "--layout", f"runs/{scale}/generators/{first}/seed{seed}"]
