"""`gpstoken explore`: a page in the browser on which the tokens of a photograph can be looked at and changed."""

import argparse
import socket
import sys
from pathlib import Path

from sklearn.datasets import load_sample_images

from gpstoken.commands.parser import Parser, positive
from gpstoken.devices import to_device
from gpstoken.explorer.views import settings_of, view
from gpstoken.files.pictures import read_picture
from gpstoken.generators.loading import Loaded, load_generator
from gpstoken.generators.two_stage import TwoStage
from gpstoken.images import load_image
from gpstoken.metrics.weights import find_weights
from gpstoken.perceptual import load_lpips
from gpstoken.tokenizer import GPSToken


def main(arguments: list[str]) -> int:
    """Serves the page until Ctrl-C.

    Returns:
        0.

    Raises:
        ValueError: if Gradio is not installed, or a photograph, the tokenizer, the device or the port cannot be used.
    """
    options = _parse(arguments)
    _check_port(options.port)
    try:
        from gpstoken.explorer.page import page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError("explore needs the package gradio: pip install 'gpstoken[explore]'") from error
    photographs = _named([Path(path) for path in options.photos or load_sample_images().filenames])
    for path in photographs.values():
        read_picture(path)
    tokenizer = to_device(GPSToken.from_pretrained(options.checkpoint), options.device)
    try:
        distances = {"lpips_alexnet": load_lpips("alexnet", find_weights("alexnet")).to(options.device)}
    except FileNotFoundError as error:
        print(f"gpstoken: without LPIPS: {error}", file=sys.stderr)
        distances = {}
    # What is compiled at first use is compiled here, and not while somebody looks at an empty page.
    first = load_image(next(iter(photographs.values())), tokenizer.image_size).to(options.device)
    view(tokenizer, first, settings_of(tokenizer))
    blocks = page(tokenizer, photographs, distances, _generator(options))
    more = {"share": False, "footer_links": [], "run_history": False}  # nothing that leaves this machine
    blocks.launch(server_name="127.0.0.1", server_port=options.port, quiet=True, prevent_thread_lock=True, **more)
    print(f"the explorer: http://127.0.0.1:{options.port} (Ctrl-C ends it)", flush=True)
    blocks.block_thread()
    return 0


def _generator(options: argparse.Namespace) -> Loaded | None:
    """The generator on the page: the one that was asked for, or that of the package for its own tokenizer."""
    name = options.generator or ("small" if options.checkpoint == "small" else None)
    if name is None:
        return None
    loaded = load_generator(name, tokenizer=options.checkpoint)
    if not isinstance(loaded.generator, TwoStage):
        raise ValueError(f"--generator {name}: expected a two-stage generator of GPSToken's tokens")
    to_device(loaded.generator, options.device)
    return loaded


def _named(paths: list[Path]) -> dict[str, Path]:
    """Each photograph by the name of its file, and by its whole path where several have that name."""
    names = [path.name for path in paths]
    return {path.name if names.count(path.name) == 1 else str(path): path for path in paths}


def _check_port(port: int) -> None:
    """Raises a ValueError if the port is in use or does not exist."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ValueError(f"--port {port}: {error}") from error


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("explore", __doc__)
    photos = "photographs to choose from (default: two of scikit-learn's); others can be uploaded on the page"
    parser.add_argument("photos", nargs="*", metavar="PHOTO", help=photos)
    parser.add_argument("--port", type=positive, default=7860, help="port on this machine (default: 7860)")
    trained = "a tokenizer: last.ckpt of `gpstoken fit`, a file of `gpstoken export`, or small (default)"
    parser.add_argument("--checkpoint", metavar="FILE", default="small", help=trained)
    generator = "a file of `gpstoken export` with a generator of its tokens (default: that of small)"
    parser.add_argument("--generator", metavar="FILE", help=generator)
    parser.add_device()
    return parser.parse_args(arguments)
