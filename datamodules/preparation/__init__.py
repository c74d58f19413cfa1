"""The steps of `python -m datamodules.prepare`: fetching, extracting, grouping and converting."""
