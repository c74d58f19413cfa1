"""The paper's statements on the cost of a row, and its way of counting: paper.yaml."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml


def facts(row: str) -> dict[str, Any]:
    """The entry of a row in `paper.yaml`; most rows have none."""
    return _all_facts().get(row, {})


@cache
def _all_facts() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8"))
