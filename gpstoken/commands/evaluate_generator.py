"""`gpstoken evaluate-generator`: compares a generator's samples of all seeds and training steps with real images."""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gpstoken.commands.features import BATCH, add_networks, features_of, load_networks
from gpstoken.commands.parser import Parser
from gpstoken.files.provenance import check_named, record
from gpstoken.files.writing import replacing
from gpstoken.metrics.classifier import (
    accuracy,
    accuracy_on_real,
    against_chance,
    fit_classifier,
    per_class,
    thumbnails,
)
from gpstoken.metrics.generation import compare, extract, stage
from gpstoken.metrics.labelled import (
    LabelledImages,
    Sets,
    class_names,
    describe_generator,
    final_stage,
    read_array,
    read_images,
    read_sets,
)
from gpstoken.metrics.neighbour_images import COLUMNS, memorisation, nearest_images, page, pixels_left_out
from gpstoken.metrics.networks import Features
from gpstoken.metrics.summary import summarise_seeds
from gpstoken.metrics.weights import weights_record

MAIN = "efficientnet_lite0"
PAGE = 8  # samples per class that are stored for the report's pictures


@dataclass(frozen=True)
class Judged:
    """The evaluation of one file of samples.

    Attributes:
        pool: features float32[n, d] of the network that defines the nearest neighbours.
        scores: distances, precision and recall against the real training images.
        predicted: int64[n], the class that the classifier predicts.
        probability: float64[n], the classifier's probability of the requested class.
    """

    pool: Tensor
    scores: dict[str, float]
    predicted: np.ndarray
    probability: np.ndarray


def main(arguments: list[str]) -> int:
    """Parses the command line and evaluates; see `evaluate`."""
    parser = Parser("evaluate-generator", __doc__)
    parser.add_argument(
        "samples", nargs="+", type=Path, help="npz files of `gpstoken generate`, one per seed and training step"
    )
    parser.add_result()
    parser.add_argument("--train", type=Path, required=True, help="npz of `gpstoken images` with the training split")
    parser.add_argument("--test", type=Path, required=True, help="npz of `gpstoken images` with the test split")
    parser.add_argument("--reconstructions", type=Path, help="npz of --test, encoded and decoded by the tokenizer")
    add_networks(parser)
    parser.add_argument(
        "--allow-small", action="store_true", help="compute Fréchet distances even below 2 images per dimension"
    )
    parser.add_device()
    options = parser.parse_args(arguments)
    check_named(options.output, options.row)
    sets, train, test = read_sets(options.samples), read_images(options.train), read_images(options.test)
    networks = load_networks(options.networks, options.device)
    evaluate(sets, train, test, options.output, options.scale, options.reconstructions, networks, options.allow_small)
    return 0


def evaluate(
    sets: Sets,
    train: LabelledImages,
    test: LabelledImages,
    output: Path,
    scale: str,
    reconstructions: Path | None,
    networks: dict[str, Features],
    allow_small: bool = False,
) -> None:
    """Writes ROW.csv (every sample of the last step), ROW.samples.npz (samples for the report's pictures) and ROW.json.

    Args:
        sets: the result of `read_sets`; the samples of the last step are the result, all of them the curve.
        train: real training images: the classifier is trained on them, and distances are measured to them.
        test: held-out real images; manifest["sources"] says which of them show the same photograph.
        output: result file; its name is the row, which `main` checks.
        scale: name of the scale.
        reconstructions: npz of the test images, encoded and decoded: the upper bound of a generator's quality.
        networks: the result of `load_networks`, whose features are compared. Nearest neighbours are those in the
            features of EfficientNet-Lite0, which is available everywhere, or else of the first network.
        allow_small: see `compare`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or labels, sources or sizes of images do not fit.
    """
    final = sets[max(sets)]
    first = next(iter(final.values()))
    labels, names = first.labels, class_names(train)
    sources = check_fit(train, test, first, reconstructions)
    output.parent.mkdir(parents=True, exist_ok=True)
    main = MAIN if MAIN in networks else next(iter(networks))
    seconds: dict[str, float] = {}
    real = {name: features_of(train.path, network, train.path.stem, seconds) for name, network in networks.items()}
    held_out = features_of(test.path, networks[main], test.path.stem, seconds)
    with stage(seconds, "classifier"):
        pictures, tested = train.images, test.images
        classify = fit_classifier(thumbnails(pictures), train.labels)
    sides = {"real_test": tested}
    if reconstructions is not None:
        sides["reconstruction"] = torch.from_numpy(read_array(reconstructions, "arr_0"))
    judged: dict[int, dict[int, Judged]] = {}
    for step, files in sets.items():
        judged[step] = {}
        for seed, drawn in files.items():
            title = f"step {step}, seed {seed}"
            generated = {
                name: extract(drawn.path, network, BATCH, title, seconds) for name, network in networks.items()
            }
            with stage(seconds, "scores"):
                scores = {}
                for name, features in generated.items():
                    scores |= compare(features, real[name], name, allow_small)
                judged[step][seed] = judge(generated[main].pool, scores, classify(thumbnails(drawn.images)), labels)
    curve = [{"step": step, "scores": over_seeds(list(seeds.values()), labels)} for step, seeds in judged.items()]
    of_final = judged[max(sets)]
    left_out = pixels_left_out(len(final) * len(labels) + len(tested), len(pictures), tuple(pictures.shape[1:]))
    if left_out:
        print(f"gpstoken: the nearest images by pixels are left out: {left_out}", file=sys.stderr)
    with stage(seconds, "nearest images"):
        columns = [
            nearest_images(samples.images, of_final[seed].pool, pictures, real[main].pool, not left_out)
            for seed, samples in tqdm(final.items(), "nearest images", unit="seed", disable=None)
        ]
        of_test = nearest_images(tested, held_out.pool, pictures, real[main].pool, not left_out)
    near = {
        name: memorisation(torch.cat([column[name] for column in columns]), of_test[name])
        for name in COLUMNS[1::2]
        if name in of_test
    }
    score = curve[-1]["scores"]["class_accuracy"]
    correct = np.stack([seed.predicted == labels for seed in of_final.values()])
    result = {
        "row": output.stem,
        "group": "generators",
        "scale": scale,
        "seeds": list(final),
        "generator": describe_generator(final),
        "sampling": {name: value for name, value in first.manifest["sampling"].items() if name != "seed"},
        "training": {"steps": max(sets), "batch_size": final_stage(first).get("batch_size")},
        "data": {**train.manifest.get("data", {}), "image_size": pictures.shape[1]},
        "reference": {"train": train.described, "test": test.described},
        "networks": {name: weights_record(network.path) for name, network in networks.items()},
        "metrics": {},
        "scores": curve[-1]["scores"],
        "classifier": {
            "classes": names,
            **against_chance(labels, score["interval"]),
            **{
                side: accuracy_on_real(classify(thumbnails(images)), test.labels, sources, names)
                for side, images in sides.items()
            },
            "per_class": per_class(correct, labels, names),
        },
        "memorisation": near.get("distance", {"left_out": left_out}) | {"by_features": near["distance_by_features"]},
        "curve": curve,
        **record(next(networks[main].parameters()).device),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    write_csv(output.with_suffix(".csv"), of_final, labels, columns)
    with replacing(output.with_suffix(".samples.npz")) as part, part.open("wb") as file:
        np.savez(file, **page(first.images, labels, columns[0], pictures, PAGE))
    with replacing(output) as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    low, high = (100 * end for end in score["interval"])
    recognised = f"{100 * score['mean']:.1f} % ({low:.1f} to {high:.1f}) classified as their class"
    print(f"{output}: {len(final)} seeds of {len(labels)} samples, {recognised}")


def judge(pool: Tensor, scores: dict[str, float], probabilities: np.ndarray, labels: np.ndarray) -> Judged:
    """The scores of one file of samples, and the classifier's prediction for each sample."""
    wanted = probabilities[np.arange(len(labels)), labels]
    return Judged(pool, scores, probabilities.argmax(axis=1), wanted)


def over_seeds(judged: list[Judged], labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """The mean of every score over seeds.

    The standard error of the class accuracy comes from `accuracy`; that of the other scores is taken between seeds, and
    is None for a single seed.
    """
    scores: dict[str, dict[str, Any]] = {}
    for name in judged[0].scores:
        scores[name] = summarise_seeds([seed.scores[name] for seed in judged]) | {"count": len(labels)}
    return scores | {"class_accuracy": accuracy(np.stack([seed.predicted == labels for seed in judged]))}


def check_fit(
    train: LabelledImages, test: LabelledImages, samples: LabelledImages, reconstructions: Path | None
) -> list[str] | None:
    """Checks all inputs before minutes of computation, and returns the photographs of the test images, if known.

    Raises:
        ValueError: if image sizes, labels or sources do not match.
    """
    classes = train.labels.max() + 1
    for images in (test, samples):
        if images.size != train.size:
            sizes = f"{list(images.size)} pixels, but {train.path} has {list(train.size)}"
            raise ValueError(f"{images.path}: images of {sizes}")
        if images.labels.max() >= classes:
            raise ValueError(
                f"{images.path}: has the label {images.labels.max()}, but {train.path} has {classes} classes"
            )
    if reconstructions is not None and not np.array_equal(read_array(reconstructions, "arr_1"), test.labels):
        raise ValueError(f"{reconstructions}: the labels differ from those of {test.path}")
    sources = test.manifest.get("sources")
    if sources is not None and len(sources) != len(test.labels):
        raise ValueError(f"{test.path}: {len(test.labels)} images, but its manifest names {len(sources)} sources")
    return sources


def write_csv(path: Path, judged: dict[int, Judged], labels: np.ndarray, columns: list[dict[str, Tensor]]) -> None:
    """Writes one line per sample of the last step; columns that were not computed are left out."""
    names = list(columns[0])
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seed", "index", "label", "predicted", "probability", *names])
        for (seed, samples), near in zip(judged.items(), columns, strict=True):
            values = (labels, samples.predicted, samples.probability, *(near[name] for name in names))
            for index, row in enumerate(zip(*(column.tolist() for column in values), strict=True)):
                writer.writerow([seed, index, *row])
