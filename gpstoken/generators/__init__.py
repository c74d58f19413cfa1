"""The generators, one family per file, each imported only through its `class_path`: some libraries load slowly."""
