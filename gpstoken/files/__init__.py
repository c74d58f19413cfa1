"""Files, whatever is in them: written whole, locked, read safely. `datamodules` uses this package too, and no other."""
