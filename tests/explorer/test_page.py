"""The explorer in a real browser: encode, change the tokens, paint, drop a Gaussian, mix."""

import pytest

pytest.importorskip("gradio")
