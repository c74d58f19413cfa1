"""Whatever a file of a format holds, its readers return a value or say in one line what is wrong with which file."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.hostile.formats import FORMATS
from tests.faults.hostile.trying import attempt, write

EXAMPLES = int(os.environ.get("EXAMPLES", "50"))


@st.composite
def hostile_files(draw, name):
    """Files of a format, each wrong somewhere."""
    return FORMATS[name].draw(draw(st.randoms(use_true_random=False)))


@pytest.mark.parametrize("name", FORMATS)
def test_a_reader_returns_or_says_what_is_wrong(name, tmp_path):
    there = {}

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(hostile_files(name))
    def refused_or_read(files):
        write(tmp_path, files, there)
        assert attempt(name, tmp_path)[1] is None

    refused_or_read()
