"""The templates of tables, and the words around them: macros of texts.jinja and generation.jinja, filled."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports.declared import name_of


def paragraph(macro: str, *values: Any, **more: Any) -> str:
    """What a macro of texts.jinja says of some values; line breaks there are blanks here."""
    return " ".join(getattr(ENVIRONMENT.get_template("texts.jinja").module, macro)(*values, **more).split())


def section(macro: str, *values: Any) -> str:
    """What a macro of generation.jinja writes, line by line."""
    return getattr(ENVIRONMENT.get_template("generation.jinja").module, macro)(*values).strip()


def devices(records: Iterable[Mapping[str, Any]]) -> str:
    """The devices that records were measured on."""
    return ", ".join(sorted({"{device} ({processor})".format(**record["machine"]) for record in records}))


def listed(parts: list[str]) -> str:
    """Words with commas between them, and an "and" before the last."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters |= {"devices": devices, "name_of": name_of, "thousands": "{:,}".format}
ENVIRONMENT.globals["name_of"] = name_of
