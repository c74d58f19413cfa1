"""What `python -m datamodules.prepare` is made of: fetching, extracting, grouping and converting."""
