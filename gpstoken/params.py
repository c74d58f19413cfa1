"""`python -m gpstoken.params SCALE`: writes params.yaml for a scale.

DVC reads params.yaml as it stands and cannot choose a part of it by a variable, so that the choice is made here, once.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from gpstoken.files.writing import replacing

SCALES = Path("experiments/_scale")
HEADER = "# Written by `python -m gpstoken.params {scale}` from {source}. `dvc repro` reads it as it stands.\n"


def main(arguments: list[str] | None = None) -> int:
    """Composes params.yaml; returns the exit code."""
    known = sorted(path.name.removesuffix(".params.yaml") for path in SCALES.glob("*.params.yaml"))
    parser = argparse.ArgumentParser(prog="python -m gpstoken.params", description=__doc__)
    parser.add_argument("scale", choices=known)
    scale = parser.parse_args(arguments).scale
    source = SCALES / f"{scale}.params.yaml"
    text = HEADER.format(scale=scale, source=source) + yaml.safe_dump(compose(scale), sort_keys=False)
    with replacing("params.yaml") as part:
        part.write_text(text)
    return 0


def compose(scale: str) -> dict[str, Any]:
    """What params.yaml holds at a scale: its file over the one it is `like`, with `{scale}`, costs and evaluations.

    Raises:
        ValueError: for a study of a row that there is not.
    """
    source = SCALES / f"{scale}.params.yaml"
    params = yaml.safe_load(source.read_text().replace("{scale}", scale))
    if "like" in params:
        like = (SCALES / f"{params.pop('like')}.params.yaml").read_text().replace("{scale}", scale)
        params = _over(yaml.safe_load(like), params)
    params = {"scale": scale, **params}
    params["generation"]["costs"] = costs(params["generation"])
    return params | {"evaluations": evaluations(params, source)}


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, dictionaries key by key."""
    both = {key: _over(below[key], value) for key, value in above.items() if isinstance(value, dict) and key in below}
    return {**below, **above, **both}


def evaluations(params: dict[str, Any], source: Path) -> dict[str, dict[str, str]]:
    """Everything that `gpstoken evaluate` is called for: each row as it was trained, then the studies of rows.

    Args:
        params: of a scale; its rows are `tokens` and `baselines`.
        source: where they are from, for errors.

    Returns:
        Key of the result file -> its group, the row and the flags.

    Raises:
        ValueError: if a study is of a row that there is not, or has the name of a row.
    """
    rows = [*params["tokens"], *params["baselines"]]
    found = {row: {"group": "tokenizers", "row": row, "options": ""} for row in rows}
    for key, study in params["studies"].items():
        if study["row"] not in rows:
            raise ValueError(f"{source}: study {key} is of {study['row']}, which is not among {', '.join(rows)}")
        if key in found:
            raise ValueError(f"{source}: {key} is a row and a study")
        found[key] = {"group": "studies", **study}
    return found


def costs(generation: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What `gpstoken cost` is called for: the rows that `costs` names, each by its first seed.

    Returns:
        Row -> its last stage, its first, and the flags.
    """
    rows = {name: generation["rows"][name] for name in generation["costs"]}
    return {
        name: {"stage": row["stage"], "layout": row["layout"], "options": row["options"].replace("SEED", "0")}
        for name, row in rows.items()
    }


if __name__ == "__main__":
    sys.exit(main())
