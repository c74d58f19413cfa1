"""A generator has the classes of the token cache that it is trained on, whatever its YAML says."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from gpstoken.files.plain_text import read_json

GENERATOR = "model.init_args.generator.init_args."
NAMES = (f"{GENERATOR}network.init_args.num_classes", f"{GENERATOR}num_classes")  # of a flow, of other families


def take_classes(config: Namespace) -> None:
    """Gives a generator as many classes as its token cache has, where the configuration has more.

    A class without an image would be drawn by `gpstoken generate --classes all` and never have been trained. It is done
    before the network is made, so that its weights are those of one that was configured with that number. A number
    that is too small stays: `Generator.prepare` refuses it.

    Args:
        config: of `gpstoken fit`, changed in place; one without a generator or without a cache stays as it is.
    """
    name = next((name for name in NAMES if config.get(name) is not None), NAMES[0])
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
        print(
            f"the generator has {count} classes, those of {root}; its configuration says {configured}", file=sys.stderr
        )
