"""`gpstoken evaluate` on faces and on text: what is recognised, against scikit-learn on the reconstructions."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from datamodules import EmbeddedPeople
from gpstoken import GPSToken

NAMED = ["--row", "row", "--scale", "tiny", "--networks"]


def grey(images: torch.Tensor) -> np.ndarray:
    """float[B, 3, 32, 32] in [-1, 1] as grey levels of 8-bit pixels less their mean; at 32 px nothing is resized."""
    pixels = (127.5 * (images.clamp(-1, 1) + 1)).round().permute(0, 2, 3, 1).numpy().astype(float)
    levels = (pixels @ [0.299, 0.587, 0.114]).reshape(len(pixels), -1)
    return levels - levels.mean(axis=1, keepdims=True)


def test_faces_are_recognised_as_by_sklearn(tiny_runs, command, tmp_path):
    output = tmp_path / "row.json"
    data = ["--data", "experiments/_data/embedded_people.yaml", "--data.init_args.held_out", "true"]
    assert command(["evaluate", str(tiny_runs[0]), "-o", str(output), *NAMED, *data]) == 0
    result = json.loads(output.read_text())
    assert list(result["metrics"]) == ["psnr", "ssim", "identity", "parts_correlation"]  # and no LPIPS

    people = EmbeddedPeople("data/embedded", held_out=True, image_size=32)
    samples, known = people.dataset("test"), people.recognition("test")
    images = torch.stack([samples[i]["image"] for i in range(80)])
    tokenizer = GPSToken.from_checkpoint(tiny_runs[0] / "last.ckpt")
    with torch.no_grad():
        reconstructions = torch.cat([tokenizer(part) for part in images.split(16)])
    gallery = grey(torch.from_numpy(known.gallery).permute(0, 3, 1, 2) / 127.5 - 1)
    labels = known.gallery_labels[:, 0]

    def hits(queries: np.ndarray) -> list[float]:
        found = []
        for i, place in enumerate(known.itself):
            others = np.delete(gallery, place, axis=0), np.delete(labels, place)
            found.append(
                KNeighborsClassifier(1, metric="cosine").fit(*others).score(queries[i : i + 1], labels[[place]])
            )
        return found

    with output.with_suffix(".csv").open(newline="") as file:
        column = [float(row["identity"]) for row in csv.DictReader(file)]
    # The evaluation may round pixels another way and find another of two equally near faces: of 80, hardly one.
    assert sum(a != b for a, b in zip(column, hits(grey(reconstructions)), strict=True)) <= 2
    ceiling = result["recognition"]["identity"]
    assert ceiling["ceiling"]["mean"] == pytest.approx(np.mean(hits(grey(images))), abs=1 / 80)
    assert (ceiling["parts"], ceiling["labels"], ceiling["gallery"]) == (80, 40, 400)
    assert (result["metrics"]["identity"]["count"], result["metrics"]["identity"]["clusters"]) == (80, 8)


def test_letters_of_the_originals_are_read_and_those_of_an_untrained_tokenizer_are_not(tiny_runs, command, tmp_path):
    output = tmp_path / "row.json"
    data = ["--data", "experiments/_data/rendered_text.yaml", "--data.init_args.image_size", "64"]
    assert command(["evaluate", *map(str, tiny_runs), "-o", str(output), *NAMED, *data]) == 0
    result = json.loads(output.read_text())
    assert result["recognition"]["text"]["ceiling"]["mean"] > 0.95
    # Of 840 letters each seed reads one in 26 by chance, 3.8 % ± 0.7; a tokenizer of a few steps hardly more.
    assert result["metrics"]["text"]["mean"] < 0.2 and result["metrics"]["text"]["seeds"] == 2
