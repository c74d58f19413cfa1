"""Tokenizers of other systems. Each module is imported only through its `class_path`: their libraries load slowly."""
