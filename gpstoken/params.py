"""`python -m gpstoken.params SCALE`: writes params.yaml for a scale.

DVC reads params.yaml as it stands and cannot choose a part of it by a variable, so that the choice is made here, once.
"""

import argparse
import sys
from pathlib import Path

import yaml

from gpstoken.writing import replacing

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
    with replacing("params.yaml") as part:
        part.write_text(HEADER.format(scale=scale, source=source) + yaml.safe_dump(params, sort_keys=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
