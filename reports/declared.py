"""The rows of experiments/rows.yaml and the tables of tables.yaml that they fill."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
COMPARED = ("generators", "other_generators")  # sections of what is sampled
MODELS = {"tokenizers": "tokenizer", "generators": "generator"}  # folder of published sizes -> argument of a module
NONE_PUBLISHED = "no weights are published"
# Licences of published weights by the class that loads them, or by the row where a class is of several systems.
LICENCES = EXPERIMENTS.with_name("gpstoken") / "baselines" / "licences.yaml"
TABLES = Path(__file__).with_name("tables") / "tables.yaml"


@cache
def rows() -> dict[str, Any]:
    """What rows.yaml says, section by section."""
    return yaml.safe_load((EXPERIMENTS / "rows.yaml").read_text(encoding="utf-8"))


@cache
def licences() -> dict[str, Any]:
    """What licences.yaml says, by class or by row."""
    return yaml.safe_load(LICENCES.read_text(encoding="utf-8"))


def generators(*sections: str) -> list[str]:
    """The rows that are sampled; of these sections, or those that the paper compares."""
    return [row for section in sections or COMPARED for row in rows()[section]]


def name_of(row: str) -> str:
    """What tables call a row that is sampled."""
    return generator(row).get("name", row)


def generator(row: str) -> dict[str, str]:
    """What rows.yaml says of a row that is sampled: its name, its networks and the paper's row that it stands for."""
    sections = [rows()[section] for section in (*COMPARED, "generator_sizes")]
    return next((entries[row] for entries in sections if row in entries), {})


def loads(row: str) -> str:
    """Whether a row of a tokenizer or of a network loads published weights, and their licence."""
    places = (EXPERIMENTS / folder / f"{rows_by_key().get(row, {}).get('like', row)}.yaml" for folder in MODELS)
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return ""
    arguments = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["init_args"]
    model = next(arguments[name] for name in MODELS.values() if name in arguments)
    found = licences().get(model["class_path"].rpartition(".")[2]) or licences().get(row)
    if found is None:
        return ""
    return NONE_PUBLISHED if "unpublished" in found else f"yes ({found['licence'].replace('none', 'no licence found')})"


@cache
def rows_by_key() -> dict[str, dict[str, Any]]:
    """Every tokenizer and every network."""
    return {
        key: entry
        for section in ("tokenizers", "loaded", "networks", "other_networks")
        for key, entry in rows()[section].items()
    }


def every_table() -> dict[str, dict[str, Any]]:
    """Every table of tables.yaml by name, with the rows of the sections and of the study that it names."""
    tables = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    for declared in tables.values():
        if "sections" in declared and declared.get("reader") in ("generators", "costs"):
            declared["rows"] = [*declared.get("rows", []), *generators(*declared["sections"])]
        elif "sections" in declared:
            ours = {  # of the kinds that `gpstoken profile` writes
                row: {"kind": "generator" if section.endswith("networks") else "tokenizer"}
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
