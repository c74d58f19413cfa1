"""`gpstoken encode` and `gpstoken decode`: photographs to token files, and token files to pictures."""

import argparse
import glob
import sys
from collections.abc import Callable
from functools import partial
from math import gcd
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from gpstoken.devices import to_device
from gpstoken.drawing import contact_sheet, picture_row, to_picture
from gpstoken.files.writing import replacing
from gpstoken.tokenizer import PRESETS, GPSToken
from gpstoken.tokens import Tokens

# Ending of a photograph -> its reader. PIL may use no other: some of them start programs (EPS) or are no pictures.
FORMATS = {
    ".bmp": "BMP", ".jpeg": "JPEG", ".jpg": "JPEG", ".pgm": "PPM", ".png": "PNG", ".ppm": "PPM",
    ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Runs `encode` or `decode`.

    A file that cannot be worked is one line on stderr, and the rest goes on.

    Returns:
        0, or 2 if a file failed or there was none.

    Raises:
        ValueError: if the tokenizer, the device or the output folder cannot be used.
    """
    options = _parse(arguments)
    suffix = (".safetensors",) if options.command == "decode" else tuple(FORMATS)
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
        raise ValueError(f"output folder {folder}: cannot be made ({error.strerror})") from error
    if options.command == "decode":
        done = _each(inputs, folder, (".png",), lambda path, outputs: decode_file(tokenizer, path, outputs[0]))
    else:
        size = tokenizer.image_size if options.size is None else options.size
        if size:
            tokenizer.tiles((size, size))  # a size that does not fit is no fault of the photos
        suffixes = (".safetensors", ".png") if options.draw else (".safetensors",)
        work = partial(encode_file, tokenizer, size=size, num_tokens=options.tokens)
        done = _each(inputs, folder, suffixes, work)
    return 0 if done and not complaints else 2


def find_inputs(names: list[str], endings: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """The files that names stand for.

    Args:
        names: files, folders (their visible files with one of `endings`, without subfolders) or glob patterns.
        endings: in lower case, with the dot.

    Returns:
        (the files, each once, in the order of the names; a line for each name that stands for none).
    """
    found: dict[Path, Path] = {}
    complaints = []
    for name in names:
        if Path(name).is_dir():
            matches = [path for path in _glob(f"{glob.escape(name)}/*") if path.suffix.lower() in endings]
        else:
            # A file may have brackets in its name: what exists is no pattern.
            matches = [Path(name)] if Path(name).exists() else _glob(name)
        if not matches:
            complaints.append(f"{name}: no such file, nor a folder or pattern with a file ({' '.join(endings)})")
        for path in matches:
            found.setdefault(path.resolve(), path)
    return list(found.values()), complaints


def read_photo(path: str | Path) -> Image.Image:
    """A photograph upright as EXIF says, in RGB: transparency on white, of 16-bit grey the upper eight bits.

    Raises:
        ValueError: if the file is missing, broken, of another format, or has 32 bits a pixel (of unknown range).
    """
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as file:
            photo = ImageOps.exif_transpose(file)
    except Exception as error:  # PIL's readers raise nearly anything for a broken file
        raise ValueError(f"{path}: not a readable photograph ({error})") from error
    if photo.mode.startswith("I;16"):
        photo = Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8))
    elif photo.mode in ("I", "F"):
        raise ValueError(f"{path}: 32 bits a pixel have no known range; save it with 8 or 16")
    elif photo.has_transparency_data:
        photo = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
    return photo.convert("RGB")


def centre_square(photo: Image.Image, size: int) -> Image.Image:
    """The centre of a photo as a square of `size` pixels; a smaller photo is enlarged.

    The crop that the field's numbers are taken on: halve while twice too large, bicubic to the shortest side, cut the
    centre (Dhariwal and Nichol 2021, ADM).
    """
    while min(photo.size) >= 2 * size:
        photo = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BOX)
    scale = size / min(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    return _cut_centre(photo, size, size)


def encode_file(tokenizer: GPSToken, path: Path, outputs: list[Path], size: int, num_tokens: int | None = None) -> None:
    """Tokenizes one photograph.

    Args:
        tokenizer: the tokenizer.
        path: the photograph.
        outputs: the token file, and where wanted the picture of input, initial and refined Gaussians, reconstruction.
        size: side of the centre square in pixels; 0 keeps the photo's sides, cut to multiples of the grid step.
        num_tokens: of the whole image; None is the tokenizer's own number.

    Raises:
        ValueError: if the file is no photograph, or of a size that the tokenizer refuses.
    """
    photo = read_photo(path)
    step = tokenizer.image_size // gcd(tokenizer.image_size, tokenizer.grid_size)
    if size:
        photo = centre_square(photo, size)
    elif min(photo.size) < step:
        raise ValueError(f"sides must have at least {step} pixels, got {photo.height}x{photo.width}")
    else:
        photo = _cut_centre(photo, photo.width // step * step, photo.height // step * step)
    levels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    image = (levels.float() / 127.5 - 1).to(tokenizer.last_layer.device)
    with torch.inference_mode():
        tokens = tokenizer.encode(image, num_tokens)
        tokens.save(outputs[0])
        for output in outputs[1:]:
            _save_picture(_sheet(tokenizer, image, tokens), output)


def decode_file(tokenizer: GPSToken, path: Path, output: Path) -> None:
    """Decodes the tokens of one image to a PNG.

    Raises:
        ValueError: if the file holds no tokens, those of several images, or those of another kind of tokenizer.
    """
    tokens = Tokens.load(path)
    if len(tokens.features) != 1:
        raise ValueError(f"holds the tokens of {len(tokens.features)} images, expected those of one")
    tensor = tokens.to_tensor().to(tokenizer.last_layer)
    with torch.inference_mode():
        _save_picture(to_picture(tokenizer.decode(Tokens.from_tensor(tensor, tokens.size))[0]), output)


def _parse(arguments: list[str]) -> argparse.Namespace:
    model = argparse.ArgumentParser(add_help=False)
    source = model.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", metavar="CKPT", help="a tokenizer trained here (last.ckpt)")
    source.add_argument("--pretrained", metavar="FILE", help="the paper's released weights (safetensors)")
    model.add_argument("--preset", choices=tuple(PRESETS), help="the tokenizer that --pretrained is of")
    model.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write to")
    model.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    parser = argparse.ArgumentParser(prog="gpstoken", description="Photographs to tokens and back.")
    commands = parser.add_subparsers(dest="command", required=True)
    encode = commands.add_parser("encode", parents=[model], help="photographs to DIR/<stem>.safetensors")
    encode.add_argument("files", nargs="+", metavar="IMAGE", help="a photograph, a folder of them or a glob pattern")
    encode.add_argument("--size", type=int, help="side of the centre square (default: the tokenizer's); 0: whole photo")
    encode.add_argument("--tokens", type=int, metavar="N", help="tokens of each image (default: the tokenizer's)")
    encode.add_argument("--draw", action="store_true", help="DIR/<stem>.png as well: input, Gaussians, reconstruction")
    decode = commands.add_parser("decode", parents=[model], help="token files to DIR/<stem>.png")
    decode.add_argument("files", nargs="+", metavar="TOKENS", help="a token file, a folder of them or a glob pattern")
    options = parser.parse_args(arguments)
    if (options.pretrained is None) != (options.preset is None):
        parser.error("--pretrained and --preset go together")
    if options.command == "encode" and options.size is not None and options.size < 0:
        parser.error(f"--size: expected at least 0, got {options.size}")
    return options


def _load_tokenizer(options: argparse.Namespace) -> GPSToken:
    if options.checkpoint is not None:
        tokenizer = GPSToken.from_checkpoint(options.checkpoint)
    else:
        tokenizer = GPSToken.from_pretrained(options.pretrained, options.preset)
    return to_device(tokenizer, options.device)


def _each(
    inputs: list[Path], folder: Path, suffixes: tuple[str, ...], work: Callable[[Path, list[Path]], None]
) -> bool:
    """Calls work(path, outputs) on every input; True if all went well. No input or new output is overwritten."""
    well = True
    owners = {path.resolve(): path for path in inputs}
    for path in tqdm(inputs, unit="file", disable=None):
        outputs = [folder / f"{path.stem}{suffix}" for suffix in suffixes]
        try:
            for output in outputs:
                if output.resolve() in owners:
                    raise ValueError(f"not done, {output} is that of {owners[output.resolve()]}")
            work(path, outputs)
            owners |= {output.resolve(): path for output in outputs}
        except (ValueError, OSError, RuntimeError) as error:  # torch raises the last where memory ends
            well = False
            reason = " ".join(str(error).split())
            tqdm.write(f"gpstoken: {path}: {reason.removeprefix(f'{path}: ')}", file=sys.stderr)
    return well


def _glob(pattern: str) -> list[Path]:
    return sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())


def _cut_centre(photo: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (photo.width - width) // 2, (photo.height - height) // 2
    return photo.crop((left, top, left + width, top + height))


def _sheet(tokenizer: GPSToken, image: Tensor, tokens: Tokens) -> Image.Image:
    """Input, initial Gaussians, refined Gaussians and reconstruction of image[1, 3, H, W] side by side."""
    layouts = [tokenizer.layout(image, tokens.features.shape[1]), tokens.gaussians]
    return contact_sheet([picture_row(image, layouts, tokenizer.decode(tokens))])


def _save_picture(picture: Image.Image, path: Path) -> None:
    with replacing(path) as part:
        picture.save(part, format="PNG")
