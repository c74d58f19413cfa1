"""A generator has the classes of the token cache that it is trained on, whatever its YAML says."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from gpstoken.files.plain_text import read_json


def take_classes(config: Namespace) -> None:
    """Gives the network of a generator as many classes as its token cache has, where the configuration has more.

    A class without an image would be drawn by `gpstoken generate --classes all` and never have been trained. It is done
    before the network is made, so that its weights are those of one that was configured with that number. A number
    that is too small stays: `GeneratorModule.setup` refuses it.

    Args:
        config: of `gpstoken fit`, changed in place; one without such a network or without a cache stays as it is.
    """
    name = "model.init_args.network.init_args.num_classes"
    configured, root = config.get(name), config.get("data.init_args.root")
    record = Path(root) / "cache.json" if isinstance(root, str) and configured is not None else None
    if record is None or not record.is_file():
        return
    try:
        count = read_json(record)["num_classes"]
    except (ValueError, KeyError):  # the data module says what is wrong with it
        return
    if type(count) is int and 0 < count < configured:
        config[name] = count
        print(f"the network has {count} classes, those of {root}; its configuration says {configured}", file=sys.stderr)
