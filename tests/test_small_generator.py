"""The generator that comes with the package."""

import numpy as np
import pytest
import torch

from gpstoken import Generator, load_generator
from gpstoken.cli import main
from gpstoken.files.weights import GENERATOR, read_origin_of, weights_file
from gpstoken.metrics import to_uint8

CLASSES = ["natural", "face", "retina", "satellite", "aerial"]


def test_its_images_look_like_their_classes():
    generator, tokenizer, record = load_generator("small")
    assert record["classes"] == CLASSES
    labels = torch.tensor([1, 1, 1, 2, 2, 2])
    options = generator.options(sampler="ode", steps=25)
    with torch.no_grad():
        images = tokenizer.decode(tokenizer.unpack(generator.sample(labels, range(6), 0, options)))
    faces, retinas = to_uint8(images).double().split(3)
    # All training faces are grey, and retinas are more red than blue, the dark ones too.
    assert (faces.amax(1) - faces.amin(1)).mean() < 8
    assert (retinas[:, 0].mean((1, 2)) > 1.4 * retinas[:, 2].mean((1, 2))).all()
    assert (images[0] - images[1]).abs().mean() > 0.05


def test_its_file_is_small_and_says_what_it_is():
    path = weights_file("small", GENERATOR)
    assert path.stat().st_size <= 8 * 2**20
    assert path.with_suffix(".md").is_file()
    assert all(stage["commit"] and stage["machine"] for stage in read_origin_of(path, GENERATOR)["stages"])
    assert list(Generator.from_pretrained("small").stages) == ["layout", "texture"]


def test_the_command_knows_its_name(tmp_path):
    command = ["generate", "small", "-n", "2", "--classes", "1", "--steps", "3", "--device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "faces.npz")]) == 0
    with np.load(tmp_path / "faces.npz") as made:
        assert made["arr_0"].shape == (2, 256, 256, 3) and made["arr_1"].tolist() == [1, 1]


def test_another_tokenizer_is_refused(narrow_generator):
    with pytest.raises(ValueError, match="the layout stage was trained on the tokens of tokenizer"):
        load_generator("small", tokenizer=narrow_generator["tokenizer"])
