"""Encoder and decoder in onnxruntime, somebody else's implementation of every operator, against torch."""

import json

import onnxruntime
import pytest
import torch
from skimage.data import chelsea, rocket

from gpstoken import GPSToken, load_image, partition
from gpstoken.baselines.vq import VQAutoencoder
from gpstoken.cli import main
from gpstoken.files.weights import write_weights
from gpstoken.loading import class_path_of
from gpstoken.onnx_models import onnx_models

# The project's promise. Values are of order 1 and both sides compute in float32, where the norms lose most: if the
# Gaussians cover the canvas, either is within 5e-5 of float64. On a nearly empty map, whose variance is tiny, both lose
# two digits more.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def small():
    """(the tokenizer that comes with the package, its models in onnxruntime)."""
    tokenizer = GPSToken.from_pretrained("small")
    return tokenizer, {name: onnxruntime.InferenceSession(model) for name, model in onnx_models(tokenizer).items()}


@pytest.fixture(scope="module")
def narrow(narrow_tokenizer, tmp_path_factory):
    """Like `small`, with the folder, by the command and with the other forms of norm, upsampling and sigma."""
    tokenizer = narrow_tokenizer(norm="released", fused=False, sigma_rule="paper")
    folder = tmp_path_factory.mktemp("narrow")
    weights = folder / "narrow.safetensors"
    write_weights(weights, class_path_of(tokenizer), tokenizer.config, tokenizer.state_dict(), {}, torch.float32)
    assert main(["export", str(weights), "--onnx", "-o", str(folder / "models")]) == 0
    assert {path.name for path in (folder / "models").iterdir()} == {"encoder.onnx", "decoder.onnx"}
    models = {path.stem: onnxruntime.InferenceSession(path) for path in (folder / "models").iterdir()}
    return tokenizer, models, folder / "models"


def shapes(values) -> dict:
    return {value.name: (value.type, value.shape) for value in values}


def assert_equal_to_torch(tokenizer, models, image, num_tokens):
    regions = partition(image, num_tokens, tokenizer.lambda_, tokenizer.min_region_size, tile_size=None)
    with torch.no_grad():
        tokens = tokenizer.encode(image, num_tokens)
        feature_map = tokenizer.render(tokens)
        expected = tokenizer.decode(tokens)
    inputs = {"image": image.numpy(), "regions": regions.numpy()}
    geometry, features = models["encoder"].run(["geometry", "features"], inputs)
    (decoded,) = models["decoder"].run(["image"], {"feature_map": feature_map.numpy()})
    for actual, truth in ((geometry, tokens.gaussians.to_tensor()), (features, tokens.features), (decoded, expected)):
        torch.testing.assert_close(torch.from_numpy(actual), truth, rtol=0, atol=TOLERANCE)
    assert expected.std() > 0.01  # else nothing was compared


@pytest.mark.parametrize("photo", [chelsea, rocket])
@pytest.mark.parametrize("num_tokens", [1, 7, 128, 512])
def test_small_on_photographs(small, photo, num_tokens):
    tokenizer, models = small
    assert_equal_to_torch(tokenizer, models, load_image(photo(), size=256), num_tokens)


@pytest.mark.parametrize("num_tokens", [1, 2, 8, 64])
def test_the_other_forms(narrow, some_image, num_tokens):
    tokenizer, models, _ = narrow
    assert_equal_to_torch(tokenizer, models, some_image(1, 32, 32), num_tokens)


def test_what_the_models_take_and_give(narrow):
    tokenizer, models, _ = narrow
    encoder, decoder = models["encoder"], models["decoder"]
    assert shapes(encoder.get_inputs()) == {
        "image": ("tensor(float)", [1, 3, 32, 32]), "regions": ("tensor(int64)", [1, "N", 4]),
    }  # fmt: skip
    assert shapes(encoder.get_outputs()) == {
        "geometry": ("tensor(float)", [1, "N", 5]), "features": ("tensor(float)", [1, "N", 4]),
    }  # fmt: skip
    assert shapes(decoder.get_inputs()) == {"feature_map": ("tensor(float)", [1, 4, 8, 8])}
    assert shapes(decoder.get_outputs()) == {"image": ("tensor(float)", [1, 3, 32, 32])}
    for model in models.values():
        config = json.loads(model.get_modelmeta().custom_metadata_map["gpstoken"])
        assert config == json.loads(json.dumps(tokenizer.config))


def test_the_models_do_not_name_files_of_the_machine_that_made_them(narrow):
    for path in narrow[2].iterdir():
        assert b".py" not in path.read_bytes()


def test_what_cannot_be_exported_is_named_before_any_work(tmp_path, narrow_generator, capsys):
    def refused(checkpoint, folder):
        assert main(["export", str(checkpoint), "--onnx", "-o", str(folder)]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    network = VQAutoencoder(8, 4, (8, 8), 1, 4)
    other = tmp_path / "vq.safetensors"
    write_weights(other, class_path_of(network), network.config, network.state_dict(), {})
    assert "vq.safetensors: --onnx takes a GPSToken, got a gpstoken.baselines.vq.VQAutoencoder" in refused(
        other, tmp_path / "models"
    )
    assert "vq.safetensors/encoder.onnx: cannot be written" in refused(narrow_generator["tokenizer"], other)
    assert "none.ckpt: no such tokenizer checkpoint" in refused(tmp_path / "none.ckpt", tmp_path / "models")
    assert not (tmp_path / "models").exists()
