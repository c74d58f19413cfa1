"""`gpstoken explore`: a page in the browser on which the tokens of a photograph can be looked at and changed."""

import argparse
from pathlib import Path

from sklearn.datasets import load_sample_images

from gpstoken.commands.parser import Parser, positive
from gpstoken.devices import to_device
from gpstoken.files.pictures import read_picture
from gpstoken.metrics.weights import find_weights
from gpstoken.perceptual import load_lpips
from gpstoken.tokenizer import GPSToken


def main(arguments: list[str]) -> int:
    """Serves the page until Ctrl-C.

    Returns:
        0.

    Raises:
        ValueError: if Gradio is not installed, or a photograph, the tokenizer or the device cannot be used.
    """
    options = _parse(arguments)
    try:
        from gpstoken.explorer.page import page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError("explore needs the package gradio: pip install 'gpstoken[explore]'") from error
    photographs = [Path(path) for path in options.photos] or [Path(path) for path in load_sample_images().filenames]
    for path in photographs:
        read_picture(path)
    tokenizer = to_device(GPSToken.from_pretrained(options.checkpoint), options.device)
    try:
        distances = {"lpips_alexnet": load_lpips("alexnet", find_weights("alexnet")).to(options.device)}
    except FileNotFoundError:
        distances = {}
    blocks = page(tokenizer, photographs, distances)
    blocks.launch(server_name="127.0.0.1", server_port=options.port, quiet=False, share=False)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("explore", __doc__)
    photos = "photographs to choose from (default: two of scikit-learn's); others can be uploaded on the page"
    parser.add_argument("photos", nargs="*", metavar="PHOTO", help=photos)
    parser.add_argument("--port", type=positive, default=7860, help="port on this machine (default: 7860)")
    trained = "a tokenizer: last.ckpt of `gpstoken fit`, a file of `gpstoken export`, or small (default)"
    parser.add_argument("--checkpoint", metavar="FILE", default="small", help=trained)
    parser.add_device()
    return parser.parse_args(arguments)
