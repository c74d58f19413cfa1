"""The pages, written as one folder that takes the place of the last one."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from gpstoken.files.writing import replacing_folder
from reports.site.claims import claim_cards, tally, verdict_alone, verdict_class
from reports.site.material import CLAIMS, Material
from reports.site.rows import row_pages

HERE = Path(__file__).parent
READING, CAPTIONS = HERE.with_name("reading.md"), HERE / "figures.yaml"
ASSETS = {"site.css", "site.js"}
PAGES = ("index", "figures", "reading", "explorer")  # of no table and no row; the last where there is a tokenizer
CONTENT = ASSETS | {f"{name}.html" for name in PAGES} | {"tables", "rows", "figures", "results", "explorer"}
PICTURE = re.compile(r"^!\[([^\]]*)\]\(([^)]+)\)$", flags=re.MULTILINE)
SCROLL = '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table class="sortable">\n'


def build(material: Material, output: Path, explorer: dict[str, Any] | None) -> int:
    """Writes the site into `output` and returns its number of pages; the same material gives the same bytes.

    Raises:
        ValueError: if `output` is a file or holds something else than a site; it is left as it is.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(output, _is_site) as part:
        pages = render(material, explorer)
        scripts = explorer["scripts"] | {"explorer.css": explorer["styles"]} if explorer else {}
        texts = pages | {f"explorer/{name}": text for name, text in scripts.items()}
        copies = {name: HERE / name for name in ASSETS} | {
            path: file["source"] for path, file in material.files.items()
        }
        copies |= {f"tables/{path.name}": path for paths in material.forms.values() for path in paths}
        copies |= {f"figures/{path.name}": path for paths in material.figures.values() for path in paths.values()}
        for name, content in (texts | copies).items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(content.encode() if isinstance(content, str) else content.read_bytes())
    return len(pages)


def _is_site(folder: Path) -> bool:
    """Whether a folder is a site of ours, with nothing of somebody else's beside the pages."""
    return ASSETS | {"index.html"} <= {path.name for path in folder.iterdir()} <= CONTENT


def render(material: Material, explorer: dict[str, Any] | None) -> dict[str, str]:
    """Every page's HTML by its path in the site."""
    environment, cards, rows = templates(), claim_cards(material.tables), row_pages(material)
    environment.globals |= {"tables": material.tables, "figures": material.figures, "files": material.files}
    environment.globals |= {"rows": rows, "claim_cards": cards, "verdicts": tally(cards), "explorer": explorer}
    environment.globals["captions"] = yaml.safe_load(CAPTIONS.read_text(encoding="utf-8"))
    environment.globals["reading"] = READING.read_text(encoding="utf-8")

    def page(template: str, root: str, here: str, **context: object) -> str:
        return environment.get_template(template).render(root=root, here=here, **context)

    pages = {f"{name}.html": page(f"{name}.html", "", name) for name in PAGES if explorer or name != "explorer"}
    for name, table in material.tables.items():
        forms = [path.name for path in material.forms[name]]
        template = "claims.html" if name == CLAIMS else "table.html"
        pages[f"tables/{name}.html"] = page(template, "../", name, table=table, forms=forms)
    for name, row in rows.items():
        pages[f"rows/{name}.html"] = page("row.html", "../", f"row {name}", row=row)
    return pages


def templates() -> Environment:
    """The templates, with what they need to write Markdown, verdicts and differences."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"verdict_alone": verdict_alone, "verdict_class": verdict_class}
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", lambda *_: SCROLL)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    parser.add_render_rule("link_open", _link)

    def to_html(markdown: str, root: str) -> Markup:
        """Markdown without any HTML that it may hold; a picture on a line of its own is a figure of the site."""
        figure = environment.get_template("parts.html").module.figure
        parts = PICTURE.split(markdown)
        pieces = [parser.render(parts[0])]
        for caption, path, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            pieces += [figure(PurePosixPath(path).stem, root, caption), parser.render(text)]
        return Markup("".join(pieces))

    environment.filters["markdown"] = to_html
    return environment


def _link(renderer, tokens, index, options, environment) -> str:
    # The pages of Markdown that lie beside each other are pages of HTML here.
    href = str(tokens[index].attrs["href"])
    if "/" not in href and href.endswith(".md"):
        tokens[index].attrSet("href", href.removesuffix(".md") + ".html")
    return renderer.renderToken(tokens, index, options, environment)
