"""The generators, one family a file; a `class_path` imports what it needs, for some of their libraries load slowly."""
