"""`gpstoken demo`: photographs through the tokenizer that comes with the package, at several numbers of tokens."""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from gpstoken.commands.parser import Parser, positive
from gpstoken.devices import to_device
from gpstoken.drawing import captioned, contact_sheet, draw_gaussians, to_picture
from gpstoken.files.pictures import read_picture
from gpstoken.files.writing import check_writable
from gpstoken.images import load_image, save_picture
from gpstoken.metrics import reconstruction_metrics
from gpstoken.tokenizer import GPSToken

COUNTS = (64, 128, 256, 512)


def main(arguments: list[str]) -> int:
    """Prints the PSNR of each photograph at each number of tokens, and writes a picture of them all.

    Returns:
        0.

    Raises:
        ValueError: if a file is not a photograph, or the tokenizer, the device or the output cannot be used.
    """
    options = _parse(arguments)
    output = Path(options.output)
    check_writable(output)
    tokenizer = to_device(GPSToken.from_pretrained(options.checkpoint), options.device)
    side = tokenizer.image_size
    if options.photos:
        photos = {Path(path).name: read_picture(path) for path in options.photos}
    else:
        sample = load_sample_images()  # china and flower, held out when `small` was trained
        names = [Path(path).name for path in sample.filenames]
        photos = dict(zip(names, sample.images, strict=True))
    rows = []
    for name, photo in photos.items():
        image = load_image(photo, side).to(options.device)
        rows.append(_row(tokenizer, image, name, options.tokens))
    save_picture(contact_sheet(rows), output)
    print(f"photograph, Gaussians and reconstructions -> {output}")
    return 0


@torch.inference_mode()
def _row(tokenizer: GPSToken, image: Tensor, name: str, counts: list[int]) -> list[Image.Image]:
    picture = to_picture(image[0])
    pictures = [captioned(picture, f"{name}, {picture.width} px")]
    for count in counts:
        started = perf_counter()
        tokens = tokenizer.encode(image, num_tokens=count)
        reconstruction = tokenizer.decode(tokens)
        seconds = perf_counter() - started
        psnr = reconstruction_metrics(reconstruction, image)["psnr"].item()
        numbers = int(np.prod(tokens.to_tensor().shape))
        share = 8 * 2 * numbers / (picture.width * picture.height)
        line = f"{count} tokens, {2 * numbers:,} bytes in float16 ({share:.2f} bits per pixel)"
        print(f"{name}: {line}, PSNR {psnr:.2f} dB, {seconds:.2f} s", flush=True)
        if count == counts[0]:
            pictures.append(captioned(draw_gaussians(picture, tokens.gaussians), f"{count} Gaussians"))
        pictures.append(captioned(to_picture(reconstruction[0]), f"{count} tokens, {psnr:.1f} dB"))
    return pictures


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("demo", __doc__)
    photos = "photographs, whose centre squares are used (default: two of scikit-learn's)"
    parser.add_argument("photos", nargs="*", metavar="PHOTO", help=photos)
    parser.add_argument(
        "-o", "--output", default="demo.png", metavar="FILE", help="picture to write (default: demo.png)"
    )
    default = " ".join(map(str, COUNTS))
    parser.add_argument(
        "--tokens",
        type=positive,
        nargs="+",
        default=COUNTS,
        metavar="N",
        help=f"numbers of tokens (default: {default})",
    )
    trained = "a tokenizer: last.ckpt of `gpstoken fit`, a file of `gpstoken export`, or small (default)"
    parser.add_argument("--checkpoint", metavar="FILE", default="small", help=trained)
    parser.add_device()
    return parser.parse_args(arguments)
