import copy
import pickle
import re

import pytest
import torch

from gpstoken import Gaussians, load_generator
from gpstoken.files.released_layouts import convert
from gpstoken.generators.calls import Calls
from gpstoken.generators.loading import read_stage
from gpstoken.partition import max_regions

KINDS = {"texture": "two_stage.TwoStage", "one_stage": "flow.Flow", "grid": "flow.Flow"}


def load(paths, stage="texture", **changes):
    layout = {"layout": paths["layout"]} if stage == "texture" else {}
    return load_generator(paths[stage], **layout | changes)


def draw(generator, labels, indices=None, seed=0, **options):
    """All parts of samples, one after the other."""
    indices = range(len(labels)) if indices is None else indices
    parts = generator.sample(labels, indices, seed, generator.options(**options))
    return torch.cat([part.flatten(1) for part in parts.values()], dim=1)


def layouts_given_to(generator):
    """A list that fills with what the texture network is given."""
    seen = []
    generator.network.register_forward_pre_hook(
        lambda _, arguments, given: seen.append(given["layout"]), with_kwargs=True
    )
    return seen


@pytest.mark.parametrize("stage", KINDS)
def test_every_kind_makes_finite_images_of_its_tokenizer(narrow_generator, stage):
    generator, tokenizer, record = load(narrow_generator, stage)
    assert record["class_path"] == f"gpstoken.generators.{KINDS[stage]}"
    parts = generator.sample(torch.tensor([0, 2, 1]), range(3), 0, generator.options(steps=6))
    shapes = {"geometry": (3, 8, 5), "features": (3, 8, 4)} if stage != "grid" else {"latent": (3, 4, 4, 4)}
    shapes |= {"layout": (3, 8, 5)} if stage == "texture" else {}
    assert {name: tuple(part.shape) for name, part in parts.items()} == shapes
    with torch.no_grad():
        images = tokenizer.decode(tokenizer.unpack(parts))
    assert images.shape == (3, 3, 32, 32)
    assert images.isfinite().all()
    assert images.std() > 0


@pytest.mark.parametrize("sampler", ["sde", "ode"])
@pytest.mark.parametrize("stage", KINDS)
def test_a_sample_depends_on_its_number_and_not_on_its_batch(narrow_generator, stage, sampler):
    generator = load(narrow_generator, stage).generator
    labels = torch.tensor([0, 1, 2, 0, 1])
    options = {"steps": 5, "sampler": sampler, "seed": 3}
    together = draw(generator, labels, range(10, 15), **options)
    alone = draw(generator, labels[[3]], [13], **options)
    # Numbers are below 4 and the longest sums, of 64 terms, are off by sqrt(64) 2^-24 of that, 2e-6, in another order;
    # some ten follow each other in each of two networks, and the states of five steps add theirs: 100 at most.
    torch.testing.assert_close(together[[3]], alone, rtol=0, atol=2e-4)
    assert (together[3] - together[0]).abs().max() > 0.01  # the same class, another number
    other_seed = draw(generator, labels[[3]], [13], **options | {"seed": 4})
    assert (other_seed - alone).abs().max() > 0.01


def test_the_network_is_called_once_a_step_and_without_a_class_outside_the_interval_only(narrow_generator):
    generator = load(narrow_generator).generator
    seen = Calls(generator)
    draw(generator, torch.tensor([0, 1]), steps=250, guidance=1.5, guidance_interval=(0.2, 1.0))
    assert seen.calls == {"layout": 250, "texture": 250} and seen.total == 500
    assert seen.rows["layout"] == 250 * 2  # no guidance
    # Points 0.001 .. 0.96 in 249 equal steps and the last step at 0.96: those from 0.2 on have a second row a sample.
    inside = sum(0.2 <= 0.001 + (0.96 - 0.001) / 249 * step <= 1 for step in range(250))
    assert 150 < inside < 250
    assert seen.rows["texture"] == 250 * 2 + inside * 2
    draw(generator, torch.tensor([0, 1]), steps=10, guidance=1.5, guidance_interval=(0.99, 1.0))
    assert seen.rows["texture"] == 250 * 2 + inside * 2 + 10 * 2


@pytest.mark.parametrize(
    "options",
    [
        {}, {"method": "heun"}, {"last_step": "none"}, {"method": "heun", "last_step": "none"}, {"last_step": "euler"},
        {"sampler": "ode"}, {"sampler": "ode", "method": "heun"}, {"sampler": "ode", "method": "midpoint"},
    ],
    ids=str,
)  # fmt: skip
def test_calls_are_known_beforehand(narrow_generator, options):
    generator = load(narrow_generator).generator
    seen = Calls(generator)
    draw(generator, torch.tensor([0]), steps=5, **options)
    assert seen.total == generator.calls(generator.options(steps=5, **options))
    assert generator.calls(generator.options(sampler="ode", method="dopri5")) is None


def test_the_texture_stage_is_given_a_valid_partition(narrow_generator):
    generator = load(narrow_generator).generator
    seen = layouts_given_to(generator)
    draw(generator, torch.tensor([0, 1]), steps=4, guidance=1.0)
    layout = seen[0]
    # The inverse of Gaussians.from_regions: half-open boxes that tile 32 x 32 pixels.
    sides = (layout[..., :2] * 32 * 1.5 + 1).round()
    centres = (layout[..., 3:] + 1) / 2 * 31 + 0.5
    start = (centres - sides / 2).round().long()
    canvas = torch.zeros(2, 32, 32)
    for image, x, y, width, height in [
        (i, *start[i, j].tolist(), *sides[i, j].long().tolist()) for i in range(2) for j in range(8)
    ]:
        canvas[image, y : y + height, x : x + width] += 1
    assert (canvas == 1).all()
    assert max_regions(32, 32, 4) >= 8


@pytest.mark.parametrize("converted", [False, True])
def test_layouts_of_a_file_take_the_place_of_the_layout_stage(narrow_generator, tmp_path, converted):
    layouts = (torch.rand(3, 2, 8, 5) * 0.2 + 0.2).numpy()
    path = tmp_path / "layouts.pickle"
    path.write_bytes(pickle.dumps({label: list(layouts[label]) for label in range(3)}))
    if converted:
        convert(path, path := tmp_path / "layouts.safetensors")
    generator = load_generator(narrow_generator["texture"], path).generator
    seen = layouts_given_to(generator)
    draw(generator, torch.tensor([2, 0]), steps=3, guidance=1.0)
    for row, label in enumerate((2, 0)):
        assert any((seen[0][row].numpy() == each).all() for each in layouts[label])


def test_it_is_refused_with_another_tokenizer(narrow_generator, tmp_path):
    checkpoint = torch.load(narrow_generator["tokenizer"], weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if "conv_out" in name)
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name] + 1e-3
    other = tmp_path / "other.ckpt"
    torch.save(checkpoint, other)
    with pytest.raises(
        ValueError, match=r"the layout stage was trained on the tokens of tokenizer [0-9a-f]{12}, but this"
    ):
        load(narrow_generator, tokenizer=other)


@pytest.mark.parametrize(
    "stage, layout, message",
    [
        ("texture", None, "generator: Texture needs a layout stage or a file of layouts"),
        ("one_stage", "layout", "generator: Flow takes no layout"),
        ("layout", None, "generator: layouts alone make no image"),
        ("texture", "one_stage", "generator: expected a Layout before the Texture, got a Flow"),
    ],
)
def test_stages_that_do_not_belong_together_are_refused(narrow_generator, stage, layout, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        load_generator(narrow_generator[stage], layout and narrow_generator[layout])


def test_wrong_files_are_refused(narrow_generator, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt: no such checkpoint"):
        load_generator(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.ckpt: not a readable checkpoint"):
        read_stage(tmp_path / "text.ckpt")
    with pytest.raises(ValueError, match=r"tokenizer\.ckpt: not a generator checkpoint"):
        read_stage(narrow_generator["tokenizer"])
    checkpoint = torch.load(narrow_generator["grid"], weights_only=True)
    changed = copy.deepcopy(checkpoint)
    del changed["state_dict"]["averaged.module.network.x_embedder.proj.bias"]
    torch.save(changed, tmp_path / "short.ckpt")
    with pytest.raises(ValueError, match=r"tensor 'network\.x_embedder\.proj\.bias' is missing"):
        read_stage(tmp_path / "short.ckpt")


@pytest.mark.parametrize(
    "entry, value, message",
    [
        ("tokenizer", {"sha256": "00"}, "has no 'path'"),
        ("class_path", "os.system", "names a class outside this package, 'os.system'"),
        ("class_path", "gpstoken.tokenizer.GPSToken", "names gpstoken.tokenizer.GPSToken, which is not a generator"),
        ("class_path", None, "class_path: expected a text that is not empty, got None"),
        ("training", None, "training: expected an object, got None"),
        ("prediction", "speed", "prediction: expected one of 'velocity', 'score', 'noise', got 'speed'"),
        ("parts", 3, "parts: expected a list"),
        ("network", {"channels": 5, "shape": (8,), "width": 2**63}, "empty(): argument 'size'"),
        ("network", {"channels": 5, "shape": (8,), "depth": 10**9}, "depth is 1000000000, but the file has"),
        ("network", 5, "argument after ** must be a mapping, not int"),
        ("mean", torch.zeros(4), "tensor 'mean' has shape (4,), expected (5,)"),
        ("std", torch.full((5,), torch.nan), "tensor 'std' is not finite"),
    ],
)
def test_a_checkpoint_of_a_wrong_description_is_refused(narrow_generator, tmp_path, entry, value, message):
    checkpoint = torch.load(narrow_generator["layout"], weights_only=True)
    if isinstance(value, torch.Tensor):
        checkpoint["state_dict"][f"averaged.module.{entry}"] = value
    else:
        described = checkpoint["generator"]
        (described if entry in described else described["init_args"])[entry] = value
    torch.save(checkpoint, tmp_path / "forged.ckpt")
    with pytest.raises(ValueError, match=rf"forged\.ckpt: .*{re.escape(message)}"):
        read_stage(tmp_path / "forged.ckpt")


@pytest.mark.parametrize(("name", "value"), [("std", 0.0), ("std", -1.0), ("widths", 2)])
def test_damaged_statistics_are_refused(narrow_generator, tmp_path, name, value):
    checkpoint = torch.load(narrow_generator["grid"], weights_only=True)
    checkpoint["state_dict"][f"averaged.module.{name}"].fill_(value)
    torch.save(checkpoint, tmp_path / "forged.ckpt")
    generator = load_generator(tmp_path / "forged.ckpt").generator
    with pytest.raises(ValueError, match="generator: untrained, or damaged"):
        draw(generator, torch.tensor([0]), steps=2)


@pytest.mark.parametrize("labels", [torch.tensor([3]), torch.tensor([-1]), torch.tensor([[0]])])
def test_labels_out_of_range_are_refused(narrow_generator, labels):
    with pytest.raises(ValueError, match=r"^labels: expected long"):
        draw(load(narrow_generator, "grid").generator, labels, steps=3)


def test_calibrating_a_calibrated_layout_changes_nothing(narrow_generator):
    generator = load(narrow_generator).generator
    layout = generator.calibrate(torch.randn(4, 8, 5, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(generator.calibrate(layout), layout)
    assert isinstance(Gaussians.from_tensor(layout), Gaussians)
