"""Files, whatever is in them: written whole, locked, read safely. `datamodules` uses it too."""
