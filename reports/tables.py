"""`python -m reports.tables`: the tables of tables.yaml as Markdown and CSV, ours beside the paper's."""

import argparse
import csv
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from gpstoken.metrics import METRICS
from reports.claims import Verdict, judge
from reports.results import Result, read_result

HERE = Path(__file__).parent
DIGITS = {"psnr": 2, "ssim": 3, "lpips_alexnet": 3, "lpips_vgg16": 3, "lpips": 3}
TITLES = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "lpips_alexnet": "LPIPS-Alex ↓", "lpips_vgg16": "LPIPS-VGG ↓"}
TITLES |= {"lpips": "LPIPS ↓", "rec_fid": "rec. FID ↓"}
LESS = {"lpips_alexnet", "lpips_vgg16", "lpips", "rec_fid"}
PUBLISHED = ("psnr", "ssim", "lpips", "rec_fid")
DASH = "-"


def main(arguments: list[str] | None = None) -> int:
    """Writes every declared table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.tables", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/SCALE")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, declared in yaml.safe_load((HERE / "tables.yaml").read_text()).items():
        ours = {row: read_result(options.results / "tokenizers" / f"{row}.json") for row in declared["ours"]}
        with (HERE / "published" / declared["published"]).open(newline="") as file:
            published = list(csv.DictReader(file))
        write(options.output / f"{name}.md", markdown(declared, ours, published))
        with (options.output / f".{name}.csv.part").open("w", newline="") as file:
            csv.writer(file).writerows(flat(declared, ours, published))
        os.replace(options.output / f".{name}.csv.part", options.output / f"{name}.csv")
    return 0


def write(path: Path, text: str) -> None:
    """Writes a file that takes its name only when it is whole."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def markdown(declared: dict[str, Any], ours: dict[str, Result | None], published: list[dict[str, str]]) -> str:
    """One table as a page: origin, our rows, what was tested, the paper's rows."""
    lines = [f"# {declared['title']}", "", *origin(list(ours.values())), ""]
    if "claims" in declared:
        lines += [*summary(declared, ours), ""]
    lines += ["## Ours", "", *our_rows(declared, ours), ""]
    if "claims" in declared:
        lines += ["## The paper's order, tested", "", *claims(declared, ours), ""]
    lines += [f"## Published: {declared['paper']}", "", *paper_rows(published), ""]
    lines += [
        "Ours and the published figures are of different data, resolution, network size and training: they are side"
    ]
    lines += [
        "by side for the order of rows within each, not for their values. LPIPS of the paper: network not stated."
    ]
    return "\n".join(lines) + "\n"


def origin(results: list[Result | None]) -> list[str]:
    """Where our numbers come from, in words."""
    found = [result.record for result in results if result is not None]
    if not found:
        return ["None of our rows has been evaluated yet: `make repro`."]
    first = found[0]
    data, machine, size = first["data"], first["machine"], first["tokenizer"]["init_args"]["image_size"]
    commits = ", ".join(sorted({record["commit"] for record in found}))
    steps, batch = first["training"]["steps"], first["training"]["batch_size"]
    return [
        f"**Scale: {first['scale']}**: {size} px, {steps} steps of {batch} images, networks of about "
        f"{first['parameters'] / 1e6:.2f} M parameters. Not the paper's scale.",
        "",
        f"n = {data['images']} images of {data['photographs']} held-out photographs ({data['class_path']}, split "
        f"{data['split']}, pixels sha256 {data['fingerprint'][:12]}), seeds {', '.join(map(str, first['seeds']))}. "
        f"Commit {commits}; torch {first['versions']['torch']}, {machine['device']} ({machine['processor']}).",
        "",
        "± is one standard error over photographs (images of one photograph count as one cluster) and seeds.",
    ]


def our_rows(declared: dict[str, Any], ours: dict[str, Result | None]) -> list[str]:
    """Our rows with ± and the best of each column in bold."""
    names = list(METRICS)
    best = {}
    for name in names:
        means = [r.record["metrics"][name]["mean"] for r in ours.values() if r and name in r.record["metrics"]]
        best[name] = (min if name in LESS else max)(means, default=None)
    lines = [_line(["method", "tokens", "channels", "parameters", *(TITLES[name] for name in names)])]
    lines.append(_line(["---"] + ["---:"] * (len(names) + 3)))
    for row, label in declared["ours"].items():
        result = ours[row]
        if result is None:
            lines.append(_line([label] + [DASH] * (len(names) + 3)))
            continue
        config = result.record["tokenizer"]["init_args"]
        cells = [label, str(config["num_tokens"]), str(5 + config["feature_channels"])]
        cells.append(f"{result.record['parameters'] / 1e6:.3f} M")
        for name in names:
            metric = result.record["metrics"].get(name)
            text = DASH if metric is None else estimate(metric["mean"], metric["standard_error"], DIGITS[name])
            cells.append(f"**{text}**" if metric and metric["mean"] == best[name] else text)
        lines.append(_line(cells))
    return lines


def claims(declared: dict[str, Any], ours: dict[str, Result | None]) -> list[str]:
    """Every claim and metric: paired difference with its 95 % interval, and the verdict."""
    lines = [_line(["claim", "metric", "difference", "95 % interval", "verdict"])]
    lines.append(_line(["---", "---", "---:", "---:", "---"]))
    for first, second, text in declared["claims"]:
        for verdict in verdicts(ours, first, second) or [None]:
            if verdict is None:
                lines.append(_line([text, DASH, DASH, DASH, "not measured"]))
                continue
            digits = DIGITS[verdict.metric] + 1
            low, high = verdict.difference.interval
            cells = [text, TITLES[verdict.metric], f"{verdict.difference.mean:+.{digits}f}"]
            lines.append(_line([*cells, f"{low:+.{digits}f} to {high:+.{digits}f}", verdict.outcome]))
    lines += ["", "Difference: second minus first, image by image and seed by seed (same initial weights, batches and"]
    lines += ["crops for every arm). `holds`: the interval lies on the claimed side; `reversed`: on the other side."]
    return lines


def summary(declared: dict[str, Any], ours: dict[str, Result | None]) -> list[str]:
    """The outcome in words, from the verdicts."""
    lines = []
    for first, second, text in declared["claims"]:
        found = verdicts(ours, first, second)
        if found:
            outcomes = ", ".join(f"{TITLES[v.metric].split()[0]} {v.outcome}" for v in found)
            lines.append(f"- {text}: {outcomes}.")
    return ["**Does the paper's order show at this scale?**", "", *lines] if lines else ["Nothing to compare yet."]


def verdicts(ours: dict[str, Result | None], first: str, second: str) -> list[Verdict]:
    """Verdicts of a pair in every metric; empty where a row is missing."""
    pair = ours[first], ours[second]
    if None in pair:
        return []
    return [judge(*pair, name) for name in METRICS if name in pair[0].values and name in pair[1].values]


def paper_rows(published: list[dict[str, str]]) -> list[str]:
    """The published table as printed, the best of each column in bold."""
    columns = [name for name in published[0] if name != "group"]
    lines = [_line([TITLES.get(name, name.replace("_", " ")) for name in columns])]
    lines.append(_line(["---:" if name in PUBLISHED else "---" for name in columns]))
    best = {
        name: (min if name in LESS else max)(float(row[name]) for row in published if row[name])
        for name in PUBLISHED
        if name in columns
    }
    for row in published:
        bold = [name in best and bool(row[name]) and float(row[name]) == best[name] for name in columns]
        cells = [row[name] or DASH for name in columns]
        lines.append(_line([f"**{cell}**" if is_best else cell for cell, is_best in zip(cells, bold, strict=True)]))
    return lines


def flat(declared: dict[str, Any], ours: dict[str, Result | None], published: list[dict[str, str]]) -> list[list]:
    """The table for machines: one number a line."""
    lines: list[list] = [["source", "scale", "row", "metric", "value", "standard_error", "images", "seeds"]]
    for row, result in ours.items():
        for name, metric in (result.record["metrics"] if result else {}).items():
            numbers = [metric[key] for key in ("mean", "standard_error", "count", "seeds")]
            lines.append(["ours", result.record["scale"], row, name, *numbers])
    for row in published:
        label = row.get("method") or next(iter(row.values()))
        lines += [["paper", "paper", label, name, row[name], "", "", ""] for name in PUBLISHED if row.get(name)]
    return lines


def estimate(mean: float, standard_error: float, digits: int) -> str:
    """A mean with its standard error, "20.31 ± 0.42"."""
    return f"{mean:.{digits}f} ± {standard_error:.{digits}f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
