"""Networks of GPSToken-M128 on 256 x 256 pixels: our exact rewrites against the released form, with equal weights."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.partition import photographs
from benchmarks.splat import peak_extra_bytes
from benchmarks.timing import compare, with_floor
from gpstoken import GPSToken
from gpstoken.blocks import TiledGroupNorm
from gpstoken.decoder import Decoder
from gpstoken.refine import Refine

DECODER_MACS = 335.54e9  # of the released form; spec of the paper's sizes, counted in tests/profiling


def released_form(tokenizer: GPSToken) -> GPSToken:
    """A tokenizer of equal weights that computes as the release.

    It pools block by block, upsamples before convolving and brings the statistics of its decoder's norms to full size,
    for one tile too; its attention is unfused under `unfused_attention`.
    """
    other = GPSToken(**tokenizer.config | {"fused": False, "norm": "released"})
    other.load_state_dict(tokenizer.state_dict())
    for module in other.decoder.modules():
        if isinstance(module, TiledGroupNorm):
            module.forward = module.interpolated
    return other.to(next(tokenizer.parameters()).device).eval()


def unfused_attention() -> sdpa_kernel:
    """Attention by two matrix products and a softmax in between."""
    return sdpa_kernel(SDPBackend.MATH)


def run(device: str = "cpu") -> list[dict]:
    """Times the parts that are rewritten, then encoding and decoding as a whole, and a training step of the decoder.

    On a CPU by one image and as many threads as torch takes.

    Returns:
        Rows as `benchmarks.timing.compare` makes them, in milliseconds an image.

    Raises:
        RuntimeError: if a rewrite gives something else than the released form.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = GPSToken.from_preset("gpstoken_m128").eval().to(device)
        theirs = released_form(ours)
    with torch.inference_mode():
        batch = 1 if device == "cpu" else 8
        images = photographs()[:1].expand(batch, -1, -1, -1).contiguous().to(device)
        tokens = ours.encode(images)
        cells = ours.refine.align(ours.refine.stem(images), _boxes(ours, images))
        coarse = torch.randn(batch, 512, 64, 64, generator=torch.Generator().manual_seed(1)).to(device)
        # Multiply-adds of an image that ours cannot leave out: pooling mixes 64 cells into 30, then takes 128 to 512
        # channels; of nine products of an upsampled pixel four remain.
        cases = {
            "pooling of regions for 30 blocks": (
                _pooling(theirs.refine, cells), _pooling(ours.refine, cells), 30 * 128 * 128 * (64 + 512)
            ),
            "x2 and convolution, 512 channels, 64 to 128": (
                _upsampling(theirs, coarse), _upsampling(ours, coarse), 16 * 512 * 512 * 64 * 64
            ),
            "encode": (lambda: theirs.encode(images).to_tensor(), lambda: ours.encode(images).to_tensor(), None),
            "decode": (lambda: theirs.decode(tokens), lambda: ours.decode(tokens), DECODER_MACS - 43e9),
        }  # fmt: skip
        rows = []
        for name, (released, rewritten, multiply_adds) in cases.items():
            rows += _case(f"{name}, M128, {batch} of 256 px", released, rewritten, multiply_adds, batch, device)
    return rows + _recomputing(ours.decoder, batch, device)


def _case(
    name: str, released: Callable[[], Tensor], rewritten: Callable[[], Tensor], multiply_adds: float | None, batch: int,
    device: str,
) -> list[dict]:  # fmt: skip
    def theirs() -> Tensor:
        with unfused_attention():
            return released()

    difference = float((theirs() - rewritten()).abs().max() / rewritten().abs().max())
    if difference > 1e-4:
        raise RuntimeError(
            f"benchmarks.networks: {name}: the rewrite differs from the released form by {difference:.1e}"
        )
    clock = "cuda" if device == "cuda" else "wall"
    rounds = 5 if name.startswith("decode") and device == "cpu" else 9  # seconds each
    rows = compare(name, {"released form": theirs, "ours": rewritten}, clock, rounds, batch)
    rows = with_floor(rows, multiply_adds, 0, device) if multiply_adds else rows
    return [row | {"difference": difference} for row in rows]


def _recomputing(decoder: Decoder, batch: int, device: str) -> list[dict]:
    """Forward and backward of the decoder with its activations kept, and computed again for the backward pass."""
    feature_map = torch.randn(batch, decoder.conv_in.in_channels, 32, 32, device=device)

    def step(recompute: bool) -> None:
        decoder.recompute = recompute
        decoder(feature_map).square().sum().backward()
        decoder.zero_grad()

    clock = "cuda" if device == "cuda" else "wall"
    calls = {"activations kept": partial(step, False), "recomputed": partial(step, True)}
    name = f"decoder, forward + backward, M128, {batch} of 128 px"
    rows = compare(name, calls, clock, 5, batch)
    peak = {name: peak_extra_bytes(call) / 2**20 for name, call in calls.items()} if device == "cpu" else {}
    return [row | ({"peak_mib": peak[row["variant"]]} if peak else {}) for row in rows]


def _boxes(tokenizer: GPSToken, images: Tensor) -> Tensor:
    return tokenizer._layout_of_tiles(images, None, None, None)[1]


def _pooling(refine: Refine, cells: Tensor) -> Callable[[], Tensor]:
    pool = refine.pool_at_once if refine.fused else refine.pool
    return lambda: torch.stack(tuple(pool(cells)), 2)


def _upsampling(tokenizer: GPSToken, coarse: Tensor) -> Callable[[], Tensor]:
    return lambda: tokenizer.decoder.levels[-1].upsample(coarse)
