"""Captions and alternative texts of the figures (figures.yaml); one that is not there is called by its file's name."""

from pathlib import Path

import yaml

from reports.site.material import Material


def read_captions(material: Material) -> dict[str, dict[str, str]]:
    """{"caption", "alt"} of every figure that was drawn."""
    known = _known()
    return {
        name: known.get(name) or {"caption": name.replace("_", " ").capitalize(), "alt": f"Figure {name}"}
        for name in material.figures
    }


def key_figures(material: Material) -> list[str]:
    """Those of the start page that were drawn, in the order of figures.yaml."""
    return [name for name, said in _known().items() if said.get("key") and name in material.figures]


def _known() -> dict[str, dict[str, str]]:
    return yaml.safe_load(Path(__file__).with_name("figures.yaml").read_text(encoding="utf-8"))
