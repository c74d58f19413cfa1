"""What the paper says of a row's cost, and how it counts: paper.yaml."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml


def facts(row: str) -> dict[str, Any]:
    """What `paper.yaml` says of a row; nothing of most."""
    return _all_facts().get(row, {})


@cache
def _all_facts() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8"))
