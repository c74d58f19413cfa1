"""What tests of several packages share."""

import os
import platform
from functools import partial
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported

# Tests whose results another instruction set, number of threads or batch may round otherwise: `make test-numeric`.
NUMERIC = (
    "baselines", "calibrate", "flow", "generators", "metrics", "partition", "splat",
    "test_gaussians.py", "test_losses.py", "test_perceptual.py", "test_released_generator.py",
    "test_rewrites.py", "test_sit.py", "test_tokenizer.py", "test_tokenizer_golden.py",
    "training/test_averaging.py", "training/test_cache.py", "training/test_evaluate.py", "training/test_loss_terms.py",
    "training/test_latent_terms.py", "training/test_precision.py", "training/test_training_resume.py",
)  # fmt: skip


def pytest_report_header() -> str:
    """Under which arithmetic the tests ran: a log without it cannot say where they pass."""
    instructions = torch.backends.cpu.get_cpu_capability()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "not limited")
    return (
        f"arithmetic: torch {torch.__version__} with {instructions} on {platform.machine()}, "
        f"{torch.get_num_threads()} threads, oneDNN {limit}"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the numeric tests by where they lie."""
    folder = Path(__file__).parent
    numeric = [folder / each for each in NUMERIC]
    for item in items:
        if any(item.path.is_relative_to(each) for each in numeric):
            item.add_marker("numeric")


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory):
    """torch-fidelity's Inception with random weights that keep the scale of its activations, as a file."""
    from torch_fidelity import feature_extractor_inceptionv3  # takes seconds, which pytest's first process saves

    extractor = feature_extractor_inceptionv3.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(extractor, "load_state_dict", lambda *_, **__: None)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = extractor("inception-v3-compat", ["2048"])
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    torch.nn.init.uniform_(module.weight, 2.0, 3.0)
                    torch.nn.init.normal_(module.bias, std=0.1)
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


NARROW_TOKENIZER = {
    "num_tokens": 8, "feature_channels": 4, "image_size": 32, "grid_size": 8, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_blocks": 1, "norm_groups": 2,
    "min_region_size": 4,
}  # fmt: skip


@pytest.fixture(scope="session")
def make_tokenizer():
    """(settings, **overrides) to a GPSToken whose offsets are not zero, as they are before training."""
    from gpstoken import GPSToken

    def make(settings, **overrides):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            tokenizer = GPSToken(**settings | overrides).eval()
            torch.nn.init.normal_(tokenizer.refine.to_offset.weight, std=0.2)
        return tokenizer

    return make


@pytest.fixture(scope="session")
def narrow_tokenizer(make_tokenizer):
    """(**overrides) to a GPSToken of a few thousand weights, for images of 32 pixels unless told."""
    return partial(make_tokenizer, NARROW_TOKENIZER)


@pytest.fixture(scope="session")
def some_image():
    """(*shape, dtype) of [B, H, W] to float[B, 3, H, W] of smooth noise: regions of unlike complexity."""

    def make(*shape, dtype=torch.float32):
        coarse = torch.rand(shape[0], 3, 9, 9, generator=torch.Generator().manual_seed(1)) * 2 - 1
        return torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear").to(dtype)

    return make


# Class, parts and their channels, network.
NARROW_STAGES = {
    "layout": ("two_stage.Layout", {"layout": 5}, {"channels": 5, "shape": [8]}),
    "texture": (
        "two_stage.Texture", {"residual": 5, "features": 4}, {"channels": 9, "shape": [8], "layout_channels": 5},
    ),
    "one_stage": ("flow.Flow", {"geometry": 5, "features": 4}, {"channels": 9, "shape": [8]}),
    "grid": ("flow.Flow", {"latent": 4}, {"channels": 4, "shape": [4, 4], "patch_size": 2}),
}  # fmt: skip


@pytest.fixture(scope="session")
def narrow_generator(tmp_path_factory):
    """Checkpoints of two narrow tokenizers and of all four stages with random weights, by name, in one folder.

    "tokenizer" is a GPSToken, "autoencoder" a KLAutoencoder, the stages as `gpstoken.training.snapshots` writes them.
    """
    from gpstoken import GPSToken
    from gpstoken.base import Generator
    from gpstoken.baselines.kl import KLAutoencoder
    from gpstoken.generators.loading import AVERAGED, describe
    from gpstoken.loading import class_of, class_path_of, tokenizer_hash
    from gpstoken.sit import SiT

    folder = tmp_path_factory.mktemp("generator")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        described, paths = {}, {}
        for name, tokenizer in {
            "tokenizer": GPSToken(**NARROW_TOKENIZER),
            "autoencoder": KLAutoencoder(4, (4, 4, 8, 8), 1, 2),
        }.items():
            weights = {f"tokenizer.{key}": value for key, value in tokenizer.state_dict().items()}
            entry = {"class_path": class_path_of(tokenizer), "init_args": tokenizer.config}
            paths[name] = folder / f"{name}.ckpt"
            torch.save({"tokenizer": entry, "state_dict": weights, "global_step": 3}, paths[name])
            described[name] = entry | {"sha256": tokenizer_hash(tokenizer), "path": str(paths[name])}
        for stage, (kind, parts, config) in NARROW_STAGES.items():
            network = SiT(**config, width=16, depth=1, heads=2, num_classes=3)
            for parameter in network.parameters():  # as made it predicts zero
                parameter.data += 0.1 * torch.randn_like(parameter)
            channels = config["channels"]
            # sigma about .3, |rho| small, centres all over the canvas
            mean = [0.3, 0.3, 0.0, 0.0, 0.0] if stage in ("layout", "one_stage") else [0.0] * 5
            std = [0.1, 0.1, 1.0, 0.5, 0.5] if stage == "layout" else [0.05] * 5
            mean = (mean + [0.1] * channels)[:channels] if stage != "grid" else [0.1] * channels
            std = (std + [0.8] * channels)[:channels] if stage != "grid" else [0.8] * channels
            generator = class_of(f"gpstoken.generators.{kind}", Generator)(network, tuple(parts))
            generator.mean.copy_(torch.tensor(mean))
            generator.std.copy_(torch.tensor(std))
            generator.widths.copy_(torch.tensor(list(parts.values())))
            entry = describe(generator, described["autoencoder" if stage == "grid" else "tokenizer"], 4)
            weights = {f"{AVERAGED}{key}": value for key, value in generator.state_dict().items()}
            paths[stage] = folder / f"{stage}.ckpt"
            torch.save({"generator": entry, "state_dict": weights, "global_step": 7}, paths[stage])
    return paths


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium, which the tests of a module share."""
    from tests.reports.chrome import Chrome  # here: most tests need no playwright

    browser = Chrome(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
