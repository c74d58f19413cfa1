"""Published sizes, multiply-adds and weights of the masked generators.

The oracles are the figures of the suite's notes (systems.md, sections 2 and 3), and the slow forward passes of
`masked_reference`.
"""

import time
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gpstoken.baselines.published import licence_of, read_published
from gpstoken.generators.bits import BitGenerator
from gpstoken.generators.masked import MaskedGenerator
from gpstoken.generators.titok import OneDPieceGenerator, TiTokGenerator, UViTGenerator
from gpstoken.profiling.counting import network_counts
from gpstoken.profiling.shapes import without_weights
from tests.files.packing import nested, packed
from tests.generators import masked_reference as reference

SIZES = {"shape": (5,), "num_classes": 3, "width": 12, "heads": 3}
SHAPE = (7, 3, 5, 12, 3, 3)  # codes, classes, length, width, depth, heads
DEEPER = (7, 3, 5, 12, 5, 3)  # two skip connections, so that their order matters
BITS = (6, 2, 3, 5, 12, 3)  # bits, groups, classes, length, width, depth
ROWS = {
    "maskgit": (MaskedGenerator, SIZES | {"codebook_size": 7, "depth": 3}, partial(reference.maskgit_shapes, *SHAPE)),
    "titok_b64": (TiTokGenerator, SIZES | {"codebook_size": 7, "depth": 3}, partial(reference.titok_shapes, *SHAPE)),
    "titok_s128": (UViTGenerator, SIZES | {"codebook_size": 7, "depth": 5}, partial(reference.uvit_shapes, *DEEPER)),
    "maskbit": (BitGenerator, SIZES | {"bits": 6, "depth": 3}, partial(reference.maskbit_shapes, *BITS)),
}


@pytest.fixture(params=ROWS)
def row(request):
    return request.param


@pytest.fixture
def loaded(row):
    """A tiny generator with random weights, and these under their published names."""
    kind, sizes, shapes = ROWS[row]
    weights = reference.random_weights(shapes(), 1)
    generator = kind(**sizes).double().eval()
    generator.load_state_dict(generator.own_names(weights))
    return generator, weights


# Millions of parameters: section 2, to its last digit. MaskBit's is there a range over 10 to 18 bits, 304.7 to 305.7;
# its layers of 14 bits have, with 12 w^2 + 13 w a block (w = 1024):
W = 1024
MASKBIT = (
    24 * (12 * W**2 + 13 * W) + 257 * W + 1001 * W + 15 * W  # positions, classes, 14 bits and bias
    + 2 * W + (W**2 + W + 2 * W) + 257 * 256  # first norm, last layer, prediction of 256 from 256 of 1024
    + (W - 256) * 256
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "arguments", "millions", "multiply_adds"),
    [
        (MaskedGenerator, {}, 172.46, 93.3),
        (TiTokGenerator, {}, 177.23, 22.8),
        (OneDPieceGenerator, {"shape": [256]}, 177.37, None),
        (UViTGenerator, {}, 294.99, 76.1),
        (BitGenerator, {}, MASKBIT / 1e6, None),
        (BitGenerator, {"bits": 10}, 304.7, None),
        (BitGenerator, {"bits": 18}, 305.7, None),
    ],
)
def test_the_published_size(kind, arguments, millions, multiply_adds):
    start = time.process_time()
    with torch.device("meta"):
        generator = kind(**arguments)
    assert time.process_time() - start < 10
    counted = sum(parameter.numel() for parameter in generator.parameters()) / 1e6
    assert counted == pytest.approx(millions, abs=0.05 if "bits" in arguments else 0.005)
    assert len(list(generator.blocks())) == generator.config["depth"]
    if multiply_adds is not None:  # section 3, GFLOPs of one image: its last digit is one of three
        found = 2 * network_counts(without_weights(partial(kind, **arguments), ())).total / 1e9
        assert found == pytest.approx(multiply_adds, abs=0.05)


def test_a_maskbit_call_by_hand():
    # 257 tokens: 24 blocks of 12 w^2 and two products of attention of 257 w a token each; without the class, the layers
    # before and after: 14 w, w^2 and 256 w.
    expected = 257 * (24 * (12 * W**2 + 2 * 257 * W)) + 256 * (14 * W + W**2 + 256 * W)
    assert network_counts(without_weights(BitGenerator, ())).total == expected


@torch.no_grad()
def test_published_weights_do_what_is_described(row, loaded):
    generator, weights = loaded
    chance = torch.Generator().manual_seed(2)
    depth, heads = generator.config["depth"], generator.config["heads"]
    # About 40 layers in float64, each with sums of at most 48 products and a rounding of 1e-16: less than 1e-12 of the
    # largest value even if all errors add up; values are of the order of 1 to 10.
    close = {"rtol": 0, "atol": 1e-10}
    for label in (0, 2, generator.num_classes) if row != "maskgit" else (0, 2):
        words = torch.randint(generator.choices, (2, generator.places), generator=chance)
        words[:, ::3] = generator.mask
        labels = torch.tensor([label, 1])
        if row == "maskbit":
            # Bits typed as the notes say: the first group holds the least significant bits, a masked group is 0.
            bits = torch.zeros(2, 5, 6, dtype=torch.float64)
            for image, place, bit in np.ndindex(2, 5, 6):
                word = int(words[image, 2 * place + bit // 3])
                bits[image, place, bit] = 0 if word == 8 else 2 * (word >> bit % 3 & 1) - 1
            found = generator.network(bits, labels)
            expected = [reference.maskbit(weights, *each, depth, heads) for each in zip(bits, labels, strict=True)]
            torch.testing.assert_close(generator.bits_of(words), bits)
        else:
            # MaskGIT: codes, classes, mask; TiTok: codes, mask, classes, and the hidden class.
            first, mask = (7, 10) if row == "maskgit" else (8, 7)
            assert generator.mask == mask
            whole = torch.cat([labels[:, None] + first, words], dim=1)
            found = generator.network(whole)
            slow = {"maskgit": reference.maskgit, "titok_b64": reference.titok, "titok_s128": reference.uvit}[row]
            expected = [slow(weights, each, depth, heads) for each in whole]
        torch.testing.assert_close(found, torch.stack(expected), **close)
        assert found.std() > 0.1
        # What the sampler gets: the logits of the codes' words alone.
        got = generator.logits(words, labels)[..., : generator.choices]
        inner = found[:, 1:, :7] if row == "maskgit" else found.reshape(2, generator.places, generator.choices)
        torch.testing.assert_close(got, inner.float())


def test_every_tensor_is_used(row, loaded):
    generator, weights = loaded
    state = generator.state_dict()
    own = generator.own_names(weights)
    assert own.keys() == state.keys() and all(own[name].shape == tensor.shape for name, tensor in state.items())
    kinds = "network.bert.embeddings.token_type_embeddings.weight"
    added = {kinds} if row == "maskgit" else set()
    assert not own[kinds].any() if added else True  # BERT's own addition
    for name, tensor in weights.items():  # each published tensor is one of ours, as a whole
        same = [
            each for each, value in own.items()
            if value.numel() == tensor.numel() and torch.equal(value.flatten().sort()[0], tensor.flatten().sort()[0])
        ]  # fmt: skip
        assert same, name
        added |= set(same)
    assert added == own.keys()


def saved(path, row, weights):
    """A file as it is published: JAX's of MaskGIT, in the state of a training; torch's of the others."""
    weights = {name: tensor.float().contiguous() for name, tensor in weights.items()}
    if row != "maskgit":
        save_file(weights, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    tree = nested({name: tensor.numpy() for name, tensor in weights.items()})
    state = {"param_states": {"Embed_0": np.zeros(3, np.float32)}, "step": np.zeros((), np.int32)}
    path.write_bytes(packed({"step": 7, "optimizer": {"state": state, "target": tree}}))
    return path


def test_a_published_file(tmp_path, row, loaded):
    generator, weights = loaded
    generator.float()
    path = saved(tmp_path / "checkpoint", row, weights)
    found = read_published(path, generator)
    expected = generator.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    assert licence_of(type(generator)) == {"licence": "Apache-2.0"}
    missing = list(weights)[-1]
    for changed, message in (
        ({name: tensor for name, tensor in weights.items() if name != missing}, "is missing"),
        (weights | {"nobody.knows": torch.zeros(1)}, "unknown tensor 'n"),
        (weights | {missing: torch.full_like(weights[missing], torch.nan)}, "is not finite"),
    ):
        path = saved(tmp_path / "changed", row, changed)
        with pytest.raises(ValueError, match=message) as caught:
            read_published(path, generator)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_counter_in_older_files_is_left_out(loaded, row):
    generator, weights = loaded
    if row == "titok_b64":
        assert generator.own_names(weights | {"model.embeddings.position_ids": torch.arange(6)}).keys() == (
            generator.state_dict().keys()
        )
