"""`python -m gpstoken.params SCALE`: writes params.yaml for a scale.

DVC reads params.yaml as it stands and cannot choose a part of it by a variable, so that the choice is made here, once.
"""

import argparse
import os
import sys
from pathlib import Path

import yaml

SCALES = Path("experiments/_scale")
HEADER = "# Written by `python -m gpstoken.params {scale}` from {source}. `dvc repro` reads it as it stands.\n"


def main(arguments: list[str] | None = None) -> int:
    """Composes params.yaml; returns the exit code."""
    known = sorted(path.name.removesuffix(".params.yaml") for path in SCALES.glob("*.params.yaml"))
    parser = argparse.ArgumentParser(prog="python -m gpstoken.params", description=__doc__)
    parser.add_argument("scale", choices=known)
    scale = parser.parse_args(arguments).scale
    source = SCALES / f"{scale}.params.yaml"
    params = {"scale": scale, **yaml.safe_load(source.read_text())}
    part = Path("params.yaml.part")
    part.write_text(HEADER.format(scale=scale, source=source) + yaml.safe_dump(params, sort_keys=False))
    os.replace(part, "params.yaml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
