"""The generators' network against vectors of the released code, diffusers' DiT, and plain torch."""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from gpstoken.sit import PRESETS, SiT
from gpstoken.sit_blocks import Block, sine_cosine_positions

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = GOLDEN / "sit_tiny_weights_fp16.safetensors"
VECTORS = np.load(GOLDEN / "sit_tiny_io.npz")
TINY = {"channels": 13, "shape": (32,), "width": 64, "depth": 2, "heads": 4, "num_classes": 10}


def golden(name, dtype=torch.float32):
    tensor = torch.from_numpy(VECTORS[name])
    tensor = tensor[..., 0].transpose(1, 2) if tensor.dim() == 4 else tensor  # theirs are [B, C, N, 1]
    return tensor if tensor.dtype == torch.long else tensor.to(dtype)


def released():
    return SiT.from_pretrained(WEIGHTS, "gpstoken_texture", **TINY)


def perturbed(network):
    """Away from the initialisation, where every block is the identity and the output zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def small(**arguments):
    torch.manual_seed(0)
    return perturbed(SiT(**{"width": 32, "depth": 2, "heads": 4, "num_classes": 10} | arguments))


def inputs(network, batch=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, *network.sample_shape, generator=generator, dtype=dtype)
    layout = torch.rand(batch, *network.shape, 5, generator=generator, dtype=dtype) if network.layout_channels else None
    return x, torch.linspace(0.1, 0.9, batch, dtype=dtype), torch.arange(batch), layout


# The released network


# The vectors are a float32 run. In float64 ours differs from it by that run's own rounding, measured 2.4e-7 of the
# largest value; in float32 by ours as well, measured 3.4e-7. Four and six times that, for other kernels' order of sums.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-6)])
@pytest.mark.parametrize("name", ["v", "v_nocond"])
def test_forward_is_that_of_the_release(name, dtype, tolerance):
    layout = golden("cond", dtype) if name == "v" else None
    with torch.no_grad():
        velocity = released().to(dtype)(golden("x", dtype), golden("t", dtype), golden("y"), layout)
    expected = golden(name, torch.float64)
    assert velocity.dtype == dtype and velocity.shape == expected.shape
    assert (velocity - expected).abs().max() < tolerance * expected.abs().max()


def test_released_names_and_shapes_are_ours():
    weights, ours = load_file(WEIGHTS), SiT(**TINY, layout_channels=5).state_dict()
    assert {name: tensor.shape for name, tensor in weights.items()} == {n: tensor.shape for n, tensor in ours.items()}


def test_the_order_of_the_tokens_does_not_matter_with_a_layout():
    network, order = released().double(), torch.randperm(32, generator=torch.Generator().manual_seed(3))
    x, t, label, layout = (golden(name, torch.float64) for name in ("x", "t", "y", "cond"))
    with torch.no_grad():
        straight, shuffled = network(x, t, label, layout), network(x[:, order], t, label, layout[:, order])
        positioned = network(x[:, order], t, label)
    # The same sums in another order, in float64.
    torch.testing.assert_close(shuffled, straight[:, order], rtol=0, atol=1e-12)
    assert (positioned - network(x, t, label)[:, order]).abs().max() > 0.1  # with positions it does


# Sizes: DiT's and SiT's papers, the paper's table (33 + 675 M) and the counts of the released code

MILLIONS = {
    "sit_s_2": 32.963, "sit_b_2": 130.512, "sit_b_4": 130.476, "sit_l_2": 458.103, "sit_xl_2": 675.130,
    "gpstoken_texture": 676.335, "gpstoken_layout": 32.902,
}  # fmt: skip
# Billions of multiplications with an addition for one sample, attention included: DiT's paper, and measurements of the
# released code.
GIGAMACS = {
    "gpstoken_texture": 58.5, "gpstoken_layout": 2.88, "sit_xl_2": 118.6, "sit_b_4": 5.57, "sit_s_2": 6.06,
    "sit_l_4": 19.7,
}  # fmt: skip


@torch.no_grad()
def run_on_meta(preset, **overrides):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = SiT.from_preset(preset, **overrides)
        layout = torch.empty(1, *network.shape, 5) if network.layout_channels else None
        x = torch.empty(1, *network.sample_shape)
        assert network(x, torch.empty(1), torch.empty(1, dtype=torch.long), layout).shape == x.shape
    return network, counter.get_total_flops() / 2e9


@pytest.mark.parametrize("preset", sorted({*MILLIONS, *GIGAMACS}))
def test_presets_have_the_published_sizes(preset):
    network, gigamacs = run_on_meta(preset)
    if preset in MILLIONS:
        assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 3) == MILLIONS[preset]
    if preset in GIGAMACS:
        assert gigamacs == pytest.approx(GIGAMACS[preset], rel=0.005)  # their last digit


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_what_their_names_say(preset):
    network, _ = run_on_meta(preset, depth=1)
    if preset.startswith("sit"):
        _, size, patch = preset.split("_")
        width, depth, heads = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "xl": (1152, 28, 16)}[size]
        assert (network.config["width"], PRESETS[preset]["depth"], network.config["heads"]) == (width, depth, heads)
        assert network.cells == (32 // int(patch), 32 // int(patch)) and network.channels == 4
    else:
        assert network.sample_shape == (128, 21 if "texture" in preset else 5)
        assert network.cells[0] == (32 if "b4" in preset else 128)
        assert network.layout_channels == (5 if preset == "gpstoken_texture" else 0)


# Other people's implementations


@pytest.mark.parametrize(("size", "patch_size", "learn_sigma"), [(8, 2, True), (12, 4, False)])
def test_grids_are_diffusers_dit(size, patch_size, learn_sigma):
    from diffusers import DiTTransformer2DModel

    ours = small(channels=3, shape=(size, size), patch_size=patch_size, learn_sigma=learn_sigma).double()
    with torch.no_grad():
        ours.pos_embed.copy_(sine_cosine_positions((size // patch_size,) * 2, 32))
    theirs = DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=8, in_channels=3, out_channels=6 if learn_sigma else 3, num_layers=2,
        sample_size=size, patch_size=patch_size, num_embeds_ada_norm=10,
    ).double().eval()  # fmt: skip
    state = {}
    for name, tensor in ours.state_dict().items():
        if name.endswith(("qkv.weight", "qkv.bias")):
            block, kind = name.split(".")[1], name.rpartition(".")[2]
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                state[f"transformer_blocks.{block}.attn1.to_{letter}.{kind}"] = part
            continue
        for block in range(2):
            for part, other in {
                f"blocks.{block}.attn.proj": f"transformer_blocks.{block}.attn1.to_out.0",
                f"blocks.{block}.mlp.fc1": f"transformer_blocks.{block}.ff.net.0.proj",
                f"blocks.{block}.mlp.fc2": f"transformer_blocks.{block}.ff.net.2",
                f"blocks.{block}.adaLN_modulation.1": f"transformer_blocks.{block}.norm1.linear",
                "t_embedder.mlp.0": f"transformer_blocks.{block}.norm1.emb.timestep_embedder.linear_1",
                "t_embedder.mlp.2": f"transformer_blocks.{block}.norm1.emb.timestep_embedder.linear_2",
                "y_embedder": f"transformer_blocks.{block}.norm1.emb.class_embedder",
                "x_embedder.proj": "pos_embed.proj",
                "final_layer.adaLN_modulation.1": "proj_out_1",
                "final_layer.linear": "proj_out_2",
            }.items():
                if name.startswith(part):
                    state[name.replace(part, other)] = tensor
    theirs.load_state_dict(state)
    for block in theirs.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0  # DiT's own frequencies: diffusers strays from them
    # diffusers embeds the time in float32: angles exact to 5e-7 (exp of numbers down to -9), which the weights amplify.
    x, t, label, _ = inputs(ours, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(x, timestep=t, class_labels=label).sample[:, :3]
        torch.testing.assert_close(ours(x, t, label), expected, rtol=0, atol=1e-5 * expected.abs().max())


@pytest.mark.parametrize("qk_norm", [False, True])
def test_a_block_is_its_equation(qk_norm):
    torch.manual_seed(0)
    block = perturbed(Block(32, 4, qk_norm)).double()
    x, condition = torch.randn(2, 7, 32, dtype=torch.float64), torch.randn(2, 32, dtype=torch.float64)
    p = dict(block.named_parameters())

    def norm(x, weight=1.0, bias=0.0, eps=1e-6):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    steer = linear(condition / (1 + torch.exp(-condition)), "adaLN_modulation.1")[:, None]
    shift1, scale1, gate1, shift2, scale2, gate2 = (steer[..., 32 * i : 32 * (i + 1)] for i in range(6))
    qkv = linear(norm(x) * (1 + scale1) + shift1, "attn.qkv")
    heads = []
    for head in range(4):
        q, k, v = (qkv[..., 32 * i + 8 * head : 32 * i + 8 * (head + 1)] for i in range(3))
        if qk_norm:
            q = norm(q, p["attn.q_norm.weight"], p["attn.q_norm.bias"], 1e-5)
            k = norm(k, p["attn.k_norm.weight"], p["attn.k_norm.bias"], 1e-5)
        weight = torch.exp(q @ k.mT / math.sqrt(8))
        heads.append(weight / weight.sum(-1, keepdim=True) @ v)
    y = x + gate1 * linear(torch.cat(heads, -1), "attn.proj")
    hidden = linear(norm(y) * (1 + scale2) + shift2, "mlp.fc1")
    hidden = hidden / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    expected = y + gate2 * linear(hidden, "mlp.fc2")
    torch.testing.assert_close(block(x, condition), expected, rtol=1e-12, atol=1e-12)  # float64 on both sides


def test_positions_by_hand():
    # One wavelength an axis, 2 pi; the column comes first. Rows 0 and 1, columns 0, 1 and 2.
    s1, c1, s2, c2 = 0.841471, 0.540302, 0.909297, -0.416147
    grid = [[0, 1, 0, 1], [s1, c1, 0, 1], [s2, c2, 0, 1], [0, 1, s1, c1], [s1, c1, s1, c1], [s2, c2, s1, c1]]
    torch.testing.assert_close(sine_cosine_positions((2, 3), 4)[0], torch.tensor(grid), rtol=0, atol=1e-6)
    # Two: 2 pi and 200 pi, sines first.
    sequence = [[0, 0, 1, 1], [s1, 0.0099998, c1, 0.99995], [s2, 0.0199987, c2, 0.9998]]
    torch.testing.assert_close(sine_cosine_positions((3,), 4)[0], torch.tensor(sequence), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("shape", "patch_size"), [((4, 8), 2), ((8,), 4)])
def test_patches_return_to_their_place(shape, patch_size):
    # Without blocks, with identities in and out, the network normalises each patch by itself.
    patch = (patch_size, patch_size) if len(shape) == 2 else (patch_size, 1)
    values = 3 * math.prod(patch)
    network = SiT(3, shape, patch_size, width=values, depth=0, heads=1, learn_sigma=False)
    with torch.no_grad():
        network.pos_embed.zero_()
        network.x_embedder.proj.weight.copy_(torch.eye(values).unflatten(1, (3, *patch)))
        channels_last = torch.eye(values).unflatten(0, (3, -1)).transpose(0, 1).flatten(0, 1)
        network.final_layer.linear.weight.copy_(channels_last)
    x, t, label, _ = inputs(network)
    grid = x if len(shape) == 2 else x.mT[..., None]
    normal = F.layer_norm(F.unfold(grid, patch, stride=patch).mT, (values,), eps=1e-6).mT
    expected = F.fold(normal, grid.shape[2:], patch, stride=patch)
    expected = expected if len(shape) == 2 else expected[..., 0].mT
    torch.testing.assert_close(network(x, t, label), expected, rtol=0, atol=1e-5)


# Training

KINDS = {
    "texture": {"channels": 9, "shape": (6,), "layout_channels": 5},
    "one_stage": {"channels": 9, "shape": (6,)},
    "layout_b4": {"channels": 5, "shape": (8,), "patch_size": 4, "qk_norm": True},
    "grid": {"channels": 4, "shape": (4, 8), "patch_size": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainable_parameter_gets_a_gradient(kind):
    network = small(**KINDS[kind])
    network(*inputs(network)).square().sum().backward()
    zero = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert zero == []
    assert network.pos_embed.requires_grad == (kind in ("one_stage", "layout_b4"))


def test_it_begins_as_dit_does():
    torch.manual_seed(0)
    network = SiT(4, (8, 8), 2, width=128, depth=2, heads=4, num_classes=500)
    assert not network(*inputs(network)).any()
    state = network.state_dict()
    fans = {"x_embedder.proj": (16, 128), "blocks.1.attn.qkv": (128, 384), "blocks.0.mlp.fc2": (512, 128)}
    for name, fan in fans.items():
        bound = math.sqrt(6 / sum(fan))  # xavier: uniform up to it; of at least 2048 draws the largest is within 1 %
        assert 0.99 * bound < state[f"{name}.weight"].abs().max() <= bound and not state[f"{name}.bias"].any()
    for name in ("y_embedder.embedding_table", "t_embedder.mlp.0", "t_embedder.mlp.2"):
        # 0.02, of at least 16384 draws: 5 standard errors are 3 %
        assert state[f"{name}.weight"].std().item() == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize("kind", ["texture", "grid"])
def test_it_compiles_as_one_graph(kind):
    network = small(**KINDS[kind])
    x, t, label, layout = inputs(network)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t, label, layout), network(x, t, label, layout))
    torch.compiler.reset()


def test_bfloat16_is_close():
    network = small(**KINDS["texture"])
    x, t, label, layout = inputs(network, batch=4)
    with torch.no_grad():
        exact = network(x, t, label, layout)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(x, t, label, layout)
        whole = network.bfloat16()(x.bfloat16(), t, label, layout.bfloat16())
    # bfloat16 rounds by up to 2^-9 = 0.2 %; a few dozen roundings on the way add up to 1 or 2 %.
    for rough in (mixed, whole):
        assert (rough.float() - exact).norm() < 0.03 * exact.norm()


# Files


def variant(tmp_path, form):
    weights = load_file(WEIGHTS)
    raw = {name: tensor + 1 for name, tensor in weights.items()}
    path = tmp_path / ("weights.safetensors" if "safetensors" in form else "weights.pt")
    if form == "safetensors":
        save_file(weights, path)
    elif form == "ema safetensors":
        averaged = {f"ema_model.{name}": tensor for name, tensor in weights.items()}
        save_file({**averaged, **{f"model.{name}": tensor for name, tensor in raw.items()}}, path)
    elif form == "flat":
        torch.save(weights, path)
    else:
        arguments = argparse.Namespace(model="SiT-XL/2", image_size=256)
        torch.save({"model": raw, "ema": weights, "opt": {"state": {}, "param_groups": []}, "args": arguments}, path)
    return path


@pytest.mark.parametrize("form", ["safetensors", "ema safetensors", "flat", "training"])
def test_every_form_of_released_weights_loads(tmp_path, form):
    network = SiT.from_pretrained(variant(tmp_path, form), "gpstoken_texture", **TINY)
    assert not network.training
    assert all(torch.equal(network.state_dict()[name], tensor.float()) for name, tensor in load_file(WEIGHTS).items())


@pytest.mark.parametrize("form", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos_embed": None}, "tensor 'pos_embed' is missing"),
        ({"extra": torch.zeros(1)}, "unknown tensor 'extra'"),
        ({"t_embedder.mlp.2.bias": torch.zeros(3)}, r"'t_embedder\.mlp\.2\.bias' has shape \(3,\), expected \(64,\)"),
    ],
    ids=["missing", "unknown", "misshapen"],
)
def test_the_first_wrong_tensor_is_named(tmp_path, form, change, message):
    weights = {name: tensor for name, tensor in (load_file(WEIGHTS) | change).items() if tensor is not None}
    (save_file if form.endswith("safetensors") else torch.save)(weights, tmp_path / form)
    with pytest.raises(ValueError, match=rf"\A\S*weights\.\w+: .*{message}\Z"):
        SiT.from_pretrained(tmp_path / form, "gpstoken_texture", **TINY)


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a readable checkpoint"),
        ({"ema": Hostile()}, "not a readable checkpoint"),
        ([1, 2], "neither a state dict nor"),
        ({"ema": 3}, "neither a state dict nor"),
        ({"step": 3}, "neither a state dict nor"),
    ],
    ids=["no file", "code", "list", "no weights", "numbers"],
)
def test_other_files_are_refused(tmp_path, capsys, content, message):
    if content is not None:
        torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=rf"\A\S*other\.pt: {message}.*\Z"):
        SiT.from_pretrained(tmp_path / "other.pt", "gpstoken_texture", **TINY)
    assert capsys.readouterr().out == ""


def test_the_configuration_is_plain_data_that_makes_the_network_again(tmp_path):
    network = SiT.from_preset("gpstoken_texture", **TINY | {"qk_norm": True})
    torch.save(network.config, tmp_path / "config.pt")
    again = SiT(**torch.load(tmp_path / "config.pt", weights_only=True))
    assert again.config == network.config | {"shape": (32,)}
    again.load_state_dict(network.state_dict())


# Bad arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4, 4, 4)}, "shape: expected"),
        ({"shape": (6,), "patch_size": 4}, "multiples of patch_size 4"),
        ({"shape": (8, 6), "patch_size": 4}, "multiples of patch_size 4"),
        ({"shape": (8,), "patch_size": 0}, "patch_size: expected a whole number of at least 1"),
        ({"shape": (8,), "heads": 5}, "multiple of heads 5"),
        ({"shape": (4, 4), "width": 30, "heads": 2}, "of heads 2 and of 4"),
        ({"shape": (4, 4), "layout_channels": 5}, "layout_channels: needs a sequence"),
        ({"shape": (8,), "patch_size": 4, "layout_channels": 5}, "layout_channels: needs a sequence"),
    ],
)
def test_impossible_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        SiT(**{"channels": 3, "width": 32, "depth": 1, "heads": 4} | arguments)


def test_unknown_presets_are_refused():
    with pytest.raises(ValueError, match=r"preset: expected one of sit_s_2, .*, got 'sit_xxl_2'"):
        SiT.from_preset("sit_xxl_2")


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("texture", {"x": torch.zeros(2, 9, 6)}, r"x: expected samples of shape \(6, 9\), got \(9, 6\)"),
        ("grid", {"x": torch.zeros(2, 4, 8, 4)}, r"x: expected samples of shape \(4, 4, 8\), got \(4, 8, 4\)"),
        ("texture", {"layout": torch.zeros(1, 6, 5)}, r"layout: expected \(2, 6, 5\), got one of shape \(1, 6, 5\)"),
        ("one_stage", {"layout": torch.zeros(2, 6, 5)}, "layout: expected none, got one"),
    ],
)
def test_tensors_of_another_shape_are_refused(kind, change, message):
    network = small(**KINDS[kind])
    arguments = dict(zip(("x", "t", "label", "layout"), inputs(network), strict=True)) | change
    with pytest.raises(ValueError, match=message):
        network(**arguments)
