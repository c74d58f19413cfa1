"""File handling for any content: atomic writing, locks, safe reading. `datamodules` uses it too."""
