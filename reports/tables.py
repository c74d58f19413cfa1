"""`python -m reports.tables`: the tables of tables.yaml as Markdown and CSV, ours beside the paper's."""

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import yaml

from gpstoken.metrics import METRICS
from gpstoken.writing import replacing
from reports.claims import Verdict, judge
from reports.results import Result, check_same_origin, read_result

HERE = Path(__file__).parent
# Column -> (heading, digits, whether more is better). The paper does not say which network its LPIPS is of.
COLUMNS = {
    "psnr": ("PSNR ↑", 2, True),
    "ssim": ("SSIM ↑", 3, True),
    "lpips_alexnet": ("LPIPS (AlexNet) ↓", 3, False),
    "lpips_vgg16": ("LPIPS (VGG) ↓", 3, False),
    "lpips": ("LPIPS (network not stated) ↓", 3, False),
}
DASH = "-"
Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Writes every declared table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.tables", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/SCALE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, declared in declarations().items():
        ours, published = read_table(declared, options.results)
        with replacing(options.output / f"{name}.md") as part:
            part.write_text(markdown(declared, ours, published), encoding="utf-8")
        with replacing(options.output / f"{name}.csv") as part:
            part.write_text(as_csv(rows_of(declared, ours, published)), encoding="utf-8")
    return 0


def declarations() -> dict[str, dict[str, Any]]:
    """Every table of tables.yaml by name."""
    return yaml.safe_load((HERE / "tables.yaml").read_text(encoding="utf-8"))


def read_table(declared: dict[str, Any], results: Path) -> tuple[dict[str, Result | None], list[dict[str, str]]]:
    """The result files that a table names (None where there is none) and the published rows.

    Raises:
        ValueError: if the files are of different scales, images, seeds or training budgets.
    """
    ours = {row: read_result(results / "tokenizers" / f"{row}.json") for row in declared["ours"]}
    check_same_origin([result for result in ours.values() if result is not None])
    with (HERE / "published" / declared["published"]).open(newline="", encoding="utf-8") as file:
        return ours, list(csv.DictReader(file))


def rows_of(declared: dict[str, Any], ours: dict[str, Result | None], published: list[dict[str, str]]) -> list[Row]:
    """The table as one list, ours first; numbers as they were measured or printed, absent where there is none."""
    rows: list[Row] = []
    for row, result in ours.items():
        label = declared["ours"][row]
        rows.append({"source": "ours", "method": label["name"], "papers_row": label["paper"]})
        if result is None:
            continue
        record = result.record
        config = record["tokenizer"]["init_args"]
        rows[-1] |= {"source": f"ours, {record['scale']} scale, {config['image_size']} px"}
        rows[-1] |= {"tokens": str(config["num_tokens"]), "parameters": record["parameters"]}
        for name, metric in record["metrics"].items():
            rows[-1] |= {name: metric["mean"], f"{name}_standard_error": metric["standard_error"]}
    for printed in published:
        row = {"source": "paper, ImageNet 256 px", "method": printed["method"], "tokens": printed.get("tokens", "")}
        if printed.get("params_m"):
            row["parameters"] = round(float(printed["params_m"]) * 1e6)
        rows.append(row | {name: float(printed[name]) for name in COLUMNS if printed.get(name)})
    return rows


def as_csv(rows: list[Row]) -> str:
    """The rows for machines: every digit, the standard error in a column of its own."""
    columns = ["source", "method", "papers_row", "tokens", "parameters"]
    columns += [
        column for name in COLUMNS for column in (name, f"{name}_standard_error") if column != "lpips_standard_error"
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def markdown(declared: dict[str, Any], ours: dict[str, Result | None], published: list[dict[str, str]]) -> str:
    """One table as a page: where ours comes from, what the claims came to, the rows, what to know of them."""
    lines = [f"# {declared['title']}", "", *origin([result for result in ours.values() if result is not None]), ""]
    tested = claims(declared, ours)
    if tested:
        lines += [in_words(tested), ""]
    lines += [*table(rows_of(declared, ours, published)), ""]
    lines += [
        "- ±: one standard error of the mean over images and seeds. Images of one photograph count as one cluster, and "
        "the spread between seeds is added; the paper prints none.",
        f"- **Bold**: best of its source. The paper's rows are {declared['paper']}, as printed. Data, resolution, "
        "network size and training differ from ours: compare the order of rows within a source, not values across.",
        *(f"- {note}" for note in declared.get("notes", [])),
    ]
    if tested:
        lines += ["", "## The paper's order, tested", "", *claim_table(tested)]
    return "\n".join(lines) + "\n"


def origin(found: list[Result]) -> list[str]:
    """Where our numbers come from, in words."""
    if not found:
        return ["No row of ours has been evaluated yet."]
    records = [result.record for result in found]
    first = records[0]
    data, training, seeds = first["data"], first["training"], first["seeds"]
    commits = sorted({record["commit"] for record in records})
    devices = sorted({"{device} ({processor})".format(**record["machine"]) for record in records})
    return [
        f"Scale **{first['scale']}**: n = {data['images']} images of {data['photographs']} held-out photographs; seeds "
        f"{', '.join(map(str, seeds))}; {training['steps']} training steps of {training['batch_size']} images. Data "
        f"{data['class_path']}, split {data['split']}, fingerprint {data['fingerprint'][:12]}. Commit "
        f"{', '.join(commits)}. Device {', '.join(devices)}, torch {first['versions']['torch']}."
    ]


def table(rows: list[Row]) -> list[str]:
    """The rows in Markdown, without the columns that are empty throughout."""
    texts = {"source": "source", "method": "method", "papers_row": "the paper's row", "tokens": "tokens"}
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    groups = [[row for row in rows if row["source"].startswith(source)] for source in ("ours", "paper")]
    best = {
        (id(row), name)
        for group in groups
        for name in names
        for row in group
        if name in row and row[name] == (max if COLUMNS[name][2] else min)(r[name] for r in group if name in r)
    }
    lines = [
        _line([*texts.values(), "parameters", *(COLUMNS[name][0] for name in names)]),
        _line(["---"] * 3 + ["---:"] * (2 + len(names))),
    ]
    for row in rows:
        cells = [row.get(name) or DASH for name in texts]
        # The paper prints one decimal of a million; a narrow network needs two.
        digits = 1 if row["source"].startswith("paper") else 2
        cells.append(f"{row['parameters'] / 1e6:.{digits}f} M" if "parameters" in row else DASH)
        for name in names:
            text = f"{row[name]:.{COLUMNS[name][1]}f}" if name in row else DASH
            if f"{name}_standard_error" in row:
                text += f" ± {row[f'{name}_standard_error']:.{COLUMNS[name][1]}f}"
            cells.append(f"**{text}**" if (id(row), name) in best else text)
        lines.append(_line(cells))
    return lines


def claims(declared: dict[str, Any], ours: dict[str, Result | None]) -> dict[str, list[Verdict]]:
    """Verdicts in every metric by claim; none where a row is missing, empty where all claims are without rows."""
    tested = {}
    for first, second, text in declared.get("claims", []):
        pair = ours[first], ours[second]
        metrics = [] if None in pair else [name for name in METRICS if all(name in result.values for result in pair)]
        tested[text] = [judge(*pair, name) for name in metrics]
    return tested if any(tested.values()) else {}


def in_words(tested: dict[str, list[Verdict]]) -> str:
    """What came of the claims, as one sentence."""
    outcomes = {verdict.outcome for verdicts in tested.values() for verdict in verdicts}
    if "reversed" in outcomes:
        start = "The paper's order grid < Init < Init + Refine does not hold as a whole here"
    elif outcomes == {"holds"} and all(tested.values()):
        start = "The paper's order grid < Init < Init + Refine holds here"
    else:
        start = "The paper's order grid < Init < Init + Refine is not settled as a whole here"
    parts = []
    for text, verdicts in tested.items():
        said = []
        for outcome in ("holds", "reversed", "not resolved"):
            names = [COLUMNS[verdict.metric][0][:-2] for verdict in verdicts if verdict.outcome == outcome]
            said += [f"{'is ' * (outcome != 'holds')}{outcome} in {_and(names)}"] if names else []
        parts.append(f"{text} {_and(said) or 'was not measured'}")
    return f"**{start}:** {'; '.join(parts)}."


def claim_table(tested: dict[str, list[Verdict]]) -> list[str]:
    """Every claim and metric: paired difference with its 95 % interval, and the verdict."""
    lines = [_line(["claim", "metric", "difference", "95 % interval", "verdict"])]
    lines.append(_line(["---", "---", "---:", "---:", "---"]))
    for text, verdicts in tested.items():
        for verdict in verdicts:
            heading, digits, _ = COLUMNS[verdict.metric]
            low, high = verdict.difference.interval
            cells = [text, heading, f"{verdict.difference.mean:+.{digits + 1}f}"]
            lines.append(_line([*cells, f"{low:+.{digits + 1}f} to {high:+.{digits + 1}f}", verdict.outcome]))
        if not verdicts:
            lines.append(_line([text, DASH, DASH, DASH, "not measured"]))
    return [
        *lines,
        "",
        "Difference: the claimed better row minus the other, image by image and seed by seed, with its 95 % interval "
        "(Student's t, degrees of freedom by Welch and Satterthwaite: few seeds widen it). `holds`: all of it on the "
        "claimed side; `reversed`: all of it is on the other side; `not resolved`: it contains zero, or there is only "
        "one seed or one photograph, which tells nothing of the chance of another. No correction for the number of "
        "tests.",
    ]


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
