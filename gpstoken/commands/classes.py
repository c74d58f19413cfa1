"""Limits the classes of a generator to those of the token cache that it is trained on."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from gpstoken.files.plain_text import read_json

GENERATOR = "model.init_args.generator.init_args."
NAMES = (f"{GENERATOR}network.init_args.num_classes", f"{GENERATOR}num_classes")  # for flows, for other families


def take_classes(config: Namespace) -> None:
    """Gives a generator as many classes as its token cache has, where the configuration has more.

    Otherwise `gpstoken generate --classes all` would sample classes that were never trained. The number is changed
    before the network is made, so the weights are the same as if it had been configured. A number that is too small
    stays, and `Generator.prepare` raises an error.

    Args:
        config: the configuration of `gpstoken fit`, changed in place; without a generator or a cache it is unchanged.
    """
    name = next((name for name in NAMES if config.get(name) is not None), NAMES[0])
    configured, root = config.get(name), config.get("data.init_args.root")
    record = Path(root) / "cache.json" if isinstance(root, str) and configured is not None else None
    if record is None or not record.is_file():
        return
    try:
        count = read_json(record)["num_classes"]
    except (ValueError, KeyError):  # the data module reports what is wrong with the cache
        return
    if type(count) is int and 0 < count < configured:
        config[name] = count
        print(
            f"the generator has the {count} classes of {root} instead of the configured {configured}", file=sys.stderr
        )
