"""The README's code runs as it stands, and its result is that of the committed tables."""

import json
import re
from pathlib import Path

import pytest

from reports import readme
from reports.site.claims import claim_cards, verdict_class

BLOCKS = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_code_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


def test_there_is_a_code_block():
    assert BLOCKS


def test_its_result_is_that_of_the_committed_claims():
    claims = json.loads(Path("reports/generated/laptop/tables/claims.json").read_text())
    cards = claim_cards({"claims": claims})
    kinds = [verdict_class(rows[0]["cells"]["verdict"]["text"]) for rows in cards.values()]
    said = re.search(r"Of the paper's (\d+) claims, (\d+) hold at the laptop scale, (\d+) do not, and (\d+) are open",
                     " ".join(Path("README.md").read_text().split()))  # fmt: skip
    holds, against = kinds.count("holds"), kinds.count("against")
    assert [int(number) for number in said.groups()] == [len(cards), holds, against, len(cards) - holds - against]


def test_what_it_links_to_is_there():
    for page in (Path("README.md"), *Path("docs").glob("*.md"), Path("CONTRIBUTING.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_its_table_of_rows_is_that_of_rows_yaml():
    assert readme.table() in Path("README.md").read_text()  # else: python -m reports.readme
