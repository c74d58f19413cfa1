"""Turns sampling options of a command line into those of a generator's family."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gpstoken.base import Generator

# Sampling options of the commands; each applies to some families.
SAMPLING = (
    "steps", "sampler", "method", "diffusion_limit", "last_step", "guidance", "guidance_interval", "layout_guidance",
    "temperature", "num_tokens",
)  # fmt: skip
NONE = "none"  # the text that sets an option to null; an option that is not given keeps its default


def sampling_options(generator: Generator, given: Mapping[str, Any]) -> Any:
    """The options of `Generator.sample`; options that are not given keep the defaults of the generator's family.

    Args:
        generator: the generator.
        given: values by name, None if not given; names that are not in `SAMPLING` are ignored.

    Raises:
        ValueError: for an option that the family does not have, or a value out of range.
    """
    chosen = {name: given[name] for name in SAMPLING if given.get(name) is not None}
    known = [name for name in SAMPLING if name in {field.name for field in fields(generator.options)}]
    if unknown := [name for name in chosen if name not in known]:
        kind, flags = type(generator).__name__, ", ".join(map(_flag, known))
        raise ValueError(f"{_flag(unknown[0])}: {kind} has no such option, only {flags}")
    if chosen.get("diffusion_limit") == NONE:
        chosen["diffusion_limit"] = None
    if "guidance_interval" in chosen:
        chosen["guidance_interval"] = tuple(chosen["guidance_interval"])
    return generator.options(**chosen)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
