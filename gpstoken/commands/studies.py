"""The arms of a study: which trained row each evaluates, and with which options."""

from typing import Any

from gpstoken.commands.declared import EXPERIMENTS, chosen_arms, read_rows, read_scale
from gpstoken.files.plain_text import read_yaml


def arms_of(study: str, scale: str) -> dict[str, dict[str, Any]]:
    """Every arm of a study at a scale: the `row` that it evaluates, and options of `gpstoken evaluate`.

    A study declares its arms one by one (`arms`, of which a scale may choose some), as named rows on each data set of
    the scale (`domains`), or as all rows of some sections of rows.yaml on each of its own data sets (`sections` and
    `data`).

    Raises:
        ValueError: if the scale chooses an arm that there is not.
    """
    declared, settings = read_yaml(EXPERIMENTS / "studies" / f"{study}.yaml"), read_scale(scale)
    shared = settings.get("evaluate", {}) | declared.get("evaluate", {})
    if "domains" in declared:
        arms = {
            f"domain_{domain}_{end}": {"row": row, "data": data_file(data)}
            for domain, data in settings["domains"].items()
            for end, row in declared["domains"].items()
        }
    else:
        own = dict(settings.get(study, {}))
        arms = chosen_arms(declared.get("arms", {}), own.pop("arms", None), f"{scale}: {study}")
        arms |= {
            f"{end}_{row.key}": {"row": row.key, "data": data_file(data)}
            for row in read_rows()
            if row.section in declared.get("sections", [])
            for end, data in declared["data"].items()
        }
        shared |= own
    return {arm: shared | options for arm, options in arms.items()}


def data_file(name: str) -> str:
    """The YAML of a data set."""
    return f"{EXPERIMENTS}/_data/{name}.yaml"
