"""A tokenizer's two networks as ONNX models: what a program without torch needs, beside partition and renderer.

The partition decides by values and the renderer scatters, which ONNX does not express well, so both stay outside: the
encoder is given regions, and the decoder a feature map.
"""

import json
import warnings
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from gpstoken.tokenizer import GPSToken

PACKAGES = ("onnx", "onnxscript")
# 20 is the first with Gelu as one operator; onnxruntime has it since 1.17, and onnxruntime-web too.
OPSET = 20
MOST_BYTES = 2**31 - 2**20  # protobuf's limit for a message, less what the graph itself takes


class _Encoder(nn.Module):
    """`GPSToken.encode` of one tile with given regions, its result as tensors."""

    def __init__(self, tokenizer: GPSToken) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, image: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.tokenizer.encode(image, regions=regions)
        return tokens.gaussians.to_tensor(), tokens.features


def onnx_models(tokenizer: GPSToken) -> dict[str, bytes]:
    """The encoder and the decoder of one tile, which read and give what `GPSToken` does, without its checks.

    encoder: image float32[1, 3, S, S] in [-1, 1] and regions int64[1, N, 4], half-open pixel boxes as `partition`
    gives them, to geometry float32[1, N, 5] in the order of `Gaussians.to_tensor` and features float32[1, N, C]. N may
    differ from call to call.

    decoder: feature_map float32[1, C, g, g], as `GPSToken.render` gives it, to image float32[1, 3, S, S], about [-1, 1]
    and not clamped.

    Args:
        tokenizer: the tokenizer; S is its `image_size` and g its `grid_size`.

    Returns:
        The models by name, "encoder" and "decoder". The property "gpstoken" of each holds the arguments of the
        tokenizer as JSON, of which partition and renderer need a few.

    Raises:
        ValueError: if a package is missing, or the weights do not fit in one file.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ValueError(f"onnx: needs the package {missing[0]}: pip install 'gpstoken[onnx]'")
    if 4 * sum(parameter.numel() for parameter in tokenizer.parameters()) > MOST_BYTES:
        raise ValueError("onnx: weights of more than 2 GiB do not fit in one ONNX file")
    side, grid = tokenizer.image_size, tokenizer.grid_size
    regions = torch.tensor([[[0, 0, side, side]] * 3])  # the number in the example becomes a variable
    feature_map = torch.zeros(1, tokenizer.config["feature_channels"], grid, grid)
    encoder, count = _Encoder(tokenizer), torch.export.Dim("N", min=1)
    inputs = {"image": torch.zeros(1, 3, side, side), "regions": regions}
    shapes = {"image": None, "regions": {1: count}}
    models = {
        "encoder": _model(encoder, inputs, ["geometry", "features"], shapes),
        "decoder": _model(tokenizer.decoder, {"feature_map": feature_map}, ["image"]),
    }
    for model in models.values():
        entry = model.metadata_props.add()
        entry.key, entry.value = "gpstoken", json.dumps(tokenizer.config, sort_keys=True)
    return {name: model.SerializeToString(deterministic=True) for name, model in models.items()}


def _model(network: nn.Module, inputs: dict[str, Tensor], outputs: list[str], shapes: dict | None = None) -> Any:
    """A network as an ONNX model, without the notes on its making, which name files of this machine."""
    # With gradients off, torch's attention takes a fast path that has no ONNX operator.
    with warnings.catch_warnings(), torch.enable_grad():
        # Torch's -1, as many samples as a cell has pixels, is ONNX's 0.
        warnings.filterwarnings("ignore", message="ONNX export for RoIAlign with a non-zero sampling_ratio")
        program = torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
        )
    model = program.model_proto
    model.graph.ClearField("metadata_props")
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
    return model
