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
from gpstoken.blocks import TiledGroupNorm, swish
from gpstoken.decoder import Decoder

DECODER_MACS = 335.54e9  # multiply-adds of the released form at the paper's sizes, counted in tests/profiling


def released_form(tokenizer: GPSToken) -> GPSToken:
    """A tokenizer with the same weights that computes as the release does.

    It pools block by block, upsamples before convolving and interpolates the statistics of its decoder's norms to full
    size, even for one tile; its attention is unfused where it is called through `unfused`.
    """
    other = GPSToken(**tokenizer.config | {"fused": False, "norm": "released"})
    other.load_state_dict(tokenizer.state_dict())
    interpolate_statistics(other.decoder)
    return other.to(next(tokenizer.parameters()).device).eval()


def interpolate_statistics(decoder: Decoder) -> None:
    """Makes the norms interpolate their statistics to full size even for one tile, as the release does."""
    for module in decoder.modules():
        if isinstance(module, TiledGroupNorm):
            module.forward = module.interpolated


def unfused(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The call with its attention computed as two matrix products with a softmax between them."""

    def computed() -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return call()

    return computed


def run(device: str = "cpu") -> list[dict]:
    """Times the rewritten parts, then encoding and decoding as a whole, and a training step of the decoder.

    On a CPU a batch is one image, and torch chooses the number of threads. Our form is also timed compiled by
    torch.compile; on a GPU also in bfloat16, which takes minutes on a CPU without such instructions.

    Returns:
        Rows as `benchmarks.timing.compare` makes them, in milliseconds per image; difference is the largest deviation
        from the released form divided by the largest value.

    Raises:
        RuntimeError: if a rewrite disagrees with the released form.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = GPSToken.from_preset("gpstoken_m128").eval().to(device)
        theirs = released_form(ours)
    rows, batch = [], 1 if device == "cpu" else 8
    with torch.inference_mode():
        images = photographs()[:1].expand(batch, -1, -1, -1).contiguous().to(device)
        tokens = ours.encode(images)
        cells = ours.refine.align(ours.refine.stem(images), _boxes(ours, images))
        coarse = torch.randn(batch, 512, 64, 64, generator=torch.Generator().manual_seed(1)).to(device)
        image_wide = torch.randn(batch, 128, 256, 256, generator=torch.Generator().manual_seed(1)).to(device)
        image_wide = image_wide.contiguous(memory_format=torch.channels_last)
        # For each part, the multiply-adds and bytes per image that our form cannot avoid. Pooling mixes 64 cells into
        # 30, then maps 128 to 512 channels; of nine products per upsampled pixel four remain; a norm reads and writes.
        cases = {
            "pooling of regions for 30 blocks": (_pooling, cells, 30 * 128 * 128 * (64 + 512), 0),
            "x2 and convolution, 512 channels, 64 to 128": (_upsampling, coarse, 16 * 512 * 512 * 64 * 64, 0),
            "norm and swish, 128 channels": (_norm, image_wide, 0, 2 * image_wide[0].nbytes),
            "encode": (lambda tokenizer, images: tokenizer.encode(images).to_tensor(), images, 0, 0),
            "decode": (lambda tokenizer, tokens: tokenizer.decode(tokens), tokens, DECODER_MACS - 43e9, 0),
        }
        for name, (part, given, multiply_adds, moved_bytes) in cases.items():
            variants = {"released form": unfused(partial(part, theirs, given)), "ours": partial(part, ours, given)}
            if part not in (_pooling, _upsampling):  # one product each: nothing to fuse
                variants["ours, compiled"] = partial(torch.compile(part), ours, given)
            if name in ("encode", "decode") and device == "cuda":
                variants["ours, compiled, bfloat16"] = _bfloat16(partial(torch.compile(part), ours, given))
            case = f"{name}, M128, {batch} of 256 px"
            rows += _case(case, variants, multiply_adds, moved_bytes, batch, device)
    return rows + _recomputing(ours.decoder, batch, device)


def _case(
    name: str,
    variants: dict[str, Callable[[], Tensor | tuple[Tensor, ...]]],
    multiply_adds: float,
    moved_bytes: float,
    batch: int,
    device: str,
) -> list[dict]:
    # The outputs of pooling are stacked here, outside the timed call: stacking takes as long as pooling.
    given = {variant: call() for variant, call in variants.items()}
    whole = {name: torch.stack(value) if isinstance(value, tuple) else value for name, value in given.items()}
    expected, differences = next(iter(whole.values())), {}
    for variant, value in whole.items():
        differences[variant] = float((value - expected).abs().max() / expected.abs().max())
        if differences[variant] > 1e-4 and "bfloat16" not in variant:
            raise RuntimeError(
                f"benchmarks.networks: {name}: {variant} differs from the released form by {differences[variant]:.1e}"
            )
    clock = "cuda" if device == "cuda" else "wall"
    rounds = 5 if name.startswith("decode") and device == "cpu" else 9  # a call takes seconds
    rows = compare(name, variants, clock, rounds, batch)
    rows = with_floor(rows, multiply_adds, moved_bytes, device) if multiply_adds or moved_bytes else rows
    return [row | {"difference": differences[row["variant"]]} for row in rows]


def _bfloat16(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def rounded() -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return call()

    return rounded


def _recomputing(decoder: Decoder, batch: int, device: str) -> list[dict]:
    """Forward and backward of the decoder with its activations kept, and with them recomputed in the backward pass."""
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


def _pooling(tokenizer: GPSToken, cells: Tensor) -> tuple[Tensor, ...]:
    refine = tokenizer.refine
    return tuple((refine.pool_at_once if refine.fused else refine.pool)(cells))


def _upsampling(tokenizer: GPSToken, coarse: Tensor) -> Tensor:
    return tokenizer.decoder.levels[-1].upsample(coarse)


def _norm(tokenizer: GPSToken, image_wide: Tensor) -> Tensor:
    return swish(tokenizer.decoder.norm_out(image_wide))
