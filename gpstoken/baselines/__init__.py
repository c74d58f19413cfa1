"""The other systems' tokenizers, each in a module that only its `class_path` imports: their libraries load slowly."""
