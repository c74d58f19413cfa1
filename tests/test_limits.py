"""Every argument of what a row builds has a limit, and values outside it are refused in one line."""

import inspect
import math

import pytest
from torch import nn

import datamodules
from gpstoken import GPSToken, cli
from gpstoken.baselines.dc import DCAutoencoder
from gpstoken.baselines.dynamic_grain import DynamicGrainAutoencoder
from gpstoken.baselines.flextok import FlexTok
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.maetok import MAETok
from gpstoken.baselines.maskgit import MaskGITAutoencoder
from gpstoken.baselines.softvq import SoftVQ
from gpstoken.baselines.titok import TiTok
from gpstoken.baselines.vq import VQAutoencoder
from gpstoken.commands.messages import one_line
from gpstoken.generators.adm import ADM
from gpstoken.generators.adm_classifier import ADMClassifier
from gpstoken.generators.autoregressive import AutoregressiveGenerator
from gpstoken.generators.bits import BitGenerator
from gpstoken.generators.content_transformer import ContentTransformer
from gpstoken.generators.dit import DiT
from gpstoken.generators.dynamic_grain import Content
from gpstoken.generators.flow import Flow
from gpstoken.generators.grain_map import Grain
from gpstoken.generators.masked import MaskedGenerator
from gpstoken.generators.repa import REPA
from gpstoken.generators.titok import OneDPieceGenerator, TiTokGenerator, UViTGenerator
from gpstoken.sit import SiT
from gpstoken.training import AveragedWeights, LastCheckpoint, MetricsFile, ReconstructionPictures, TokenizerModule
from gpstoken.training.generator_module import GeneratorModule
from gpstoken.training.sample_pictures import SamplePictures
from gpstoken.training.snapshots import Snapshots

CLASSES = [
    GPSToken, SiT, KLAutoencoder, VQAutoencoder, MaskGITAutoencoder, TiTok, DCAutoencoder, SoftVQ, MAETok, FlexTok,
    DynamicGrainAutoencoder, ContentTransformer, Content, Grain, MaskedGenerator, TiTokGenerator, OneDPieceGenerator,
    UViTGenerator, BitGenerator, AutoregressiveGenerator, Flow, REPA, DiT, ADM, ADMClassifier, TokenizerModule,
    GeneratorModule, AveragedWeights, LastCheckpoint, MetricsFile, ReconstructionPictures, SamplePictures, Snapshots,
    *(getattr(datamodules, name) for name in datamodules.__all__),
]  # fmt: skip
NEEDED = {"root": "somewhere", "tokenizer": nn.Identity(), "generator": nn.Identity(), "channels": 5, "shape": (8,)}
NEEDED |= {"network": SiT(5, (8,), width=8, depth=1, heads=1), "parts": ("layout",)}


def arguments_of(kind):
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {each.name: each for each in parameters if each.name != "self" and each.kind != each.VAR_KEYWORD}


def is_a_part(parameter):  # a network, whose own arguments have their limits
    return isinstance(parameter.annotation, type) and issubclass(parameter.annotation, nn.Module)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_argument_has_a_limit(kind):
    wanted = {name for name, each in arguments_of(kind).items() if not is_a_part(each)}
    assert wanted == set(kind.__init__.limits)


CASES = [
    (kind, name, value)
    for kind in CLASSES
    for name, parameter in arguments_of(kind).items()
    if not is_a_part(parameter)
    for value in (-1, math.nan, math.inf, "", {1: 2}, object())
]


@pytest.mark.parametrize(("kind", "name", "value"), CASES)
def test_what_no_argument_can_be_is_refused_in_one_line(kind, name, value):
    needed = {each: NEEDED[each] for each, parameter in arguments_of(kind).items()
              if parameter.default is parameter.empty}  # fmt: skip
    if kind is datamodules.ImageDataModule:
        pytest.skip("abstract: its subclasses are tried")
    with pytest.raises(ValueError, match=rf"\A{name}: expected [^\n]*, got [^\n]*\Z"):
        kind(**needed | {name: value})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (GPSToken, "num_tokens", 0), (GPSToken, "num_tokens", -3), (GPSToken, "num_tokens", 100_000),
        (GPSToken, "depth", -1), (GPSToken, "roi_size", 0), (GPSToken, "image_size", 0),
        (GPSToken, "feature_channels", 0), (GPSToken, "stem_channels", 0), (GPSToken, "decoder_blocks", -1),
        (GPSToken, "grid_size", 0), (GPSToken, "lambda_", -1.0), (GPSToken, "support_factor", 0.0),
        (GPSToken, "min_region_size", 200), (GPSToken, "partition_backend", "gpu"), (GPSToken, "splat_backend", "x"),
        (GPSToken, "width", 100), (TokenizerModule, "accumulate", -1), (TokenizerModule, "accumulate", 0),
        (TokenizerModule, "adversarial_start", -1), (TokenizerModule, "discriminator_channels", 0),
        (TokenizerModule, "perceptual_weight", -1.0), (TokenizerModule, "adversarial_weight", math.nan),
        (AveragedWeights, "decay", math.nan), (Flow, "class_dropout", 2.0), (datamodules.Folder, "root", ""),
    ],
)  # fmt: skip
def test_what_was_accepted_once_is_refused(kind, name, value):
    needed = {each: NEEDED[each] for each, parameter in arguments_of(kind).items()
              if parameter.default is parameter.empty}  # fmt: skip
    with pytest.raises(ValueError, match=rf"\A{name}: expected [^\n]*, got [^\n]*\Z"):
        kind(**needed | {name: value})


def test_a_nested_complaint_becomes_one_line():
    message = """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'lightning.pytorch.core.module.LightningModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'gpstoken.training.TokenizerModule':
        Parser key "tokenizer":
          Problem with given class_path 'gpstoken.GPSToken':
            Option 'num_tokenz' is not accepted
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {}"""
    option = "--model.init_args.tokenizer.init_args.num_tokenz"
    assert one_line(message) == f"{option}: no such option of GPSToken; did you mean num_tokens?"


def test_help_lists_every_command_and_a_mistyped_one_is_named(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert len(cli.COMMANDS) == 26 and all(f"\n  {name} " in shown for name in cli.COMMANDS)
    assert cli.main(["fitt"]) == 2
    assert "did you mean fit?" in capsys.readouterr().err
    assert cli.main(["--version"]) == 0
