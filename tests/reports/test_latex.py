"""LaTeX of every table: that it would compile, and that it is what the other forms say."""

import re
import shutil
import subprocess

import pytest

from reports.tables.assembly import finished
from reports.tables.render import escape, latex
from reports.tables.table import Cell, Column, Row, Table

COMPILER = next(filter(shutil.which, ("pdflatex", "tectonic")), None)
COLUMNS = [Column("method", "a & b", "text"), Column("psnr", "PSNR", "number", "more", "dB")]
ROWS = [
    Row("ours, laptop scale", {"method": Cell("50 % of x_t"), "psnr": Cell("1.50 ± 0.25", 1.5)}, ours=True),
    Row("ours, laptop scale", {"method": Cell("{#1}"), "psnr": Cell("2.50 ± 0.25", 2.5)}, ours=True),
    Row("paper", {"method": Cell(r"C:\x ~ a^b"), "psnr": Cell("9.0", 9.0)}),
    Row("paper", {"method": Cell("none")}),
]


def table(rows=ROWS) -> Table:
    columns, marked = finished(COLUMNS, rows)
    return Table(
        "a_table", "A title", "its Table 9", "", columns, marked, "Ours: laptop scale, commit abc, seeds 0, 1."
    )


def test_latex_by_hand():
    text = latex(table(), "python -m reports.tables\n--scale laptop")
    assert text.splitlines() == [
        "% a_table: written by `python -m reports.tables --scale laptop`; do not edit",
        r"\begin{table}",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        r"\caption{A title. Ours: laptop scale, commit abc, seeds 0, 1. Bold: best of its source.}",
        r"\label{tab:a-table}",
        r"\begin{tabular}{llr}",
        r"\toprule",
        r"source & a \& b & PSNR (dB) $\uparrow$ \\",
        r"\midrule",
        r"ours, laptop scale & 50 \% of x\_t & 1.50 $\pm$ 0.25 \\",
        r"ours, laptop scale & \{\#1\} & {\boldmath\textbf{2.50 $\pm$ 0.25}} \\",
        r"\midrule",
        r"paper & C:\textbackslash{}x \textasciitilde{} a\textasciicircum{}b & 9.0 \\",
        r"paper & none & - \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_every_table_is_whole(study, pages):
    study("gpstoken_m128", group="tokenizers", levels={"psnr": 19.0})
    study("small_natural_128", num_tokens=128, of="small", levels={"psnr": 18.0})
    texts = {name: text for name, text in pages().items() if name.endswith(".tex")}
    assert len(texts) == 18
    for name, text in texts.items():
        assert text.isascii(), (name, re.findall(r"[^\x00-\x7f]", text))
        body = re.sub(r"\\.", "", text)  # a command, an escaped character or the end of a line
        assert body.count("{") == body.count("}"), name
        assert body.count("$") % 2 == 0, name
        places = re.search(r"\\begin\{tabular\}\{(.+)\}", text)[1].replace(r"p{0.16\linewidth}", "p")
        assert set(places) <= set("lrp"), name
        lines = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(places) - 1}, name
        assert r"\caption{" in text and text.startswith(f"% {name.removesuffix('.tex')}: written by `python -m")
    assert "laptop scale, commit 0123456789ab, seeds 0, 1." in texts["tokens.tex"]
    assert r"\begin{tabular}{lp{0.16\linewidth}" in texts["claims.tex"]  # sentences


@pytest.mark.skipif(COMPILER is None, reason="neither pdflatex nor tectonic is installed")
def test_every_table_compiles(study, pages, tmp_path):
    study("gpstoken_m128", group="tokenizers")
    texts = [text for name, text in pages().items() if name.endswith(".tex")]
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + r"\clearpage ".join(texts)
    (tmp_path / "all.tex").write_text(document + r"\end{document}")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if COMPILER == "pdflatex" else []
    subprocess.run([COMPILER, *options, "all.tex"], cwd=tmp_path, check=True, timeout=600)


@pytest.mark.parametrize(
    ("text", "escaped"), [("λ = 2.5, s_min ≥ 4", r"$\lambda$ = 2.5, s\_min $\geq$ 4"), (">256", r"\textgreater{}256")]
)
def test_signs(text, escaped):
    assert escape(text) == escaped
