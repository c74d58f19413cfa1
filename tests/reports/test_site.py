import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.site import __main__ as site
from reports.site.build import templates
from reports.site.claims import claim_cards, tally, verdict_class
from tests.reports import contract


def build(folder: Path, output: str = "site") -> int:
    places = ["--report", str(folder), "--results", str(folder / "results")]
    return site.main([*places, "--explorer", "none", "-o", str(folder / output)])


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Every file of the site by its path in it."""
    folder = contract.write(tmp_path_factory.mktemp("report"))
    assert build(folder) == 0
    return {path.relative_to(folder / "site").as_posix(): path for path in (folder / "site").rglob("*.*")}


class Document(HTMLParser):
    """Elements that were left open or closed twice, links, and the text of each table's cells."""

    VOID = frozenset(("meta", "link", "img", "br", "input", "hr", "circle", "rect", "path", "line"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.wrong, self.links, self.tables, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.strip()


def read(pages: dict[str, Path], name: str) -> tuple[str, Document]:
    text = pages[name].read_text(encoding="utf-8")
    return text, Document(text)


def test_there_is_a_page_a_table_and_a_row_and_everything_they_link_to(pages):
    expected = {
        "index.html",
        "figures.html",
        "reading.html",
        "tables/reconstruction.html",
        "tables/small.html",
        "tables/claims.html",
    }
    expected |= {f"rows/{row}.html" for row in ("narrow", "wide", "unmeasured")}
    assert {name for name in pages if name.endswith(".html")} == expected
    root = pages["index.html"].parent
    for name in expected:
        for link in read(pages, name)[1].links:
            target = link.partition("#")[0]
            if target and target not in ("data:,", "https://arxiv.org/abs/2509.01109"):
                assert not re.match(r"[a-z]+:|//|/", target), f"{name}: {link} leaves the site"
                found = (pages[name].parent / target).resolve()
                assert found.is_file() and found.is_relative_to(root.resolve()), f"{name}: {link}"


def test_every_page_is_well_formed_english_with_one_main_heading(pages):
    for name in pages:
        if name.endswith(".html"):
            _, document = read(pages, name)
            assert (document.wrong, document.open) == ([], [])
            assert ("html", {"lang": "en"}) in document.tags
            tags = [tag for tag, _ in document.tags]
            assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
            assert all(attributes.get("alt") for tag, attributes in document.tags if tag == "img")


def test_cells_stand_as_they_were_given_and_missing_ones_are_dashes(pages):
    _, document = read(pages, "tables/reconstruction.html")
    assert document.tables[0] == [
        ["method", "tokens", "PSNR ↑", "LPIPS\u00a0↓"],
        ["ours, laptop scale, 64 px"],
        ["Narrow", "8x8", "9.5 ± 0.25", "0.5 ± 0.125"],
        ["Wide", "128", "10.25 ± 0.5", "-"],
        ["Unmeasured", "-", "-", "-"],
        ["paper, ImageNet 256 px"],
        ["<b>Theirs</b> & co", "16x16", "28.81", "0.043"],
    ]
    values = [attributes["data-value"] for _, attributes in document.tags if "data-value" in attributes]
    assert values[:4] == ["9.5", "0.5", "10.25", "28.81"]


def test_a_number_of_ours_links_to_its_file_with_commit_and_run(pages):
    _, document = read(pages, "tables/reconstruction.html")
    origins = [
        attributes for tag, attributes in document.tags if tag == "a" and "origin" in attributes.get("class", "")
    ]
    assert len(origins) == 3  # the paper's have none
    assert origins[0]["href"] == "../results/laptop/tokenizers/narrow.json"
    assert origins[0]["title"].splitlines() == [
        "results/laptop/tokenizers/narrow.json",
        "commit c0ffee123456",
        "MLflow run run-of-the-evaluation",
        "95 % interval 9 to 10",
        "n = 1,234",
    ]
    assert "no MLflow run published" in origins[2]["title"]
    assert "best" in origins[2]["class"]
    copied = pages["results/laptop/tokenizers/narrow.json"]
    assert json.loads(copied.read_text())["commit"] == "c0ffee123456"


def test_markdown_brings_no_html_of_its_own(pages):
    text, document = read(pages, "tables/reconstruction.html")
    assert "onerror=alert(1)&gt;" in text and "<strong>laptop</strong>" in text
    assert "&lt;b&gt;Theirs" in text
    assert "claims.html" in document.links and "claims.md" not in document.links
    assert document.tables[-1] == [["what", "n"], ["a", "1,000"], ["b", "9"]]
    assert document.links.count("../figures/plain.png") == 3  # the link, the picture and the name of its form
    assert "never_drawn" not in text


def test_the_page_of_a_row_has_its_numbers_runs_and_configuration(pages):
    text, document = read(pages, "rows/narrow.html")
    assert [row[0] for row in document.tables[0]] == ["method", "ours, laptop scale, 64 px", "Narrow"]
    assert (
        "<h1>Narrow</h1>" in text
        and "Reconstruction at the laptop scale: PSNR ↑ 9.5 ± 0.25, LPIPS 0.5 ± 0.125." in text
    )
    for said in ("run-of-the-evaluation", "aaaa1111", "run-of-the-training", "Test CPU", "width: 8", "c0ffee123456"):
        assert said in text
    assert "run-of-another-scale" not in text
    assert ["psnr", "9.5", "0.25", "9.25, 9.75", "1234"] in document.tables[-1]
    assert "This row has not been measured" in read(pages, "rows/unmeasured.html")[0]


def test_the_start_page_warns_of_the_scale_and_counts_the_verdicts(pages):
    text, _ = read(pages, "index.html")
    text = text.replace("&#39;", "'")
    assert "Measured at the laptop scale: these numbers are not the paper's" in text
    assert "None of the paper's claims has been tested yet." in text  # of no scale here
    # the result and the pictures before what to beware of
    places = [text.index(each) for each in ("None of the", "The paper's claims</h2>", "Key figures", "Measured at the")]
    assert places == sorted(places)
    assert "240 training steps of 16 images of 64 px, 2 seeds, measured on 1234 held-out images" in text
    titles = re.findall(r'<li><a href="tables/(\w+)\.html">', text.split('class="cards"')[1])
    assert titles == ["reconstruction", "small"]  # the paper's order, then what tables.yaml does not know
    assert "2 of 3 of our rows measured; 1 printed in the paper" in text
    assert re.findall(r"<strong>(\d)</strong>.*?</svg>([a-z ]+)</span>", text, flags=re.DOTALL) == [
        ("1", "holds"), ("1", "does not hold"), ("1", "not resolved"), ("1", "not testable at this scale"),
    ]  # fmt: skip
    assert text.count('class="verdict holds"') == 2 and text.count('class="verdict untested"') == 2


def test_the_claims_are_told_in_words_with_the_tests_of_every_table(pages):
    text, document = read(pages, "tables/claims.html")
    cards = re.findall(r"<article.*?</article>", text, flags=re.DOTALL)
    told = [re.findall(r"</svg>([^<]+)</span>", card) for card in cards]
    assert told == [
        ["holds", "holds"], ["not testable at this scale", "not testable at this scale: no GPU"],
        ["does not hold", "does not hold"], ["not resolved", "not resolved"],
    ]  # fmt: skip
    assert document.tables[0][1][:4] == ["wide over narrow", "PSNR ↑", "holds", "+0.75"]


def card(*verdicts: tuple[str, str]) -> dict:
    """The tables of one claim at several scales."""
    rows = [
        {"cells": {"claim": {"text": "Width helps"}, "verdict": {"text": verdict}}, "scale": scale}
        for scale, verdict in verdicts
    ]
    return {"claims": {"rows": rows}}


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([("quick", "not resolved"), ("laptop", "holds")], "1 holds at the laptop scale, 0 do not, and 0 are open"),
        ([("laptop", "holds"), ("paper", "does not hold")], "0 hold at the paper scale, 1 does not, and 0 are open"),
        ([("quick", "not testable at this scale: one seed")], "0 hold at the quick scale, 0 do not, and 1 is open"),
    ],
)
def test_a_claim_is_counted_at_the_scale_that_says_most(verdicts, said):
    cards = claim_cards(card(*verdicts))
    outcome = templates().get_template("parts.html").module.outcome
    assert said in outcome(cards) and sum(tally(cards).values()) == len(cards) == 1


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [("holds", "holds"), ("reversed", "against"), ("does not hold here", "against"), ("worse", "against"),
     ("not resolved", "unresolved"), ("not testable (one seed)", "untested"), ("better", "other")],
)  # fmt: skip
def test_verdicts_have_a_shape_each(verdict, kind):
    assert verdict_class(verdict) == kind


def test_intervals_are_drawn_to_their_width():
    # half of the width is 60, of which 54 are the farther end: 0.5 of 1 is 60 - 27
    bar = templates().get_template("parts.html").module.interval_bar(-0.5, -1.0, 0.5)
    assert 'cx="33.0"' in bar and 'x1="6.0" x2="87.0"' in bar


def test_the_same_report_gives_the_same_bytes_and_takes_the_place_of_the_last(tmp_path):
    folder = contract.write(tmp_path)
    assert build(folder) == build(folder, "again") == 0
    first = {path.relative_to(folder / "site"): path.read_bytes() for path in (folder / "site").rglob("*.*")}
    assert {path.relative_to(folder / "again"): path.read_bytes() for path in (folder / "again").rglob("*.*")} == first
    (folder / "tables" / "small.json").unlink()
    assert build(folder) == 0
    assert not (folder / "site" / "tables" / "small.html").exists()
    assert [path.name for path in folder.iterdir() if path.name.endswith(".part")] == []


def test_a_site_with_something_of_somebody_elses_in_it_stays(tmp_path, capsys):
    folder = contract.write(tmp_path)
    assert build(folder) == 0
    (folder / "site" / "thesis.txt").write_text("years of work")
    assert build(folder) == 1
    assert (folder / "site" / "thesis.txt").read_text() == "years of work"
    assert f"{folder}/site: holds " in capsys.readouterr().err
    (folder / "file").write_text("years of work")
    assert build(folder, "file") == 1
    assert (folder / "file").read_text() == "years of work"
    assert capsys.readouterr().err == f"{folder}/file: is a file, expected a new folder; choose another name\n"


def test_a_kill_between_the_two_renames_leaves_a_site(tmp_path, monkeypatch):
    folder = contract.write(tmp_path)
    assert build(folder) == 0
    first = {path.relative_to(folder / "site"): path.read_bytes() for path in (folder / "site").rglob("*.*")}
    rename = os.rename

    def kill(source, place):
        if Path(place).name == "site":
            raise KeyboardInterrupt
        rename(source, place)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", kill)
        patch.setattr(os, "replace", kill)
        build(folder)
    (left,) = folder.glob("*site*")
    assert {path.relative_to(left): path.read_bytes() for path in left.rglob("*.*")} == first
    assert build(folder) == 0
    assert [path.name for path in folder.glob("*site*")] + [path.name for path in folder.glob(".*site*")] == ["site"]


def test_without_a_stamp_no_run_is_named(tmp_path):
    folder = contract.write(tmp_path)
    (folder / "results" / "laptop" / "published.json").unlink()
    assert build(folder) == 0
    assert "run-of-the-evaluation" not in (folder / "site" / "rows" / "narrow.html").read_text()


def test_what_cannot_be_built_is_told_in_a_line(tmp_path, capsys):
    folder = contract.write(tmp_path / "report")
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("years of work")
    assert build(folder, "mine") == 1
    assert (folder / "mine" / "thesis.txt").read_text() == "years of work"
    (folder / "results" / "laptop" / "tokenizers" / "wide.json").unlink()
    assert build(folder) == 1
    (folder / "tables" / "small.json").write_text('{"name": "small"}')
    assert build(folder) == 1
    assert build(tmp_path) == 1
    errors = capsys.readouterr().err.splitlines()
    starts = (
        f"{folder}/mine: holds thesis.txt, not only files of this command; ",
        f"{folder}/results/laptop/tokenizers/wide.json: ",
    )
    starts += (f"{folder}/tables/small.json: no 'title'", f"{tmp_path}/tables: no table")
    assert len(errors) == len(starts)
    assert all(error.startswith(start) for error, start in zip(errors, starts, strict=True))
