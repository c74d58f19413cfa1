"""`gpstoken encode` and `gpstoken decode`: photographs to token files, and token files to pictures."""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpstoken.commands.parser import Parser, positive
from gpstoken.commands.photo_files import find_inputs, work_on_each
from gpstoken.commands.photo_memory import check_memory
from gpstoken.devices import to_device
from gpstoken.drawing import contact_sheet, picture_row, to_picture
from gpstoken.files.pictures import ENDINGS, MAX_PIXELS, pixel_limit, printable, read_picture
from gpstoken.images import load_image, pad, save_image, save_picture
from gpstoken.tokenizer import PRESETS, GPSToken
from gpstoken.tokens import Tokens


def main(arguments: list[str]) -> int:
    """Runs `encode` or `decode`, with a line on stdout for each file.

    A file that cannot be processed gives one line on stderr instead, and the others are still processed.

    Returns:
        0, or 2 if a file failed or there was none.

    Raises:
        ValueError: if the tokenizer, the device or the output folder cannot be used.
    """
    options = _parse(arguments)
    suffix = (".safetensors",) if options.command == "decode" else ENDINGS
    inputs, complaints = find_inputs(options.files, suffix)
    for complaint in complaints:
        print(f"gpstoken: {complaint}", file=sys.stderr)
    if not inputs:
        return 2
    tokenizer = _load_tokenizer(options)
    folder = Path(options.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output folder {folder}: cannot be created ({error.strerror})") from error
    limit = pixel_limit() if options.max_pixels is None else options.max_pixels
    if options.command == "decode":
        suffixes, work = (".png",), partial(decode_file, tokenizer, max_pixels=limit)
    else:
        suffixes = (".safetensors", ".png") if options.draw else (".safetensors",)
        work = partial(encode_file, tokenizer, size=options.size, num_tokens=options.tokens)
        work = partial(work, max_pixels=limit, measure=not options.quiet)
    done = work_on_each(inputs, folder, suffixes, work, options.quiet)
    return 0 if done and not complaints else 2


def encode_file(
    tokenizer: GPSToken,
    path: Path,
    outputs: list[Path],
    size: int = 0,
    num_tokens: int | None = None,
    max_pixels: int | None = None,
    measure: bool = True,
) -> str:
    """Tokenizes one photograph.

    Args:
        tokenizer: the tokenizer.
        path: the photograph.
        outputs: the token file, and optionally the picture of input, initial and refined Gaussians, reconstruction.
        size: side of the centre square in pixels; 0 is the whole photo, padded to the tokenizer's grid.
        num_tokens: number for the whole image; None is the tokenizer's own number, in proportion to the area.
        max_pixels: the most pixels that a photograph may have; None: see `pixel_limit`.
        measure: whether to decode the tokens, for the PSNR.

    Returns:
        A line: size, padding and tiles where there are any, tokens, bytes, bits per pixel, PSNR of the round trip as
        8-bit pictures.

    Raises:
        ValueError: if the file is not a photograph, or the tokenizer cannot take its size.
    """
    photo = load_image(read_picture(path, max_pixels=max_pixels), size or None).to(tokenizer.last_layer.device)
    height, width = photo.shape[-2:]
    # A photo whose size happens to fit the grid is tiled like photos of similar size, not tokenized as a whole.
    canvas = tokenizer.canvas.enlarged((height, width))
    check_memory(tokenizer, canvas, decodes=measure or bool(outputs[1:]))
    image = pad(photo, canvas)
    with torch.inference_mode():
        tokens = tokenizer.encode(image, num_tokens)
        if canvas != (height, width):
            tokens = replace(tokens, size=(height, width), canvas=canvas)
        tokens.save(outputs[0])
        size_of_file = outputs[0].stat().st_size
        line = f"{height}x{width}, "
        if canvas != (height, width):
            line += "padded to {}x{}, ".format(*canvas)
        if (tiles := tokenizer.canvas.tiles(canvas)) != (1, 1):
            line += "in {}x{} tiles, ".format(*tiles)
        line += f"{len(tokens)} tokens, {size_of_file:,} bytes"
        line += f", {8 * size_of_file / (height * width):.3g} bits per pixel"
        if measure or outputs[1:]:
            reconstruction = tokenizer.decode(tokens, canvas[0] * canvas[1])  # the photo's size was checked above
            line += f", PSNR {_psnr(photo[0], reconstruction[0]):.2f} dB"
        for output in outputs[1:]:
            layouts = [tokenizer.layout(image, len(tokens)), tokens.gaussians]
            save_picture(contact_sheet([picture_row(photo, layouts, reconstruction, canvas=canvas)]), output)
    return f"{line} -> {printable(outputs[0])}"


def decode_file(tokenizer: GPSToken, path: Path, outputs: list[Path], max_pixels: int | None = None) -> str:
    """Decodes the tokens of one image to a PNG.

    Args:
        tokenizer: the tokenizer.
        path: the token file.
        outputs: the picture.
        max_pixels: the most pixels that an image may have; None: see `pixel_limit`.

    Returns:
        A line: size, the padded size that it is cropped from, tokens.

    Raises:
        ValueError: if the file holds no tokens, those of several images, of an image that is too large, or those of
            another kind of tokenizer.
    """
    limit = pixel_limit() if max_pixels is None else max_pixels
    tokens = Tokens.load(path, limit)
    if len(tokens.features) != 1:
        raise ValueError(f"holds the tokens of {len(tokens.features)} images, expected one image")
    check_memory(tokenizer, tokenizer.canvas.of_tokens(tokens.size, tokens.canvas, limit), decodes=True)
    weight = tokenizer.last_layer
    with torch.inference_mode():
        image = tokenizer.decode(tokens.to(weight.device, weight.dtype), limit)
    save_image(image, outputs[0])
    cropped = "" if tokens.canvas is None else "cropped from {}x{}, ".format(*tokens.canvas)
    return f"{image.shape[-2]}x{image.shape[-1]}, {cropped}{len(tokens)} tokens -> {printable(outputs[0])}"


def _psnr(photo: Tensor, reconstruction: Tensor) -> float:
    """PSNR in dB of float[3, H, W] images as 8-bit pictures; infinite if they are equal."""
    before, after = (np.asarray(to_picture(image), np.float32) for image in (photo, reconstruction))
    error = float(np.square(before - after).mean())
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def _parse(arguments: list[str]) -> argparse.Namespace:
    model = Parser(add_help=False)
    source = model.add_mutually_exclusive_group()
    trained = "a tokenizer: last.ckpt of `gpstoken fit`, a file of `gpstoken export`, or small (default)"
    source.add_argument("--checkpoint", metavar="FILE", default="small", help=trained)
    source.add_argument("--pretrained", metavar="FILE", help="the paper's released weights (safetensors)")
    model.add_argument("--preset", choices=tuple(PRESETS), help="the preset of the weights of --pretrained")
    model.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write to")
    model.add_device()
    model.add_argument("--quiet", action="store_true", help="print no line per file, and no PSNR, which needs decoding")
    pixels = f"the most pixels of a photo (default: {MAX_PIXELS:,}, or GPSTOKEN_MAX_PIXELS)"
    model.add_argument("--max-pixels", type=positive, metavar="N", help=pixels)
    parser = Parser(description="Photographs to tokens and back.")
    commands = parser.add_subparsers(dest="command", required=True)
    encode = commands.add_parser("encode", parents=[model], help="photographs to DIR/<stem>.safetensors")
    encode.add_argument("files", nargs="+", metavar="IMAGE", help="a photograph, a folder of them or a glob pattern")
    encode.add_argument("--size", type=int, default=0, help="side of the centre square; 0 (default): the whole photo")
    tokens = "tokens per image (default: the tokenizer's number, in proportion to the area)"
    encode.add_argument("--tokens", type=positive, metavar="N", help=tokens)
    encode.add_argument(
        "--draw", action="store_true", help="also write DIR/<stem>.png: input, Gaussians, reconstruction"
    )
    decode = commands.add_parser("decode", parents=[model], help="token files to DIR/<stem>.png")
    decode.add_argument("files", nargs="+", metavar="TOKENS", help="a token file, a folder of them or a glob pattern")
    options = parser.parse_args(arguments)
    if (options.pretrained is None) != (options.preset is None):
        parser.error("--pretrained and --preset go together")
    if options.command == "encode" and options.size < 0:
        parser.error(f"--size: expected at least 0, got {options.size}")
    return options


def _load_tokenizer(options: argparse.Namespace) -> GPSToken:
    name = options.checkpoint if options.pretrained is None else options.pretrained
    return to_device(GPSToken.from_pretrained(name, options.preset), options.device)
