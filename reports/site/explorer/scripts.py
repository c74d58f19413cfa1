"""The scripts of explorer.html: code, networks, WebAssembly and photographs in one form that opens without a server.

A browser lets a page that was opened as a file read no other file, but does run its scripts. So everything comes as a
script that sets a field of the object EXPLORER; bytes come as base64 of gzip.
"""

import base64
import gzip
import io
import json
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gpstoken import GPSToken
from gpstoken.images import centre_square, read_photo
from gpstoken.onnx_models import PACKAGES, onnx_models
from gpstoken.partition import max_regions
from gpstoken.partition.reference import ENTROPY_TERMS
from reports.site.explorer.runtime import LOADER, SCRIPT, WASM, runtime

HERE = Path(__file__).parent
MOST_TOKENS = 512


def read_explorer(weights: str) -> dict[str, Any]:
    """What explorer.html, which runs a tokenizer in the browser, is made from.

    Args:
        weights: what `GPSToken.from_pretrained` takes.

    Raises:
        RuntimeError: if what the page needs besides the weights cannot be had here.
        ValueError: if the weights cannot be read.
    """
    tokenizer = GPSToken.from_pretrained(weights)
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise RuntimeError(f"the package {missing[0]} is not installed: pip install 'gpstoken[onnx]'")
    parts, config = runtime(), tokenizer.config
    models = onnx_models(tokenizer)
    photographs = yaml.safe_load((HERE / "photographs.yaml").read_text(encoding="utf-8"))
    shown = [{"name": each["name"], "source": source(each["file"], config["image_size"])} for each in photographs]
    code = [parts[SCRIPT].decode(), *((HERE / f"{name}.js").read_text() for name in ("partition", "splat", "worker"))]
    data = {"config": config, "photographs": shown, "terms": packed(np.asarray(ENTROPY_TERMS, "<f8").tobytes())}
    data |= {"worker": "\n".join(code), "module": parts[LOADER].decode()}
    most = max_regions(config["image_size"], config["image_size"], config["min_region_size"])
    return {
        "config": config,  # arguments of the tokenizer
        "most_tokens": min(MOST_TOKENS, most),  # the end of the slider
        "photographs": photographs,  # name, credit, licence and its link of each
        "scripts": {  # contents by file name, in the order in which they must run
            "data.js": f"const EXPLORER = {json.dumps(data)};\n",
            "wasm.js": f"EXPLORER.wasm = {json.dumps(packed(parts[WASM]))};\n",
            **{f"{name}.js": f"EXPLORER.{name} = {json.dumps(packed(model))};\n" for name, model in models.items()},
            "page.js": (HERE / "page.js").read_text(encoding="utf-8"),
        },
        "styles": (HERE / "explorer.css").read_text(encoding="utf-8"),
    }


def source(file: str, side: int) -> str:
    """A photograph of an installed package, "package/path", as a PNG of `side` pixels in a data: address."""
    package, _, path = file.partition("/")
    png = io.BytesIO()
    with as_file(files(package).joinpath(path)) as photo:
        centre_square(read_photo(photo), side).save(png, "PNG")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def packed(content: bytes) -> str:
    """Bytes as base64 of gzip; the same bytes give the same text."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()
