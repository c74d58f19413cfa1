"""The pages, written as one folder that takes the place of the last one."""

import shutil
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gpstoken.files.writing import replacing_folder
from reports.site.claims import claim_cards, outcome, tally
from reports.site.figures import key_figures, read_captions
from reports.site.material import CLAIMS, Material
from reports.site.origins import ResultFile, cell_origin, result_files
from reports.site.rows import row_pages
from reports.site.text import to_html
from reports.site.verdicts import digits_of, interval_bar, verdict_alone, verdict_class

HERE = Path(__file__).parent
READING = HERE.with_name("reading.md")
LINKS = {"paper": "https://arxiv.org/abs/2509.01109", "code": None}  # out of the site; the code's where it has a home
ASSETS = ("site.css", "site.js")
CONTENT = {
    *ASSETS,
    "index.html",
    "figures.html",
    "reading.html",
    "tables",
    "rows",
    "figures",
    "results",
}  # all that a site may hold


def build(material: Material, output: Path) -> int:
    """Writes the site into `output` and returns its number of pages; the same material gives the same bytes.

    Raises:
        ValueError: if `output` is a file or holds something else than a site; it is left as it is.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(output, _is_site) as part:
        pages = render(material)
        for name, text in pages.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_text(text, encoding="utf-8")
        _copy(material, part)
    return len(pages)


def render(material: Material) -> dict[str, str]:
    """Every page's HTML by its path in the site."""
    files = result_files(material)
    rows = row_pages(material, files)
    captions = read_captions(material)
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "tables": material.tables,
        "figures": material.figures,
        "captions": captions,
        "files": files,
        "rows": rows,
        "verdict_alone": verdict_alone,
        "verdict_class": verdict_class,
        "digits_of": digits_of,
        "interval_bar": interval_bar,
        "cell_origin": cell_origin,
        "full_heading": full_heading,
        "links": LINKS,
    }

    def text(markdown: str, root: str) -> Markup:
        """Markdown, with the pictures that the site has as figures."""
        figure = environment.get_template("parts.html").module.figure
        return to_html(markdown, lambda name, caption: figure(name, root, caption))

    environment.filters["markdown"] = text

    def page(template: str, root: str, **context: Any) -> str:
        return environment.get_template(template).render(root=root, **context)

    cards = claim_cards(material)
    judged = {"claim_cards": cards, "verdicts": tally(cards), "outcome": outcome(cards)}
    pages = {
        "index.html": page(
            "index.html",
            "",
            here="index",
            key=key_figures(material),
            training=_training(files),
            # A timing of kernels is of no scale.
            scales=sorted({file.named.scale for file in files.values() if file.named.group != "benchmarks"}),
            commits=sorted({file.commit for file in files.values()}),
            **judged,
        ),
        "figures.html": page("figures.html", "", here="figures"),
        "reading.html": page("reading.html", "", here="reading", reading=READING.read_text(encoding="utf-8")),
    }
    for name, table in material.tables.items():
        forms = [path.name for path in material.forms[name]]
        template = "claims.html" if name == CLAIMS else "table.html"
        pages[f"tables/{name}.html"] = page(template, "../", here=name, table=table, forms=forms, **judged)
    for name, row in rows.items():
        pages[f"rows/{name}.html"] = page("row.html", "../", here=f"row {name}", row=row)
    return pages


def full_heading(column: dict[str, Any]) -> str:
    """The heading with its unit, and an arrow to where the better numbers are."""
    unit = f" ({column['unit']})" if column["unit"] and column["unit"] not in column["heading"] else ""
    arrow = {True: " ↑", False: " ↓", None: ""}[column["more_is_better"]]
    return column["heading"] + unit + (arrow if arrow.strip() not in column["heading"] else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _training(files: dict[str, ResultFile]) -> list[str]:
    """What our tokenizers were trained and measured with, once for each scale, size and budget."""
    said = {}
    for file in files.values():
        if file.named.group == "tokenizers":
            training, size = file.record["training"], file.record.get("evaluated", {}).get("image_size")
            pixels = f"images of {size} px" if size else "images"
            images, seeds = file.record["data"]["images"], _count(len(file.record["seeds"]), "seed")
            said[
                f"{file.named.scale} scale: {training['steps']} training steps of {training['batch_size']} {pixels}, "
                f"{seeds}, measured on {images} held-out images; {file.machine}"
            ] = None
    return sorted(said)


def _is_site(folder: Path) -> bool:
    """Whether a folder is a site of ours, with nothing of somebody else's beside the pages."""
    return {*ASSETS, "index.html"} <= {path.name for path in folder.iterdir()} <= CONTENT


def _copy(material: Material, site: Path) -> None:
    copies = {name: HERE / name for name in ASSETS} | material.sources
    copies |= {f"tables/{path.name}": path for forms in material.forms.values() for path in forms}
    copies |= {f"figures/{path.name}": path for forms in material.figures.values() for path in forms.values()}
    for name, path in copies.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, site / name)
