"""Every stage of the tokenizer against vectors of the released code, at reduced width."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gpstoken import Gaussians, GPSToken, Tokens
from gpstoken.blocks import TiledGroupNorm, fold_tiles, unfold_tiles
from gpstoken.decoder import SpatialAttention
from gpstoken.files.checkpoints import read_released
from gpstoken.gaussians import merge_tiles
from gpstoken.refine import Refine

GOLDEN = Path(__file__).parent / "golden"
VECTORS = np.load(GOLDEN / "tokenizer_tiny_io.npz")
UNITS = np.load(GOLDEN / "units.npz")
FLOAT32_ERRORS = json.loads((GOLDEN / "tokenizer_tiny_meta.json").read_text())["float32_run_abs_err_and_scale"]
STAGES = ["stem_sample", "roi_align_sample", "roi_feat_mean", "embed0", "block_out", "delta", "tokens"]


def golden(name, vectors=VECTORS):
    return torch.from_numpy(vectors[name]).double()


def error(actual, expected):
    """Largest difference over the largest value."""
    assert actual.shape == expected.shape
    return ((actual.double() - expected).abs().max() / expected.abs().max()).item()


# Both sides compute in float64 and the vectors are stored in float32: half a unit in the last place, 6e-8 of the value,
# where a vector is compared with itself, and that rounding amplified by the network where it is an input.
FLOAT64 = 1e-6


def float32(name):
    """The released code in float32 differs from itself in float64 by as much; ours, summing in another order, by twice.

    The two errors are independent, so that both may add up.
    """
    return 2 * FLOAT32_ERRORS[name] / FLOAT32_ERRORS[f"{name}_scale"]


def load(dtype, norm="released"):
    tokenizer = GPSToken(
        num_tokens=32, feature_channels=8, grid_size=16, width=64, depth=2, decoder_channels=32,
        decoder_multipliers=(1, 2, 2), decoder_blocks=2, norm=norm, fused=False,
    )  # fmt: skip
    weights = GOLDEN / "tokenizer_tiny_weights_fp16.safetensors"
    tokenizer.load_state_dict(read_released(weights, tokenizer.state_dict()))
    return tokenizer.to(dtype).eval()


@torch.no_grad()
def record(dtype):
    """What each stage gives for the golden images, by the names of the vectors."""
    tokenizer = load(dtype)
    refine, outputs = tokenizer.refine, {}

    def keep(name, change=lambda value: value):
        return lambda module, inputs, output: outputs.__setitem__(name, change(output))

    refine.stem.register_forward_hook(keep("stem_sample", lambda x: x[:, ::8, ::16, ::16]))
    refine.project.register_forward_pre_hook(lambda _, inputs: outputs.update(roi_align_sample=inputs[0][:, ::8]))
    refine.project.register_forward_hook(keep("roi_feat_mean", lambda x: x.mean(dim=(2, 3))))
    refine.blocks[0].register_forward_pre_hook(lambda _, inputs: outputs.update(embed0=inputs[0]))
    for index, block in enumerate(refine.blocks):
        block.register_forward_hook(keep(index))
    refine.to_offset.register_forward_hook(keep("delta"))
    pixels = torch.from_numpy(VECTORS["images"]).permute(0, 3, 1, 2)
    outputs["tokens"] = tokenizer.encode((pixels.float() / 127.5 - 1).to(dtype)).to_tensor()
    outputs["block_out"] = torch.stack([outputs.pop(0), outputs.pop(1)])
    return outputs


@pytest.fixture(scope="module")
def stages64():
    return record(torch.float64)


@pytest.fixture(scope="module")
def stages32():
    return record(torch.float32)


@pytest.mark.parametrize("name", STAGES)
def test_encoder_stage(name, stages64):
    assert error(stages64[name], golden(name)) < FLOAT64


@pytest.mark.parametrize("name", STAGES)
def test_encoder_stage_in_float32(name, stages32):
    assert error(stages32[name], golden(name)) < float32(name)


def test_initial_gaussians_of_released_regions():
    x0, y0, x1, y1 = ((golden("regions") + 1) / 2 * 255).round().long().unbind(-1)
    layout = Gaussians.from_regions(torch.stack([x0, y0, x1 + 1, y1 + 1], dim=-1), (256, 256))
    # from_regions computes in float32, as the release: one unit in the last place of a value up to 1, on either side.
    assert (layout.to_tensor() - golden("init_gpscodes")).abs().max() <= 2 * torch.finfo(torch.float32).eps


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, lambda _: FLOAT64), (torch.float32, float32)])
def test_render_and_decode(dtype, tolerance):
    tokenizer, tokens = load(dtype), Tokens.from_tensor(golden("tokens").to(dtype))
    assert error(tokenizer.render(tokens), golden("rendered")) < tolerance("rendered")
    assert error(tokenizer.decode(tokens), golden("decoded")) < tolerance("decoded")


@torch.no_grad()
def test_plain_group_norm_differs_by_its_epsilon():
    # sqrt(var + 1e-6) against std + 1e-6: a few 1e-6 of the scale a norm at deviations about 1, over a dozen norms.
    difference = error(load(torch.float64, "plain").decode(Tokens.from_tensor(golden("tokens"))), golden("decoded"))
    assert FLOAT64 < difference < 2e-5


def test_tiles_merge():
    tiles = golden("np2_tokens")
    merged = merge_tiles(Gaussians.from_tensor(tiles[..., :5]), (2, 2)).to_tensor()
    expected = golden("np2_merged_tokens")
    # The release merges tokens that it holds in float64; here they come from float32.
    assert error(merged, expected[..., :5]) < FLOAT64
    assert torch.equal(tiles[..., 5:].reshape(1, 128, 8), expected[..., 5:])


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, lambda _: FLOAT64), (torch.float32, float32)])
def test_merged_tiles_render_and_decode(dtype, tolerance):
    tokenizer, tokens = load(dtype), Tokens.from_tensor(golden("np2_merged_tokens").to(dtype), (512, 512))
    assert error(tokenizer.render(tokens), golden("np2_rendered")) < tolerance("np2_rendered")
    assert error(tokenizer.decode(tokens), golden("np2_decoded")) < tolerance("np2_decoded")


@pytest.mark.parametrize("n", [1, 2])
def test_tiled_group_norm(n):
    norm = TiledGroupNorm(32, 64, "released").double()
    norm.load_state_dict({name: golden(f"norm_np{n}_{name}", UNITS) for name in ("weight", "bias")})
    assert error(norm(golden(f"norm_np{n}_in", UNITS), (n, n)), golden(f"norm_np{n}_out", UNITS)) < FLOAT64


@pytest.mark.parametrize("n", [1, 2])
def test_fold_and_unfold(n):
    tiles, image = golden(f"fold_np{n}_tiles", UNITS), golden(f"fold_np{n}_image", UNITS)
    assert torch.equal(unfold_tiles(tiles, (n, n)), image)
    assert torch.equal(fold_tiles(image, (n, n)), tiles)


def test_region_pooling():
    refine = Refine(1, width=5, depth=0, stem_channels=5, norm_groups=1).double()
    for box, expected in zip(golden("roi_boxes", UNITS), golden("roi_out", UNITS), strict=True):
        image = golden("roi_in", UNITS)[int(box[0])]
        pooled = refine.align(image[None], box[None, None, 1:])
        assert error(pooled, expected.flatten(1)[None, None]) < FLOAT64


def test_decoder_attention():
    attention = SpatialAttention(32, 32).double()
    released = {"norm": "norm", "query": "q", "key": "k", "value": "v", "out": "proj_out"}
    attention.load_state_dict(
        {
            f"{ours}.{kind}": golden(f"attn_{theirs}.{kind}", UNITS)
            for ours, theirs in released.items()
            for kind in ("weight", "bias")
        }
    )
    assert error(attention(golden("attn_in", UNITS)), golden("attn_out", UNITS)) < FLOAT64
