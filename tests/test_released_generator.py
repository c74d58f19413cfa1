import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gpstoken import GPSToken, cli, load_generator
from gpstoken.commands.released_generator import convert, read_statistics
from gpstoken.files.checkpoints import RELEASED_NAMES, rename_released
from gpstoken.sit import SiT

TOKENIZER = {
    "num_tokens": 8, "feature_channels": 4, "image_size": 32, "grid_size": 8, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_blocks": 1, "norm_groups": 2,
    "min_region_size": 4,
}  # fmt: skip
TEXTURE = {"channels": 9, "shape": (8,), "width": 16, "depth": 1, "heads": 2, "num_classes": 3}


@pytest.fixture
def files(tmp_path):
    """The files of a release of narrow networks: averaged names, a nested configuration, layouts in a pickle."""
    torch.manual_seed(0)
    texture = SiT.from_preset("gpstoken_texture", **TEXTURE)
    for parameter in texture.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    weights = texture.state_dict()
    # as an EMA wrapper saves: the raw weights beside the averaged ones
    save_file(
        {f"ema_model.{name}": tensor for name, tensor in weights.items()}
        | {f"online_model.{name}": tensor + 1 for name, tensor in weights.items()},
        tmp_path / "texture.safetensors",
    )
    tokenizer = GPSToken.from_preset("gpstoken_m128", **TOKENIZER)
    names = released_names(tokenizer)
    save_file(
        {names[name]: tensor for name, tensor in tokenizer.state_dict().items()}, tmp_path / "tokenizer.safetensors"
    )
    config = (
        "model:\n  params:\n    means: [0, 0, 0, 0, 0, .1, .1, .1, .1]\n    stds: [.1, .1, .2, .1, .1, 1, 1, 1, 1]\n"
    )
    (tmp_path / "generator.yaml").write_text(config)
    layouts = {label: np.full((2, 8, 5), 0.2 + 0.1 * label, dtype=np.float32) for label in range(3)}
    (tmp_path / "initg.pickle").write_bytes(pickle.dumps(layouts))
    return tmp_path, texture, tokenizer


def released_names(tokenizer):
    """Our name -> the released one, found by trying: the rules are one way."""
    assert RELEASED_NAMES
    guesses = {
        "refine.stem.": "preprocess_img.", "refine.project.": "roialign_layer.", "refine.query": "gps_embed.weight",
        "refine.embed.": "gps_embed_layer.", "refine.blocks.": "attnblocks.", "refine.to_offset.": "to_gps.0.",
        "refine.to_features.": "to_gps.1.", "decoder.middle": "decoder.mid.block_",
        "decoder.attention.norm.": "decoder.mid.attn_1.norm.", "decoder.attention.query.": "decoder.mid.attn_1.q.",
        "decoder.attention.key.": "decoder.mid.attn_1.k.", "decoder.attention.value.": "decoder.mid.attn_1.v.",
        "decoder.attention.out.": "decoder.mid.attn_1.proj_out.", "decoder.levels.": "decoder.up.",
        ".pool.": ".roimlp.", ".blocks.": ".block.", ".attention.": ".attn1.", ".norm": ".ln", ".upsample.":
        ".upsample.conv.", ".shortcut.": ".nin_shortcut.",
    }  # fmt: skip
    found = {}
    for name in tokenizer.state_dict():
        tried = {name}
        for ours, theirs in guesses.items():
            tried |= {each.replace(ours, theirs) for each in tried}
        if "unused_time_projections" in name:
            number, part = name.split(".")[-2:]
            tried.add(f"preprocess_img.{int(number) + 1}.temb_proj.{part}")
        found[name] = next(each for each in sorted(tried) if rename_released(each) == name)
    return found


def convert_all(folder, **changes):
    paths = {name: folder / name for name in ("texture.safetensors", "tokenizer.safetensors", "generator.yaml")}
    convert(*paths.values(), folder / "out", tokenizer_options=TOKENIZER, **TEXTURE | changes)


def test_a_released_generator_samples_with_its_layouts(files):
    folder, texture, tokenizer = files
    convert_all(folder)
    generator, read, _ = load_generator(folder / "out" / "texture.ckpt", folder / "initg.pickle")
    for name, tensor in texture.state_dict().items():  # the averaged ones
        assert torch.equal(generator.network.state_dict()[name], tensor)
    for name, tensor in tokenizer.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)
    assert generator.texture.std.tolist() == pytest.approx([0.1, 0.1, 0.2, 0.1, 0.1, 1, 1, 1, 1])
    tokens = read.unpack(generator.sample(torch.tensor([0, 2]), range(2), 0, generator.options(steps=4)))
    # residuals of deviation .1 around layouts of .2 and .4
    assert tokens.gaussians.sigma[1].mean() > tokens.gaussians.sigma[0].mean()
    with torch.no_grad():
        assert read.decode(tokens).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: 1", "expected a list of numbers named means"),
        ("means: [1, 2]\nstds: [1, 1]", "means has 2 numbers, but the network has 3 channels"),
        ("means: [1, 2, 3]", "expected a list of numbers named stds"),
        ("means: [1, 2, x]\nstds: [1, 1, 1]", "expected a list of numbers named means"),
        ("means: [1, 2, 3]\nstds: [1, 0, 1]", "stds must be above 0"),
        ("means: [1", "not a readable YAML file"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_statistics(path, 3)


def test_the_command_says_what_is_wrong_in_one_line(files, capsys):
    folder, *_ = files
    paths = [str(folder / name) for name in ("texture.safetensors", "tokenizer.safetensors", "generator.yaml")]
    assert cli.main(["released-generator", *paths, "-o", str(folder / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "has shape" in error  # the narrow network is not the paper's
    assert not (folder / "out").exists()
