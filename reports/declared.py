"""The rows of experiments/rows.yaml and the tables of tables.yaml that they fill."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
# Licences of published weights by the class that loads them.
LICENCES = EXPERIMENTS.with_name("gpstoken") / "baselines" / "licences.yaml"
TABLES = Path(__file__).with_name("tables") / "tables.yaml"


@cache
def rows() -> dict[str, Any]:
    """What rows.yaml says, section by section."""
    return yaml.safe_load((EXPERIMENTS / "rows.yaml").read_text(encoding="utf-8"))


def generators(*sections: str) -> list[str]:
    """The rows that are sampled; of these sections, or those that the paper compares."""
    return [row for section in sections or ("generators",) for row in rows()[section]]


def name_of(row: str) -> str:
    """What tables call a row that is sampled."""
    return generator(row).get("name", row)


def generator(row: str) -> dict[str, str]:
    """What rows.yaml says of a row that is sampled: its name, its networks and the paper's row that it stands for."""
    return (rows()["generators"] | rows()["generator_sizes"]).get(row, {})


def loads(row: str) -> str:
    """Whether a tokenizer's row loads published weights, and their licence."""
    entry = next((rows()[section][row] for section in ("tokenizers", "loaded") if row in rows()[section]), {})
    path = EXPERIMENTS / "tokenizers" / f"{entry.get('like', row)}.yaml"
    if not path.is_file():
        return ""
    published = yaml.safe_load(path.read_text(encoding="utf-8"))
    kind = published["model"]["init_args"]["tokenizer"]["class_path"].rpartition(".")[2]
    licence = yaml.safe_load(LICENCES.read_text(encoding="utf-8")).get(kind, {}).get("licence")
    return "" if licence is None else f"yes ({'no licence found' if licence == 'none' else licence})"


def every_table() -> dict[str, dict[str, Any]]:
    """Every table of tables.yaml by name, with the rows of the sections and of the study that it names."""
    tables = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    for declared in tables.values():
        if "sections" in declared and declared.get("reader") in ("generators", "costs"):
            declared["rows"] = [*declared.get("rows", []), *generators(*declared["sections"])]
        elif "sections" in declared:
            ours = {  # of the kinds that `gpstoken profile` writes
                row: {"kind": "generator" if section == "networks" else "tokenizer"}
                | {name: label[name] for name in ("name", "paper") if name in label}
                for section in declared["sections"]
                for row, label in rows()[section].items()
            }
            declared["ours"] = ours | declared.get("ours", {})
        if declared.get("study") == "domains":
            declared["ours"] = _domains(declared["datasets"]) | declared.get("ours", {})
        elif "study" in declared and "ours" not in declared:
            declared["ours"] = _arms(declared["study"])
    return tables


def _arms(study: str) -> dict[str, dict[str, str]]:
    """A row for every arm of a study, by the name of the row that it evaluates."""
    arms = yaml.safe_load((EXPERIMENTS / "studies" / f"{study}.yaml").read_text(encoding="utf-8"))["arms"]
    names = {row: entry for section in rows().values() if isinstance(section, dict) for row, entry in section.items()}
    return {arm: {"name": names[arguments["row"]]["name"], "of": arguments["row"]} for arm, arguments in arms.items()}


def _domains(datasets: dict[str, Any]) -> dict[str, dict[str, str]]:
    """A row for every data set of the table and every tokenizer of the study."""
    study = yaml.safe_load((EXPERIMENTS / "studies" / "domains.yaml").read_text(encoding="utf-8"))["domains"]
    return {
        f"domain_{dataset}_{end}": {"name": rows()["tokenizers"][row]["name"], "of": row, "dataset": dataset}
        for dataset in datasets
        for end, row in study.items()
    }
